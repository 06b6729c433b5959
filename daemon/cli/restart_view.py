"""What a restart would do as text for people. What comes in is printable already."""

from collections.abc import Iterator, Sequence

from daemon.client.restart import CannotGoOn, GoesOn, ImpossibleRestart, NoPlan, Restart, RestartPlan
from trainer.protocol.text import num_of

LINES_SHOWN = 12


def restart_lines(
    found: Restart | ImpossibleRestart,
    *,
    is_paused: bool,
    daemon_runs: bool = False,
    worker_runs: bool = False,
    in_inbox: int = 0,
) -> Iterator[str]:
    """Yield what a restart would do, in its order.

    Args:
        daemon_runs: whether it would save first, unless it is killed.
        worker_runs: whether a worker without a daemon does that.
        in_inbox: files there that a daemon would take in.
    """
    if daemon_runs:
        yield "a daemon runs, which saves before it stops; if it were killed now:"
    elif worker_runs:
        yield "a worker without a daemon saves before it exits; if it were killed now, too:"
    if isinstance(found, ImpossibleRestart):
        yield f"a restart would be blocked: {found.blocked}"
        yield found.advice
        return
    if found.checkpoint is None:
        yield "a restart would start from the base model, at global step 0"
    else:
        yield f"a restart would load {found.checkpoint} and continue after global step {found.global_step:,}"
    if is_paused:
        yield "it would stay paused until: training_controller resume"
    if isinstance(found.files, NoPlan):
        yield f"cannot tell which file would come first: {found.files.reason}"
    else:
        yield from _file_lines(found.files)
    if in_inbox:
        files = num_of(in_inbox, "file")
        yield f"{files} in inbox/ would be taken in as well; the first file may be a more urgent one of these"


def _file_lines(plan: RestartPlan) -> Iterator[str]:
    for place in plan.put_away:
        yield f"{place} is fully trained and would just be moved"
    for place in plan.checked[:LINES_SHOWN]:
        yield f"{place} would be checked first: the ledger does not know this very file"
    if len(plan.checked) > LINES_SHOWN:
        yield f"… and {len(plan.checked) - LINES_SHOWN:,} more would be checked"
    match plan.first:
        case GoesOn() as first:
            step = f"step {first.step:,} of {first.total_steps:,}"
            verb = "continue" if first.step > 1 else "begin"
            yield f"it would {verb} with {first.file} at {step}, which trains {_lines_text(first.lines)}"
        case CannotGoOn() as first:
            yield f"{first.file} would come first, but cannot continue: {first.reason}"
        case None if plan.checked:
            yield "if the checkpoint has steps of such a file, it continues after them; else it begins"
        case None:
            yield "no file is ready to be trained"
    if plan.overtaken_by:
        yield f"after one step, the more urgent {plan.overtaken_by} would preempt it"
    if plan.others:
        yield f"{num_of(plan.others, 'more file')} would follow"


def _lines_text(numbers: Sequence[int]) -> str:
    shown = ", ".join(f"{number}" for number in numbers[:LINES_SHOWN])
    more = f" and {len(numbers) - LINES_SHOWN} more" if len(numbers) > LINES_SHOWN else ""
    return f"line {shown}" if len(numbers) == 1 else f"lines {shown}{more}"
