"""Every setting with its default, unit and meaning. Nested by the part of the program that owns it.

The text under each field is its documentation: `docs/CONFIGURATION.md` and the JSON Schema are made from it.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from trainer.protocol.deep_findings import PrivatePattern
from trainer.protocol.row_fields import OF_MESSAGES, OF_ROWS
from trainer.protocol.text import printable

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _refuse_nul(path: str) -> str:
    if "\0" in path:
        raise PydanticCustomError("path", "a name without NUL characters")
    return path


FileName = Annotated[str, AfterValidator(_refuse_nul)]


ALWAYS_GIVEN = ("messages", "tools", "documents", "add_generation_prompt")  # to a chat template


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True, allow_inf_nan=False
    )


class ModelSettings(Section):
    """What is trained. A change takes effect when the worker is started again, which happens by itself."""

    base_model: FileName = Field(default="tiny", min_length=1)
    """`tiny` (a small embedded model), the path of a model folder (relative to the working directory), or a
    Hugging Face hub name such as `Qwen/Qwen3-0.6B`."""

    chat_template: Literal["own", "chatml"] = "own"
    """How conversations become text. `own`: as the model's tokenizer says. `chatml`: plain ChatML instead,
    for models whose own template rewrites earlier turns or adds thinking blocks, as that of Qwen3 does; the
    vocabulary must have `<|im_start|>` and `<|im_end|>`."""

    template_options: dict[str, JsonValue] = {}
    """What the model's own chat template is given besides the conversation, such as
    `{"enable_thinking": false}` for Qwen3. Whoever loads a checkpoint has the same template with these as
    defaults. Locked with the first checkpoint."""

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
                    "names that a template may ask for and nobody else sets, such as enable_thinking",
                )
        return options

    grow_vocabulary: bool = False
    """Whether the special tokens of the profile become tokens of the model, which are trained; else they are
    ordinary text. They are those of the profile that is set before the first checkpoint, with which this is
    locked."""


class TrainingSettings(Section):
    """How a step is made. A change takes effect at the next job."""

    method: Literal["full", "lora", "qlora"] = "full"
    """Which weights are trained. `full`: all of them. `lora`: small matrices beside the frozen base model's
    linear layers; a checkpoint then holds only these. `qlora`: the same beside a base model in 4 bits (needs
    the extra `qlora`: `scripts/setup qlora`). Locked with the first checkpoint."""

    lora_rank: Positive = 16
    """Rank of the matrices of `lora` and `qlora`. Locked with the first checkpoint."""

    lora_alpha: Positive = 32
    """Their product is scaled by `lora_alpha / lora_rank`. Locked with the first checkpoint."""

    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the inputs of those matrices that is dropped in training. A change takes effect with a new
    worker, which is started by itself."""

    lora_targets: Literal["all-linear"] | list[str] = "all-linear"
    """The layers that get such matrices: `all-linear`, or a list of their names, such as
    `["q_proj", "v_proj"]`. Locked with the first checkpoint."""

    lora_dora: bool = False
    """Whether those matrices train a direction, with a magnitude of its own (DoRA). Locked with the first
    checkpoint."""

    lora_rslora: bool = False
    """Whether they are scaled by `lora_alpha / sqrt(lora_rank)` instead (rsLoRA). Locked with the first
    checkpoint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. `auto`: on the GPU if there is one. A model that was trained on a GPU is not silently
    continued on the CPU: the daemon says `blocked` until the GPU is back or `cpu` is set."""

    batch_size: Positive = 4
    """Rows per micro-batch as other trainers count them; times `gradient_accumulation` it gives the rows per
    optimizer step. How those rows are really split is decided by `micro_batch_tokens`."""

    gradient_accumulation: Positive = 4
    """Micro-batches per optimizer step."""

    processes: Positive = 1
    """Processes that share the rows of each step, one per GPU (on the CPU any number). The result stays the
    same but for rounding, and for the noise of dropout and NEFTune. A change takes effect with a new worker,
    which is started by itself."""

    micro_batch_tokens: Positive | Literal["auto"] = 8192
    """Most tokens, padding included, that go through the model at once. Changes speed and memory,
    and the result only by rounding and by the noise of dropout and NEFTune. A longer row goes alone.
    `auto`: what is fastest here and fits into memory, found by measuring when the first worker starts, and
    kept in `models/fit.json`."""

    replay_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of each step's rows that is drawn from files completed earlier, against forgetting: at least one
    row, and never all of them. The rows of a step stay as many in all, so that a file has more steps. The
    files are chosen when a job starts: the newest in `queue/recently_completed/`, 32 at most."""

    epochs: Positive = 1
    """Passes over each file."""

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-5
    """Step size of the optimizer, reached after the warm-up."""

    warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Optimizer steps over which the learning rate rises from zero, once in the model's life
    (not per file)."""

    schedule: Literal["constant_with_warmup", "cosine", "wsd"] = "constant_with_warmup"
    """How the learning rate goes on after the warm-up. `constant_with_warmup`: it stays. `cosine`: it falls
    along half a cosine over each file. `wsd`: it stays, and falls in a straight line over the last
    `decay_fraction` of each file. Where a file begins during the warm-up, both factors count."""

    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a file's steps over which `wsd` decays."""

    final_learning_rate_fraction: Fraction = 0.0
    """Share of `learning_rate` that `cosine` and `wsd` end at."""

    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "muon"] = "adamw"
    """How gradients become changes. The 8-bit ones need the extra `qlora`, the paged one a GPU, too. `muon`:
    Muon for the matrices inside the model, AdamW for the rest, at one learning rate. Locked with the first
    checkpoint."""

    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decoupled weight decay; biases and norms are left out."""

    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this L2 norm; 0 leaves them alone."""

    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """Strength of the noise that is added to embeddings in training (NEFTune, which tried 5 to 15); null adds
    none."""

    activation_checkpointing: Literal["off", "on", "auto"] = "auto"
    """Whether activations are computed again in the backward pass instead of being kept: less memory, a third
    more arithmetic. `auto`: when a single row does not fit otherwise. A change takes effect with a new
    worker, which is started by itself."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the arithmetic. `auto`: bf16 on a GPU that supports it, else fp32. `fp16` needs a
    GPU."""

    tf32: bool = False
    """Whether a GPU may round the factors of fp32 products to TF32, which is faster."""

    compile: bool = False
    """Whether the model's layers are compiled by `torch.compile`: slower at first, then faster. Needs a C++
    compiler. A change takes effect with a new worker, which is started by itself."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Decides the order of rows and the dropout noise."""

    cpu_threads: Positive | None = None
    """Threads of each process for arithmetic on the CPU; null leaves the choice to torch (one per core), or
    divides the cores among `processes`."""

    @property
    def uses_adapter(self) -> bool:
        """Whether small matrices beside a frozen base model are trained, and saved alone."""
        return self.method != "full"

    @field_validator("replay_fraction")
    @classmethod
    def _leave_room_for_own_rows(cls, fraction: float, info: ValidationInfo) -> float:
        if fraction and info.data.get("batch_size") == info.data.get("gradient_accumulation") == 1:
            raise PydanticCustomError(
                "replay_fraction",
                "0 where batch_size and gradient_accumulation are 1, because a step then has one row only; "
                "raise one of them",
            )
        return fraction

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step, whatever they are split into."""
        return self.batch_size * self.gradient_accumulation


class DataSettings(Section):
    """How rows become examples. A change takes effect at the next job."""

    max_length: Annotated[int, Field(ge=8)] = 2048
    """Tokens per example; `overlong` says what becomes of a row that has more. Locked with the first
    checkpoint."""

    overlong: Literal["truncate_left_turns", "truncate_right", "split", "drop", "fail"] = (
        "truncate_left_turns"
    )
    """What becomes of a row with more than `max_length` tokens. `truncate_left_turns`: its earliest turns are
    left out, as few as are enough; system messages at its head stay, and so does the last answer. If even the
    last exchange is too long, or the row is a plain text, the rest is cut off. `truncate_right`: what is too
    much is cut off at the end. `split`: it becomes several examples, cut between exchanges, each behind the
    system message; a plain text is cut anywhere. `drop`: it is not trained. `fail`: the whole file fails."""

    train_on: Literal["assistant", "last_assistant", "all"] = "assistant"
    """Which part of a conversation is trained. `assistant`: the turns of the assistant, each with its end.
    `last_assistant`: the last of them. `all`: every token, those of the chat template included. Turns that a
    row itself excludes are not trained in any case."""

    max_bad_row_fraction: Fraction = 0.01
    """Share of malformed rows up to which a file is trained without them; beyond it the whole file fails."""

    validation: Literal["quick", "standard", "deep"] = "standard"
    """What is inspected before the first step of a file. `quick`: whether each row can be read. `standard`:
    besides, the lengths, answers and balance of 1,000 rows spread over the file, and copies among all rows.
    `deep`: every row, compared also with all rows trained before, with held-out data and with the other rows
    of the file. What is odd is reported, and a file of which too much is too long, or nothing can be trained,
    is not trained."""

    max_truncated_fraction: Fraction = 0.05
    """Share of rows longer than `max_length` up to which a file is trained; beyond it the file fails before
    its first step, unless it is admitted: `training_queue retry NAME --admit`."""

    max_line_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Bytes per line; a longer line is a malformed row."""

    max_unpacked_bytes: Annotated[int, Field(ge=1024**2)] = 8 * 1024**3
    """Most bytes that a `.jsonl.gz` or `.jsonl.zst` may unpack to; a larger one fails. The worker needs as
    much disk space below `models/` while it trains the file."""

    fields: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Other names for the parts of a row: `{"prompt": "frage", "completion": "antwort"}`, or
    `{"messages": "dialog", "role": "speaker", "content": "words"}`. `docs/DATA.md` has the formats."""

    prefetch_steps: Positive = 8
    """Optimizer steps whose rows are tokenized ahead of use."""

    cache_max_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Most disk space for tokenized rows, which a restart or a second epoch then need not tokenize again;
    0 keeps none."""

    seen_rows_max: Positive = 1_000_000
    """Rows trained before that `deep` keeps, 500 bytes each, in `models/seen_rows.sqlite3`. Those of
    old files make room for new ones."""

    private_patterns: list[PrivatePattern] = []
    """Kinds of private data that `deep` searches for: `email`, `phone`, `iban`, `credit_card`, `ipv4`,
    `private_key`, `aws_key`, `github_token`, `slack_token`, `google_key`, `jwt`."""

    @field_validator("fields")
    @classmethod
    def _refuse_what_names_nothing(cls, fields: dict[str, str]) -> dict[str, str]:
        if unknown := fields.keys() - {*OF_ROWS, *OF_MESSAGES}:
            known = ", ".join([*OF_ROWS, *OF_MESSAGES])
            raise PydanticCustomError(
                "fields", f"keys among {known}; not {printable(', '.join(sorted(unknown)), limit=200)}"
            )
        for level in (OF_ROWS, OF_MESSAGES):
            names = [fields[field] for field in level if field in fields]
            if len(set(names)) < len(names):
                raise PydanticCustomError("fields", "a name of its own for each part of a row")
        return fields


class ProfileSettings(Section):
    """The data profile: what is done to a conversation before it is rendered.

    A change takes effect at the next job.
    """

    name: FileName = "plain"
    """`plain` takes conversations as they are. `emoji_think` has the model think with an emoji and end with
    another one. `regime3` marks the final answer and brings expressions into one form. `mix` hands each row
    to one of several profiles. Or the name of a profile in an installed package, or a class in a file:
    `path/to/profile.py:ClassName` (relative to the working directory)."""

    options: dict[str, JsonValue] = {}
    """Options of the profile, which `docs/DATA.md` explains. `emoji_think` takes `direct_share` and
    `penalties`, `regime3` takes `answer`, `mix` takes `shares` and `options`."""


class ValidationSettings(Section):
    """Loss on data that is not trained. A change takes effect at the next job."""

    file: FileName | None = None
    """A JSONL file, relative to the working directory; null turns validation off."""

    interval_steps: Positive = 500
    """Optimizer steps between two validations, of file and suites; another one follows the last step of each
    file. Costs may widen it: see `monitoring.max_overhead_percent`."""

    max_rows: Positive = 1000
    """Rows of `file` that are used; of a longer file always the same ones, spread over it."""

    suites: dict[Annotated[str, Field(min_length=1)], FileName] = {}
    """Questions with known answers: names with JSONL files, relative to the working directory. The last turn
    of the assistant, or `metadata.answer`, is the expected answer; `metadata.difficulty` may group the rows.
    The model answers them greedily; how many it gets right, and the loss, are shown by suite."""

    suite_max_rows: Positive = 100
    """Rows of each suite that are used; of a longer one always the same ones, spread over it."""

    suite_max_new_tokens: Positive = 128
    """Tokens an answer to a suite's question may have."""


class PreviewSettings(Section):
    """Answers to fixed prompts, to watch how they change. A change takes effect at the next job."""

    prompts: list[Annotated[str, Field(min_length=1)]] = []
    """What the model is asked, each as a user's turn."""

    file: FileName | None = None
    """More of them: a JSONL file of rows like those trained, relative to the working directory. What comes
    before the last turn of the assistant is the prompt, and that turn the expected answer."""

    interval_steps: Positive = 500
    """Optimizer steps between two rounds of previews. Costs may widen it: see
    `monitoring.max_overhead_percent`."""

    max_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds after which a round ends, wherever it is; the prompts share them."""

    max_new_tokens: Positive = 128
    """Tokens of an answer."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 takes the likeliest token each time. Above it tokens are drawn by chance, with a seed made of
    `training.seed`, step and prompt."""


class MonitoringSettings(Section):
    """What may be spent on knowing how training goes. A change takes effect at the next job."""

    max_overhead_percent: Annotated[float, Field(gt=0, le=100)] = 5.0
    """Share of the time that validation, suites and previews may take together. Where they would take more,
    their intervals are doubled, as often as needed, and come back when they have become cheap; at the end of
    a file suites are left out. 100 leaves the intervals alone. The first of each kind is always made, as is
    the validation loss at the end of a file."""


class CheckpointSettings(Section):
    """When what was trained is made durable. A change takes effect at once."""

    interval_s: Seconds = 600.0
    """Seconds of training after which a checkpoint is saved, besides the ones at the ends of files. Both this
    and `group_commit_s` are stretched when saving would cost more than 3.5 % of the time."""

    interval_steps: Positive | None = None
    """Optimizer steps after which a checkpoint is saved, however long they took; null leaves it to
    `interval_s`."""

    group_commit_s: Seconds = 5.0
    """Seconds a finished file may wait so that files that finish close together share one checkpoint.
    Training goes on meanwhile. When nothing else is queued there is no wait."""

    background: Literal["auto", "always", "never"] = "auto"
    """Whether a checkpoint is copied to memory and written by another process while training goes on.
    `auto`: when saving takes longer than a second, the copy fits into memory, and it was faster so far."""

    keep_last: Annotated[int, Field(ge=2)] = 3
    """Checkpoints that stay on disk."""

    keep_every: Positive | None = None
    """Every how many-th checkpoint stays for ever; null keeps none."""

    keep_best: Annotated[int, Field(ge=0)] = 1
    """Checkpoints with the lowest validation loss that stay."""

    max_bytes: Positive | None = None
    """Most bytes of all checkpoints together; null sets no limit. Beyond it fewer are kept, but never less
    than the newest two; if these do not fit, training is blocked instead."""


class DaemonSettings(Section):
    """Intake, queue and supervision.

    `rescan_s`, `settle_s`, `settle_slow_s` and `log_format` are read when the daemon starts; `preempt` and
    `min_free_bytes` at every decision; a change of the others takes effect with the next worker.
    """

    rescan_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two scans of the folders. File system events make it react sooner;
    this is the safety net."""

    settle_s: Seconds = 0.2
    """Seconds a file that was written in place must stay unchanged before it is taken."""

    settle_slow_s: Seconds = 2.0
    """The same for a file that may be unfinished: it is empty, ends in the middle of a row, or lies where the
    system cannot tell whether a writer still has it open."""

    preempt: bool = True
    """Whether a more urgent file takes over at the next optimizer step. The file it takes over from waits in
    its queue and goes on later at the very next step."""

    max_attempts: Positive = 3
    """Times a file may take the worker down with it before it goes to `queue/failed/`."""

    backoff_max_s: Annotated[float, Field(ge=1)] = 60.0
    """Longest wait before a worker that died is started again; the wait doubles from 1 second."""

    blocked_retry_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a blocked daemon tries again by itself. A changed `config.json`
    makes it try at once."""

    hang_after_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds without any progress after which a worker counts as hung, unless five times the longest wait
    seen so far in what it is doing is more."""

    hang_ceiling_s: Annotated[float, Field(gt=0)] = 3600.0
    """The same for a worker that shows signs of life (it computes or reads and writes) without progress."""

    min_free_bytes: Annotated[int, Field(ge=0)] = 512 * 1024 * 1024
    """Free disk space below which no file is started."""

    stop_grace_s: Seconds = 120.0
    """Seconds the worker gets to save when the daemon stops; after that it is killed."""

    step_rows_kept: Annotated[int, Field(ge=1000)] = 200_000
    """Optimizer steps of which the ledger keeps every one; of older ones it keeps every hundredth."""

    log_format: Literal["text", "json"] = "text"
    """Form of the lines in `logs/`."""


class Settings(Section):
    """The content of `config.json`. Everything is optional."""

    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    data: DataSettings = DataSettings()
    profile: ProfileSettings = ProfileSettings()
    validation: ValidationSettings = ValidationSettings()
    previews: PreviewSettings = PreviewSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    daemon: DaemonSettings = DaemonSettings()


def sections() -> dict[str, type[Section]]:
    """Return the section classes by name, in the order of the schema."""
    return {name: type(field.default) for name, field in Settings.model_fields.items()}
