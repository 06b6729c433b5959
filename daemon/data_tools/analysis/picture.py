"""Draw an analysis with matplotlib, if it is installed.

Of the file's words, only those of topics are drawn, and only if the font has their letters. `$` would make
matplotlib read a formula, so nothing is taken for one.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from daemon.data_tools.analysis.findings import Analysis, Topic
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (12, 9)
DOTS_PER_INCH = 120
TURNS_SHOWN = 20
WORDS_SHOWN = 3  # of a topic
NAME_CHARACTERS = 32


def has_matplotlib() -> bool:
    """Whether pictures can be drawn here."""
    return find_spec("matplotlib") is not None


def picture(name: str, analysis: Analysis) -> bytes:
    """Return a PNG about the file `name`."""
    from matplotlib.figure import Figure  # without pyplot, which looks for a screen

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    title = f"{name.encode('ascii', 'backslashreplace').decode()}: {analysis.rows:,} rows"
    figure.suptitle(title, parse_math=False)
    answers, turns, languages, topics = figure.subplots(2, 2).flat
    _bars(answers, "Characters of answers", analysis.answer_lengths)
    _bars(turns, "Messages per row", dict(islice(analysis.turns.items(), TURNS_SHOWN)))
    _bars(languages, "Languages of rows (guessed)", analysis.sampled.languages)
    _topics(topics, analysis.sampled.topics)
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _topics(axes: "Axes", topics: Sequence[Topic]) -> None:
    """Draw the share of each topic beside its words, the largest on top."""
    names = topic_names(topics)
    axes.set_title("Share of each topic")
    axes.barh(range(len(names)), [topic.share for topic in topics])
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()


def topic_names(topics: Sequence[Topic]) -> list[str]:
    """Return for each topic its first words, or its number if the font cannot show them."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    letters = get_font(findfont(FontProperties())).get_charmap()
    return [
        words if words and all(ord(letter) in letters for letter in words) else f"topic {number}"
        for number, words in enumerate(map(_first_words, topics), start=1)
    ]


def _first_words(topic: Topic) -> str:
    words = printable(", ".join(topic.words[:WORDS_SHOWN]))
    return words if len(words) <= NAME_CHARACTERS else f"{words[: NAME_CHARACTERS - 1]}…"


def _bars(axes: "Axes", title: str, counts: Mapping[Any, float]) -> None:
    axes.set_title(title)
    axes.bar([str(label) for label in counts], list(counts.values()))
    axes.tick_params(axis="x", labelrotation=60)
