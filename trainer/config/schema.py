"""Every setting with its default, unit and meaning, grouped by the part of the program that owns it.

The text under each field is its documentation: `docs/CONFIGURATION.md` and the JSON Schema are generated from
it.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from trainer.config.backup_settings import BackupSettings
from trainer.config.disk_settings import DiskSettings
from trainer.config.forget_settings import ForgetSettings
from trainer.config.gate_settings import GateSettings
from trainer.config.model_settings import EMBEDDED_MODEL, ModelSettings
from trainer.config.notify_settings import NotifySettings
from trainer.config.section import FileName, Fraction, Positive, Seconds, Section
from trainer.config.tracking_settings import TrackingSettings
from trainer.config.version_settings import VersionSettings
from trainer.protocol.deep_findings import PrivatePattern
from trainer.protocol.row_fields import OF_MESSAGES, OF_ROWS
from trainer.protocol.text import printable

DEFAULTS_OF_THE_EMBEDDED_MODEL = {"learning_rate": 2.5e-3, "warmup_steps": 10}
"""Other models have been trained before; this one starts with random weights, and would hardly learn."""


class TrainingSettings(Section):
    """How steps are computed. A change takes effect at the next job."""

    method: Literal["full", "lora", "qlora"] = "full"
    """Which weights are trained. `full`: all of them. `lora`: small matrices next to the linear layers of the
    frozen base model; a checkpoint then contains only these. `qlora`: the same with the base model in 4 bits
    (needs the extra `qlora`: `scripts/setup qlora`). Locked with the first checkpoint."""

    lora_rank: Positive = 16
    """Rank of the matrices of `lora` and `qlora`. Locked with the first checkpoint."""

    lora_alpha: Positive = 32
    """The product of these matrices is scaled by `lora_alpha / lora_rank`. Locked with the first
    checkpoint."""

    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the inputs of these matrices that is dropped during training. A change takes effect with a new
    worker, which is started automatically."""

    lora_targets: Literal["all-linear"] | list[str] = "all-linear"
    """The layers that get such matrices: `all-linear`, or a list of layer names, such as `["q_proj",
    "v_proj"]`. Locked with the first checkpoint."""

    lora_dora: bool = False
    """Whether direction and magnitude of the change are trained separately (DoRA). Locked with the first
    checkpoint."""

    lora_rslora: bool = False
    """Whether the matrices are scaled by `lora_alpha / sqrt(lora_rank)` instead (rsLoRA). Locked with the
    first checkpoint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute. `auto`: on the GPU if there is one. If a model was trained on a GPU, training does
    not silently continue on the CPU: the daemon is `blocked` until the GPU is back or you set `cpu`."""

    batch_size: Positive = 4
    """Rows per micro-batch, as other trainers count them; times `gradient_accumulation`, it gives the number
    of rows per optimizer step. `micro_batch_tokens` decides how these rows are actually split."""

    gradient_accumulation: Positive = 4
    """Micro-batches per optimizer step."""

    processes: Positive = 1
    """Processes that share the rows of each step, one per GPU (on the CPU, any number). The result stays the
    same except for rounding, and for the noise of dropout and NEFTune. A change takes effect with a new
    worker, which is started automatically."""

    micro_batch_tokens: Positive | Literal["auto"] = 8192
    """Maximum number of tokens, including padding, that go through the model at once. It affects speed and
    memory, and the result only by rounding and by the noise of dropout and NEFTune. A row with more tokens
    goes alone. `auto`: whatever is fastest on this machine and fits in memory. It is measured when the first
    worker starts, and stored in `models/fit.json`."""

    replay_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of each step's rows that is drawn from files completed earlier, against forgetting: at least one
    row, and never all of them. The total number of rows per step stays the same, so a file takes more steps.
    The files are chosen when a job starts: the newest in `queue/recently_completed/`, at most 32."""

    epochs: Positive = 1
    """Passes over each file."""

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 2e-5
    """Step size of the optimizer, reached after the warm-up. The embedded model `tiny`, which starts with
    random weights, has 0.0025 unless you set it."""

    warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Optimizer steps over which the learning rate rises from zero, once in the model's life (not once per
    file). The embedded model `tiny` has 10 unless you set it."""

    schedule: Literal["constant_with_warmup", "cosine", "wsd"] = "constant_with_warmup"
    """The learning rate after the warm-up. `constant_with_warmup`: it stays constant. `cosine`: it falls
    along half a cosine over each file. `wsd`: it stays constant, then falls linearly over the last
    `decay_fraction` of each file. If a file begins during the warm-up, both factors are multiplied."""

    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a file's steps over which `wsd` decays."""

    final_learning_rate_fraction: Fraction = 0.0
    """Share of `learning_rate` at which `cosine` and `wsd` end."""

    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor", "muon"] = "adamw"
    """The optimizer. The 8-bit ones need the extra `qlora`; the paged one also needs a GPU. `muon`: Muon for
    the matrices inside the model, AdamW for the rest, with one learning rate. Locked with the first
    checkpoint."""

    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decoupled weight decay; biases and norms are excluded."""

    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are clipped to this L2 norm; 0 turns clipping off."""

    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """Strength of the noise that is added to embeddings during training (NEFTune, whose authors tried 5 to
    15); null adds none."""

    activation_checkpointing: Literal["off", "on", "auto"] = "auto"
    """Whether activations are recomputed in the backward pass instead of being kept: less memory, a third
    more arithmetic. `auto`: only if a single row does not fit otherwise. A change takes effect with a new
    worker, which is started automatically."""

    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Number format of the arithmetic. `auto`: bf16 on a GPU that supports it. On a CPU, what the model was
    trained in so far; a new one of two million weights or more takes bf16 where its products are at least
    1.5 times as fast in it on this machine (AVX512-BF16, AMX), as measured once, and otherwise fp32. Weights,
    optimizer and long sums are fp32 in any case. `fp16` needs a GPU."""

    tf32: bool = False
    """Whether a GPU may round the inputs of fp32 matrix products to TF32, which is faster."""

    compile: bool = False
    """Whether the model's layers are compiled with `torch.compile`: slower at first, then faster. Needs a C++
    compiler. A change takes effect with a new worker, which is started automatically."""

    average: Literal["none", "ema", "window"] = "none"
    """An average of the weights of many steps, which is kept beside those that are trained, is part of every
    checkpoint, and is published as `models/current_average`. `ema`: an exponential average, in which the
    weights of `average_steps` steps ago count half. `window`: the plain mean over the newest `average_steps`
    to twice as many steps."""

    average_steps: Positive = 50
    """See `average`."""

    preferred_weights: Literal["average", "last"] = "average"
    """Which weights are evaluated, and compared where the best model is looked for: those that are averaged,
    if there are such, or those after the last step. The gate judges `last` alone, or both."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 42
    """Decides the order of rows and the dropout noise."""

    cpu_threads: Positive | None = None
    """Threads per process for arithmetic on the CPU. With null, torch chooses (one per core), or the cores
    are divided among `processes`."""

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
    """Maximum number of tokens per example; `overlong` decides what happens to a row with more. Locked with
    the first checkpoint."""

    overlong: Literal["truncate_left_turns", "truncate_right", "split", "drop", "fail"] = (
        "truncate_left_turns"
    )
    """What happens to a row with more than `max_length` tokens. `truncate_left_turns`: drops as few of the
    earliest exchanges as possible, and keeps leading system messages and the last answer. If the last
    exchange alone is too long, or the row is a plain text, truncates it on the right. `truncate_right`:
    truncates on the right. `split`: makes several examples, split between exchanges, each with the system
    messages in front; a plain text is split anywhere. `drop`: does not train the row. `fail`: fails the whole
    file."""

    train_on: Literal["assistant", "last_assistant", "all"] = "assistant"
    """Which tokens of a conversation are supervised. `assistant`: every turn of the assistant, including its
    end. `last_assistant`: only the last one. `all`: every token, including those of the chat template. Turns
    that a row itself excludes are never supervised."""

    hidden_parts: Literal["refuse", "report"] = "report"
    """What happens to a row of which the chat template does not show some context: a tool result, a late
    system message, the reasoning of an earlier turn. `report`: it is trained without, and the file's report
    says so. `refuse`: the row cannot be trained. What is dropped inside of a tool's schema is only reported.
    A part that would be supervised is never lost: such a row is always refused."""

    quoted_control_tokens: Literal["text", "tokens"] = "text"
    """What a control token becomes that somebody quotes in a row, such as `<|im_end|>` in an answer about
    templates. `text`: the tokens of its letters, if the tokenizer has them. `tokens`: the control token
    itself, which ends the turn for the model. The file's report names such rows in any case."""

    quoted_turn_markers: Literal["text", "tokens"] = "text"
    """The same for tokens that the chat template puts between turns though the tokenizer does not call them
    special, such as `<｜Assistant｜>` of DeepSeek R1. They stay tokens, too, if `quoted_control_tokens` is
    `tokens`."""

    max_bad_row_fraction: Fraction = 0.01
    """Maximum share of malformed rows. Up to it, a file is trained without them; above it, the file fails."""

    validation: Literal["quick", "standard", "deep"] = "standard"
    """What is checked before the first step of a file. `quick`: whether each row can be read. `standard`:
    also the lengths, answers and balance of 1,000 rows spread over the file, and exact copies among all rows.
    `deep`: all of this for every row, which is also compared with all rows trained before, with held-out data
    and with the other rows of the file. Anything odd is reported. A file is not trained if too many of its
    rows are too long, or if none has a supervised token."""

    max_truncated_fraction: Fraction = 0.05
    """Maximum share of rows longer than `max_length`. Above it, the file fails before its first step, unless
    you admit it: `training_queue retry NAME --admit`."""

    max_line_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    """Maximum number of bytes per line; a longer line counts as malformed."""

    max_unpacked_bytes: Annotated[int, Field(ge=1024**2)] = 8 * 1024**3
    """Maximum size of the text in a `.jsonl.gz` or `.jsonl.zst`; a file with more fails. The worker needs
    that much disk space below `models/` while it trains the file."""

    fields: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """Other names for the parts of a row: `{"prompt": "frage", "completion": "antwort"}`, or `{"messages":
    "dialog", "role": "speaker", "content": "words"}`. See `docs/data/formats.md`."""

    prefetch_steps: Positive = 8
    """Optimizer steps whose rows are tokenized ahead of use."""

    cache_max_bytes: Annotated[int, Field(ge=0)] = 2 * 1024**3
    """Maximum disk space for tokenized rows, so that a restart or a second epoch need not tokenize them
    again; 0 keeps none."""

    seen_rows_max: Positive = 1_000_000
    """Maximum number of earlier rows that `deep` remembers, 500 bytes each, in `models/seen_rows.sqlite3`.
    The rows of the oldest files are removed first."""

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

    @property
    def quotes(self) -> Literal["text", "special", "tokens"]:
        """Which control tokens become text where a row quotes them: all, the special ones, or none."""
        if self.quoted_control_tokens == "tokens":
            return "tokens"
        return "text" if self.quoted_turn_markers == "text" else "special"


class ProfileSettings(Section):
    """The data profile: how a conversation is changed before it is rendered.

    A change takes effect at the next job.
    """

    name: FileName = "plain"
    """`plain` changes nothing. `emoji_think` has the model think with one emoji and finish with another.
    `regime3` marks the final answer and normalises expressions. `mix` assigns each row to one of several
    profiles. You can also give the name of a profile in an installed package, or a class in a file:
    `path/to/profile.py:ClassName` (relative to the working directory)."""

    options: dict[str, JsonValue] = {}
    """Options of the profile; see `docs/data/profiles.md`. `emoji_think` takes `direct_share` and
    `penalties`, `regime3` takes `answer`, `mix` takes `shares` and `options`."""


class ValidationSettings(Section):
    """Measuring the model on data that is not trained.

    A change takes effect at the next job, and when one continues after an interruption.
    """

    file: FileName | None = None
    """A JSONL file (relative to the working directory); null turns the validation loss off."""

    interval_steps: Positive = 500
    """Optimizer steps between two evaluations of file and suites; there is always one more after the last
    step of each file. High costs widen the interval: see `monitoring.max_overhead_percent`."""

    max_rows: Positive = 1000
    """Maximum number of rows of `file` that are used; of a longer file, always the same ones, spread over
    it."""

    suites: dict[Annotated[str, Field(min_length=1)], FileName] = {}
    """Questions with known answers: a JSONL file (relative to the working directory) for each name. The last
    turn of the assistant, or `metadata.answer`, is the expected answer; `metadata.difficulty` may group the
    rows. The model answers greedily. The share of correct answers and the loss are shown for each suite."""

    suite_max_rows: Positive = 100
    """Maximum number of rows of each suite that are used; of a longer one, always the same ones, spread over
    it."""

    suite_max_new_tokens: Positive = 128
    """Maximum number of tokens in an answer to a suite's question."""


class PreviewSettings(Section):
    """Answers to fixed prompts, to watch how they change.

    A change takes effect at the next job, and when one continues after an interruption.
    """

    prompts: list[Annotated[str, Field(min_length=1)]] = []
    """Prompts for the model, each given as a user turn."""

    file: FileName | None = None
    """More prompts: a JSONL file (relative to the working directory) of rows like those you train on.
    Everything before the last turn of the assistant is the prompt, and that turn is the expected answer."""

    interval_steps: Positive = 500
    """Optimizer steps between two rounds of previews. High costs widen the interval: see
    `monitoring.max_overhead_percent`."""

    max_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Seconds after which a round ends. The next one begins with the first prompt that got no answer. An
    answer that the time cuts off is shown only if it is the first of its round, and is not measured."""

    max_new_tokens: Positive = 128
    """Maximum number of tokens in an answer."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 always takes the most likely token. Above 0, tokens are sampled with a seed derived from
    `training.seed`, the step and the prompt."""


class MonitoringSettings(Section):
    """How much time observing the training may take.

    A change takes effect at the next job, and when one continues after an interruption.
    """

    max_overhead_percent: Annotated[float, Field(gt=0, le=100)] = 5.0
    """Percentage of the time that validation, suites and previews may take together. If they would take more,
    their intervals are doubled as often as needed, and suites are left out at the end of a file. The
    intervals return to normal when evaluations become cheap again. 100 never changes the intervals. The first
    evaluation of each kind always runs, and so does the validation loss at the end of a file."""


class CheckpointSettings(Section):
    """When checkpoints are saved, and which ones are kept. A change takes effect immediately."""

    interval_s: Seconds = 600.0
    """Seconds of training after which a checkpoint is saved, in addition to the ones at the ends of files.
    Both this and `group_commit_s` are stretched if saving would take more than 3.5 % of the time."""

    interval_steps: Positive | None = None
    """Optimizer steps after which a checkpoint is saved, however long they took. With null, only `interval_s`
    counts."""

    group_commit_s: Seconds = 5.0
    """Seconds that a finished file may wait, so that files that finish shortly after each other share one
    checkpoint. Training continues meanwhile. If nothing else is queued, there is no wait."""

    background: Literal["auto", "always", "never"] = "auto"
    """Whether a checkpoint is copied to memory and written by another process while training continues.
    `auto`: if saving takes longer than a second, the copy fits in memory, and this has been faster so far."""

    keep_last: Annotated[int, Field(ge=2)] = 3
    """How many of the newest checkpoints are kept."""

    keep_every: Positive | None = None
    """With N, every N-th checkpoint is kept forever; null keeps none."""

    keep_best: Annotated[int, Field(ge=0)] = 1
    """How many checkpoints with the lowest validation loss are kept."""

    spine_max_bytes: Annotated[int, Field(ge=0)] = 20_000_000_000
    """Maximum total size of the spine: older checkpoints, the fewer the longer ago (about 20 after 1,000
    files), from which the model is trained again without a file that is to be forgotten. Above it, the oldest
    go first. Beyond a quarter of the room on the disk none are added, and those that are there stay. 0 keeps
    none."""

    max_bytes: Positive | None = None
    """Maximum total size of all checkpoints; null sets no limit. Above it, fewer are kept, but never fewer
    than the newest two; if these do not fit, training is blocked."""


class DaemonSettings(Section):
    """Intake, queue and supervision.

    `rescan_s`, `settle_s`, `settle_slow_s` and `log_format` are read when the daemon starts; `preempt` and
    `min_free_bytes` at every decision. A change of the others takes effect with the next worker.
    """

    rescan_s: Annotated[float, Field(gt=0)] = 5.0
    """Seconds between two scans of the folders. Normally file system events make the daemon react sooner;
    this is the safety net."""

    settle_s: Seconds = 0.2
    """Seconds a file that was written in place must stay unchanged before it is taken."""

    settle_slow_s: Seconds = 2.0
    """The same for a file that may be unfinished, because it is empty, ends in the middle of a row, or is in
    a place where the system cannot tell whether a writer still has it open."""

    preempt: bool = True
    """Whether a more urgent file preempts the current one at the next optimizer step. The preempted file
    waits in its queue and later continues with its very next step."""

    max_attempts: Positive = 3
    """How often a file may crash the worker before it goes to `queue/failed/`."""

    backoff_max_s: Annotated[float, Field(ge=1)] = 60.0
    """Maximum wait before a crashed worker is started again; the wait begins at 1 second and doubles."""

    blocked_retry_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds after which a blocked daemon tries again on its own. A changed `config.json` makes it try
    immediately."""

    hang_after_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds without any progress after which a worker counts as hung. If five times the longest wait seen
    so far in the same kind of work is more, that counts instead."""

    hang_ceiling_s: Annotated[float, Field(gt=0)] = 3600.0
    """The same for a worker that shows signs of life (it computes, reads or writes) but no progress."""

    min_free_bytes: Annotated[int, Field(ge=0)] = 512 * 1024 * 1024
    """Free disk space below which no file is started."""

    stop_grace_s: Seconds = 120.0
    """Seconds that the worker has for saving when the daemon stops; after that it is killed."""

    step_rows_kept: Annotated[int, Field(ge=1000)] = 200_000
    """How many of the newest optimizer steps the ledger keeps in full; of older ones it keeps every
    hundredth."""

    log_format: Literal["text", "json"] = "text"
    """Format of the lines in `logs/`."""


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
    versions: VersionSettings = VersionSettings()
    daemon: DaemonSettings = DaemonSettings()
    disk: DiskSettings = DiskSettings()
    notify: NotifySettings = NotifySettings()
    tracking: TrackingSettings = TrackingSettings()
    forget: ForgetSettings = ForgetSettings()
    backup: BackupSettings = BackupSettings()
    gate: GateSettings = GateSettings()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_embedded_model(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        model, training = given.get("model", {}), given.get("training", {})
        if not isinstance(model, dict) or not isinstance(training, dict):
            return given
        if model.get("base_model", EMBEDDED_MODEL) != EMBEDDED_MODEL:
            return given
        return {**given, "training": {**DEFAULTS_OF_THE_EMBEDDED_MODEL, **training}}


def sections() -> dict[str, type[Section]]:
    """Return the section classes by name, in the order of the schema."""
    return {name: type(field.default) for name, field in Settings.model_fields.items()}
