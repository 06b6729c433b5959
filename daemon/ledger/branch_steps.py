"""Take in what was trained on a branch before it was published, so that the ledger knows the model's life."""

import json
import logging
from collections.abc import Collection
from pathlib import Path

from daemon.ledger.ledger import Ledger
from trainer.protocol.forgetting import NewPlan, read_branch_header
from trainer.protocol.manifest import Branch
from trainer.protocol.messages import EVENTS, StepsTaken, SuiteScored, Validated

logger = logging.getLogger("daemon")


def take_in_branch(ledger: Ledger, branch: Branch, path: Path, cursors: Collection[str]) -> None:
    """Add the steps and evaluations of a branch that has just begun; nothing, if there are none of its own.

    Args:
        cursors: ids of jobs of which the newest checkpoint has the first steps.
    """
    header = read_branch_header(path)
    if branch.why != "forget" or header is None or (header.number, header.at) != (branch.number, branch.at):
        return
    started_here: set[str] = set()
    planned: set[str] = set()
    with path.open(encoding="utf-8") as file:
        file.readline()
        for line in file:
            content = json.loads(line)
            if "new_plan" in content:
                plan = NewPlan.model_validate(content["new_plan"])
                planned.add(plan.job_id)
                ledger.replay_other_files(plan.job_id, plan.replayed)
                continue
            match EVENTS.validate_python(content):
                case StepsTaken() as taken:
                    ledger.add_steps(taken.steps)
                    started_here |= {step.job_id for step in taken.steps if step.file_step == 1}
                case Validated() as validated:
                    ledger.add_validation(validated)
                case SuiteScored() as scored:
                    ledger.evaluations.add_scores(scored)
    ledger.sum_up_again(sorted(started_here))
    for job_id in ledger.open_jobs_replaying(header.sha256):
        if job_id not in planned and job_id not in cursors:
            ledger.freeze_settings(job_id, None)  # it has no step yet, and chooses anew when it starts
