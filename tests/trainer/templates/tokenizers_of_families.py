"""A tokenizer and a renderer for every family."""

from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.trainer.templates.families import FAMILIES, Family
from trainer.data.rendering.render import ExampleRenderer
from trainer.model import tiny
from trainer.model.template_choice import with_defaults

TINY = tiny.tokenizer().backend_tokenizer.to_str()
MARKERS = [
    *("<s>", "</s>", "<bos>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|end|>", "<|endoftext|>"),
    *("<|eot_id|>", "<|system|>", "<|user|>", "<|assistant|>", "<start_of_turn>", "<end_of_turn>"),
    *("<|end_of_text|>", "<|User|>", "<|Assistant|>", "<|end_of_sentence|>", "<|END_OF_TURN_TOKEN|>"),
]


class RememberingTokenizer(PreTrainedTokenizerFast):
    """Runs its template once on the same turns, because what these templates show depends on nothing else."""

    def apply_chat_template(self, conversation: Any, **how: Any) -> Any:
        texts = self.__dict__.setdefault("_texts", {})
        key = repr((conversation, how))
        if key not in texts:
            try:
                texts[key] = super().apply_chat_template(conversation, **how)
            except Exception as error:
                texts[key] = error
        if isinstance(texts[key], Exception):
            raise texts[key]
        return texts[key]


def tokenizer_of(family: Family) -> RememberingTokenizer:
    backend = Tokenizer.from_str(TINY)
    markers = [*MARKERS, *family.markers, *family.ends_of_turns]
    backend.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in markers])
    return RememberingTokenizer(
        tokenizer_object=backend,
        chat_template=with_defaults(family.template, family.options),
        eos_token=family.eos,
        bos_token=family.bos or None,
        clean_up_tokenization_spaces=False,
    )


TOKENIZERS = {family.name: tokenizer_of(family) for family in FAMILIES}
RENDERERS = {name: ExampleRenderer(tokenizer) for name, tokenizer in TOKENIZERS.items()}
