"""Keep in `models/fit.json` how many tokens at once were measured to be best. Knows no torch.

A number belongs to one combination of model, machine and settings (its key). Where training has run out of
memory since, the smaller number stands beside it with the step from which it holds. So the number in force
is a function of the file and the step, and steps that are taken again after a crash are split alike.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainer.config.schema import TrainingSettings
from trainer.protocol.files import UnreadableFile, move_durably, read_json, write_json

FILE_NAME = "fit.json"
Key = dict[str, str | int | bool | None]
Tokens = Annotated[int, Field(ge=1)]


class MemoryLimit(BaseModel):
    """Memory ran out, and this fitted."""

    model_config = ConfigDict(frozen=True, strict=True)

    step: Annotated[int, Field(ge=0)]
    """Steps the model had had in its life before the one that ran out of memory; it holds from then on."""
    tokens: Tokens


class FoundBatchSize(BaseModel):
    """What was found for one key."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    key: Key
    tokens: Tokens
    """As measured."""
    memory_limits: Annotated[tuple[MemoryLimit, ...], Field(alias="lessons")] = ()

    def tokens_at(self, step: int) -> int:
        """Return the number in force for a file that starts at `step`."""
        return self.limited(self.tokens, step)

    def limited(self, tokens: int, step: int) -> int:
        """Return `tokens`, or less where memory has run out up to `step`."""
        return min([tokens, *(limit.tokens for limit in self.memory_limits if limit.step <= step)])


class _File(BaseModel):
    """The content of the file; its keys are those of the first release that wrote one."""

    format: Literal[1] = 1
    fits: tuple[FoundBatchSize, ...] = ()


class BatchSizeStore(Protocol):
    """How many tokens go through the model at once, where the settings leave it open."""

    def for_new_job(self) -> int:
        """Return the number for a file that starts now; it is measured if none is known."""
        ...

    def limited(self, tokens: int) -> int:
        """Return `tokens`, or less if memory has run out with so many."""
        ...

    def note_out_of_memory(self, tokens: int) -> None:
        """Note durably that memory ran out in the step just taken, and that `tokens` fitted."""
        ...


def tokens_for_new_job(settings: TrainingSettings, batch_sizes: BatchSizeStore) -> int:
    """Return the number a file starts with: what the settings say, or what is best here."""
    given = settings.micro_batch_tokens
    return batch_sizes.for_new_job() if given == "auto" else given


class BatchSizeFile:
    """The batch size of one key, kept in a file.

    Args:
        file: `models/fit.json`. One that is damaged or not ours is moved aside.
        steps_taken: steps the model has had in its life.
        measure: called when none is known.
        tell: called with a message if the file was damaged.
    """

    def __init__(
        self,
        file: Path,
        key: Key,
        *,
        steps_taken: Callable[[], int],
        measure: Callable[[], int],
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._file = file
        self._key = key
        self._steps_taken = steps_taken
        self._measure = measure
        fits = _read(file, tell)
        self._others = [found for found in fits if found.key != key]
        self._own = next((found for found in fits if found.key == key), None)

    @property
    def is_known(self) -> bool:
        """Whether a number is known, so that nothing need be measured."""
        return self._own is not None

    def for_new_job(self) -> int:
        return self._found().tokens_at(self._steps_taken())

    def limited(self, tokens: int) -> int:
        return self._own.limited(tokens, self._steps_taken()) if self._own else tokens

    def note_out_of_memory(self, tokens: int) -> None:
        found = self._found()
        limit = MemoryLimit(step=self._steps_taken() - 1, tokens=tokens)
        if found.tokens_at(limit.step) > tokens:
            self._write(found.model_copy(update={"memory_limits": (*found.memory_limits, limit)}))

    def _found(self) -> FoundBatchSize:
        return self._own or self._write(FoundBatchSize(key=self._key, tokens=self._measure()))

    def _write(self, found: FoundBatchSize) -> FoundBatchSize:
        content = _File(fits=(*self._others, found)).model_dump(mode="json", by_alias=True)
        try:
            write_json(self._file, content, durable=True)  # before a step depends on it
        except OSError as error:
            raise OSError(
                f"{self._file} cannot be written: {error}; free some space, or give write permission"
            ) from error
        self._own = found
        return found


def _read(file: Path, tell: Callable[[str], None]) -> tuple[FoundBatchSize, ...]:
    try:
        return _File.model_validate(read_json(file)).fits
    except (FileNotFoundError, IsADirectoryError):
        return ()
    except (UnreadableFile, ValidationError):
        aside = move_durably(file, file.parent, name=f"{file.name}.damaged")
        tell(
            f"{file} was damaged, so it is {aside.name} now; expected the batch sizes that fit, which are "
            "measured again; steps that are trained a second time may be split differently"
        )
        return ()
