"""Turn rows into examples: first the data profile, then the chat template. Errors name the line."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer import data, pipeline, profiles
from trainer.config.loader import BadConfig
from trainer.config.schema import DataSettings, Settings
from trainer.data.conversation import Conversation
from trainer.data.rendering.refused_rows import RefusedRow, message_with_way_out
from trainer.data.rendering.render import (
    ExampleRenderer,
    OverlongRow,
    RowExamples,
    UnrenderableConversation,
    UnusableTemplate,
)
from trainer.data.rendering.source import Renderer
from trainer.profiles.base import DataProfile


@dataclass(frozen=True, slots=True)
class Oddities:
    """What is odd in how a row is rendered."""

    hidden: Sequence[str]
    """Parts that the chat template does not show, in words."""
    quotes_control_tokens: bool


FindOddities = Callable[[int, Conversation], Oddities]
"""Takes a line and the row that stands there."""

REFUSALS = (UnrenderableConversation, UnusableTemplate, OverlongRow)
NO_LIMIT = 2**40  # tokens


def hash_of_source(*folders: Path) -> str:
    """Return a hash of the modules in some folders and below."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Everything that decides how a row is rendered; a part of every key of the token cache. Taken when the code
# is loaded: the files of a worker that waits may be replaced by those of another release
RENDERING_CODE = hash_of_source(*(Path(package.__path__[0]) for package in (data, profiles, pipeline)))


def make_renderer(profile: DataProfile, renderer: ExampleRenderer, settings: Settings) -> Renderer:
    """Return what turns conversations into examples.

    The renderer raises BadRow, naming the line, for a row that the profile or the template cannot render
    (RefusedRow if it was the template), and BadConfig for a template that cannot be used at all.
    """
    data = settings.data

    def render(numbered: Sequence[tuple[int, Conversation]]) -> list[RowExamples]:
        transformed = [
            profile.transform(conversation, line_number=number) for number, conversation in numbered
        ]
        try:
            if data.hidden_parts == "refuse":
                _refuse_lost_context(transformed, renderer, data)
            return renderer.render(
                transformed,
                max_length=data.max_length,
                overlong=data.overlong,
                train_on=data.train_on,
                quotes=data.quotes,
            )
        except REFUSALS as error:
            if len(numbered) > 1:  # together they are faster, but alone they say which one it is
                return [examples for one in numbered for examples in render([one])]
            refused = RefusedRow(numbered[0][0], error)
            if isinstance(error, UnusableTemplate):  # ends the training of all files, so a person is told
                raise BadConfig(message_with_way_out(refused)) from error
            raise refused from error

    return render


def finder_of_oddities(profile: DataProfile, renderer: ExampleRenderer, settings: Settings) -> FindOddities:
    """Return what finds the oddities of rows."""

    def find(line: int, conversation: Conversation) -> Oddities:
        transformed = profile.transform(conversation, line_number=line)
        lost = renderer.all_lost_context(transformed, train_on=settings.data.train_on)
        return Oddities(lost, renderer.quotes_control_tokens(transformed))

    return find


def _refuse_lost_context(
    conversations: Sequence[Conversation], renderer: ExampleRenderer, data: DataSettings
) -> None:
    for conversation in conversations:
        for place in renderer.lost_context(conversation, train_on=data.train_on):
            raise UnrenderableConversation(
                f"the chat template does not show {place}, which data.hidden_parts refuses",
                way_out="remove it from the row, or set data.hidden_parts to report",
            )


def renderer_without_limit(profile: DataProfile, renderer: ExampleRenderer, settings: Settings) -> Renderer:
    """Return what renders rows whole, which tells how long they are."""
    data = settings.data.model_copy(update={"max_length": NO_LIMIT, "overlong": "truncate_right"})
    return make_renderer(profile, renderer, settings.model_copy(update={"data": data}))
