"""Compute the fingerprint of the logits of a checkpoint, on the processor. It loads torch.

python -P -m trainer.mains.fingerprint_logits <order.json >answer.json
"""

from pathlib import Path
from typing import Any

from trainer.mains.one_shot import Tell, serve
from trainer.protocol.backups import LogitsFingerprint, LogitsOrder

NICENESS = 10


def carry_out(order: LogitsOrder, tell: Tell) -> LogitsFingerprint:
    """Load the model and return its fingerprint."""
    return logits_of(order.checkpoint, base_dir=order.base_dir, models=order.models, tell=tell)


def logits_of(checkpoint: Path, *, base_dir: Path, models: Path, tell: Tell) -> LogitsFingerprint:
    """Load the model of a checkpoint as a worker would, but on the processor, and return its fingerprint.

    Args:
        base_dir: where the base model of an adapter is found.
        models: where the embedded model is built.
    """
    from transformers.utils.logging import disable_progress_bar

    from trainer.config.schema import Settings
    from trainer.model.logits import fingerprint_logits
    from trainer.profiles.registry import make_profile
    from trainer.protocol.checkpoints import Checkpoint, read_manifest
    from trainer.session.starting_model import load_starting_model

    disable_progress_bar()
    manifest = read_manifest(checkpoint)
    settings = Settings.model_validate(on_the_processor(manifest.settings))
    profile = make_profile(settings.profile.name, settings.profile.options, base_dir=base_dir)
    loaded = load_starting_model(
        settings, Checkpoint(checkpoint, manifest), profile, base_dir=base_dir, models=models, tell=tell
    )
    return fingerprint_logits(loaded.model, loaded.tokenizer)


def on_the_processor(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with which a model is loaded on the processor, and not compiled."""
    training = settings.get("training", {})
    return settings | {"training": training | {"device": "cpu", "compile": False}}


if __name__ == "__main__":
    serve(LogitsOrder, carry_out, niceness=NICENESS)
