"""Read a file with a chat template as far as its syntax goes. Renders nothing: a template is a program."""

from pathlib import Path

from trainer.protocol.text import printable

MOST_BYTES = 1_000_000  # as the worker, which refuses a longer one


def template_problem(path: Path) -> str | None:
    """Return why no worker could use the file, as what follows its name; None if one may."""
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            return f"has {size:,} bytes; expected at most {MOST_BYTES:,}; use a shorter template"
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return f"cannot be read: {error.strerror}; expected a file that you may read"
    except UnicodeDecodeError as error:
        return f"is no text: {error}; expected UTF-8"
    return _syntax_problem(text)


def _syntax_problem(text: str) -> str | None:
    from jinja2 import Environment, TemplateSyntaxError, nodes  # slow to import, and rarely needed
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser

    class GenerationBlock(Extension):
        """Reads `{% generation %}` of transformers, which marks a part and changes nothing."""

        tags = {"generation"}  # noqa: RUF012 - as the base class has it

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        Environment(extensions=[GenerationBlock, loopcontrols]).parse(text)
    except TemplateSyntaxError as error:
        said = printable((error.message or "it cannot be parsed").rstrip("."), limit=200)
        return f"is no template at line {error.lineno}: {said}; correct it"
    except RecursionError:
        return "is nested too deeply to be parsed; use a simpler template"
    return None
