"""The tokenizer that a worker would train with, for processes that load no model. Leaves `models/` alone."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from trainer.config.schema import Settings
from trainer.model.linked_models import linked_models_of
from trainer.model.loading import find_local_model, load_tokenizer
from trainer.model.template_choice import locate_template
from trainer.model.vocabulary import name_tokens
from trainer.profiles.base import DataProfile
from trainer.protocol.checkpoints import POINTER
from trainer.protocol.layout import Layout


def load_tokenizer_only(
    settings: Settings, profile: DataProfile, *, base_dir: Path
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the newest checkpoint, or else of the base model.

    Args:
        profile: whose tokens it gets if the vocabulary is to grow.
    Raises:
        ModelUnavailable: there is none.
        UnusableModel: it has no chat template, or needs code of its own.
    """
    models = Layout(base_dir).models
    wanted = settings.model
    with linked_models_of(models) as linked:  # where `tiny` is built, if it is not there yet
        source: Path | str = models / POINTER
        is_started = (models / POINTER).is_dir()
        if not is_started:
            # Of a hub's model the tokenizer's files alone are fetched
            found = find_local_model(wanted.base_model, base_dir=base_dir, models=linked)
            source = found or wanted.base_model
        tokenizer = load_tokenizer(
            source,
            chat_template=locate_template(wanted.chat_template, base_dir),
            template_options=wanted.template_options,
            called="" if is_started else wanted.base_model,
        )
    if wanted.grow_vocabulary and not is_started:
        name_tokens(tokenizer, profile.special_tokens)
    return tokenizer
