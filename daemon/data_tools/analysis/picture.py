"""Draw an analysis with matplotlib, if it is installed. Only figures and our own words are drawn.

Words of the file would need fonts for every script, and `$` would make matplotlib read a formula.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

from daemon.data_tools.analysis.findings import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (12, 9)
DOTS_PER_INCH = 120
TURNS_SHOWN = 20


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
    sizes = enumerate((topic.share for topic in analysis.sampled.topics), start=1)
    _bars(topics, "Share of each topic", dict(sizes))
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _bars(axes: "Axes", title: str, counts: Mapping[Any, float]) -> None:
    axes.set_title(title)
    axes.bar([str(label) for label in counts], list(counts.values()))
    axes.tick_params(axis="x", labelrotation=60)
