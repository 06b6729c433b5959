"""Which settings and which plan a job is trained by. Pure."""

from collections.abc import Sequence

from trainer.config.schema import Settings
from trainer.data.plan import Plan, plan_of
from trainer.protocol.job import Cursor, EarlierFile, Job

# How rows were treated by releases whose cursors do not say it
BEFORE_IT_COULD_BE_SET = {
    "overlong": "truncate_right",
    "quoted_control_tokens": "tokens",
    "quoted_turn_markers": "tokens",
}


def job_settings(cursor: Cursor | None, settings: Settings) -> Settings:
    """Return what a job is trained with: its cursor decides about order and content of what is trained."""
    if cursor is None:
        return settings
    data = BEFORE_IT_COULD_BE_SET | cursor.settings.get("data", {})
    at_start = Settings.model_validate(cursor.settings | {"data": data})
    kept = {name: getattr(at_start, name) for name in ("training", "data", "profile")}
    return settings.model_copy(update=kept)


def make_plan(job: Job, settings: Settings, replayed: Sequence[EarlierFile]) -> Plan:
    """Return the plan by which a job is trained."""
    training = settings.training
    return plan_of(
        job.sha256,
        job.rows,
        replayed,
        rows_per_step=training.rows_per_step,
        epochs=training.epochs,
        seed=training.seed,
        replay_fraction=training.replay_fraction,
    )
