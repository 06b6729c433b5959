"""What was trained: can the checkpoints be used, and do the settings still fit them? Pure."""

from collections.abc import Sequence
from pathlib import Path

from daemon.checkpoints.review import BlockedRestart, Damaged, Reviewed, Unusable, Whole, starting_point
from daemon.health.check_result import CheckResult, ok, problem, warning
from trainer.config.lock import compare_locked
from trainer.config.schema import Settings
from trainer.protocol.manifest import Manifest, Unlocked
from trainer.protocol.text import printable, shell_word, size_text


def check_checkpoints(
    reviewed: Sequence[Reviewed], corrupt: Sequence[str], folder: Path
) -> list[CheckResult]:
    """Judge the checkpoints by what their sizes have shown.

    Args:
        reviewed: newest first.
        corrupt: names of those that earlier starts have quarantined.
        folder: in which all lie.
    """
    start = starting_point(reviewed, has_corrupt=bool(corrupt))
    findings = [_not_whole(item, start) for item in reviewed if not isinstance(item, Whole)]
    match start:
        case BlockedRestart(reason):
            advice = "restore one from a backup, or move them all away to start from the base model"
            findings.append(problem("checkpoints", f"training is blocked: {reason}", advice))
        case Whole(path, manifest):
            count = sum(isinstance(item, Whole) for item in reviewed)
            size = size_text(manifest.total_bytes)
            seem = "appears complete; it" if count == 1 else "appear complete; the newest"
            message = (
                f"{count} {seem} is {printable(path.name)} ({size}); training_health verify reads every file"
            )
            findings.append(ok("checkpoints", message))
        case None:
            findings.append(ok("checkpoints", "there is none yet; training starts from the base model"))
    if isinstance(start, BlockedRestart):
        return findings  # the damaged ones are all there is: not to be removed
    return findings + [
        warning(
            "checkpoints",
            f"{printable(name)} was quarantined as damaged and takes up space",
            f"check the disk; when you no longer need it: rm -r {shell_word(str(folder / name))}",
        )
        for name in corrupt
    ]


def _not_whole(item: Damaged | Unusable, start: Whole | BlockedRestart | None) -> CheckResult:
    message = f"{printable(item.path.name)}: {item.reason}"
    if isinstance(item, Unusable):
        return problem("checkpoints", message, "use the release that wrote it, or make it readable")
    if isinstance(start, Whole):
        advice = f"nothing; the next start quarantines it and can fall back on {printable(start.path.name)}"
    else:
        advice = "restore it from a backup"
    return problem("checkpoints", f"damaged: {message}", advice)


def check_locked(
    manifest: Manifest, settings: Settings, permissions: Sequence[Unlocked], *, given: str
) -> list[CheckResult]:
    """Compare the settings with those that the newest checkpoint depends on.

    Args:
        given: says where the settings come from, as the beginning of a sentence.
    """
    allowed, refusals = compare_locked(manifest.locked, settings, permissions)
    findings: list[CheckResult] = []
    for refusal in refusals:
        message, _, advice = printable(str(refusal)).partition("; ")
        findings.append(problem("locked settings", message, advice))
    if allowed:
        names = ", ".join(change.setting for change in allowed)
        findings.append(ok("locked settings", f"{names}: changed on purpose"))
    return findings or [ok("locked settings", f"{given} those of the newest checkpoint")]
