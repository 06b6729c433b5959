"""The settings of the model: which one is trained, and with which chat template."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from trainer.config.section import FileName, Section

EMBEDDED_MODEL = "tiny"
TRAINING_TEMPLATES = (
    *("qwen3", "llama-3", "gemma", "gemma-4", "mistral", "mistral-nemo", "mistral-small-3", "deepseek-r1"),
    *("harmony", "glm-4.5", "glm-4", "phi-4", "phi-3"),
)
"""Built-in chat templates for `model.chat_template`, as `trainer.model.training_templates` has them."""


def _refuse_unknown_template(wanted: str) -> str:
    known = ("own", "chatml", *TRAINING_TEMPLATES)
    if wanted not in known and not wanted.endswith(".jinja"):
        names = ", ".join(f'"{name}"' for name in known)
        raise PydanticCustomError("chat_template", f"one of {names}, or the path of a .jinja file")
    return wanted


ALWAYS_GIVEN = ("messages", "tools", "documents", "add_generation_prompt")  # to a chat template


class ModelSettings(Section):
    """Which model is trained. A change takes effect with a new worker, which is started automatically."""

    base_model: FileName = Field(default=EMBEDDED_MODEL, min_length=1)
    """`tiny` (a small embedded model), the path of a model folder (relative to the working directory), or a
    Hugging Face Hub name such as `Qwen/Qwen3-0.6B`."""

    chat_template: Annotated[FileName, AfterValidator(_refuse_unknown_template)] = "own"
    """How conversations become text. `own`: with the template of the model's tokenizer. `chatml`: with plain
    ChatML, for models whose own template rewrites earlier turns or adds thinking blocks; the vocabulary must
    have `<|im_start|>` and `<|im_end|>`. `qwen3`, `llama-3`, `gemma`, `gemma-4`, `mistral`, `mistral-nemo`,
    `mistral-small-3`, `deepseek-r1`, `harmony`, `glm-4.5`, `glm-4`, `phi-4`, `phi-3`: a training template,
    which shows what the own template of such models shows, but never changes earlier turns; checkpoints keep
    the own template for generating. Or the path of a `.jinja` file (relative to the working directory), which
    checkpoints get. Locked with the first checkpoint."""

    template_options: dict[str, JsonValue] = {}
    """Options that the chat template gets along with the conversation, such as
    `{"enable_thinking": false}` for Qwen3. They become defaults in the template of every checkpoint. Locked
    with the first checkpoint."""

    @field_validator("template_options")
    @classmethod
    def _leave_alone_what_is_given(cls, options: dict[str, JsonValue], info: ValidationInfo) -> Any:
        if options and info.data.get("chat_template") == "chatml":
            raise PydanticCustomError(
                "template_options",
                'no options where chat_template is "chatml", which takes none; remove them',
            )
        for name in options:
            if name in ALWAYS_GIVEN or not name.isidentifier() or name.endswith("_token"):
                raise PydanticCustomError(
                    "template_options",
                    "names that a template may look for and nobody else sets, such as enable_thinking",
                )
        return options

    grow_vocabulary: bool = False
    """Whether the special tokens of the profile become new tokens of the model, which are then trained.
    Otherwise they are ordinary text. The profile in force before the first checkpoint decides which tokens
    these are. Locked with the first checkpoint."""
