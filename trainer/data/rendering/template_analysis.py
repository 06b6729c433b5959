"""Tell whether a chat template only shows the content of messages, and never inspects it. Renders nothing.

Where such a template puts the words does not depend on the words: seen once, it is known for every row with
the same roles. One that trims, compares or searches content, or asks for the date, has to be run each time.

Understood is what common templates consist of. Whatever else stands in one makes the answer False.
"""

from collections.abc import Iterable

from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from trainer.data.conversation import REASONING_KEYS

CONVERSATION = "messages"
CONSTANTS = ("add_generation_prompt", "bos_token", "eos_token", "pad_token", "unk_token", "loop")
NEVER_GIVEN = ("tools", "documents")  # always None, because rows have none
RESERVED = (*CONSTANTS, *NEVER_GIVEN, CONVERSATION, "namespace")
KEYS_NEVER_GIVEN = ("tool_calls", "tools", "name", *REASONING_KEYS)  # of a message


class GenerationBlock(Extension):
    """Reads `{% generation %}` of transformers, which marks a part and changes nothing."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def only_shows_content(template: str) -> bool:
    """Return whether the words of a message change nothing but the place they are put at.

    Holds for messages that have a role and a content that is not empty, and nothing else, without tools.
    """
    try:
        tree = Environment(extensions=[GenerationBlock]).parse(template)
        return _TemplateAnalysis().are_plain(tree.body)
    except (TemplateSyntaxError, RecursionError):  # a long sum is parsed, and then too deep to be walked
        return False


class _TemplateAnalysis:
    """The analysis of one template, from the outside in."""

    def __init__(self) -> None:
        self._message_names: set[str] = set()
        self._namespaces: set[str] = set()

    def are_plain(self, statements: Iterable[nodes.Node]) -> bool:
        """Return whether every statement is understood."""
        return all(self._is_plain(statement) for statement in statements)

    def _is_plain(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Output():
                return all(self._is_shown(part) for part in node.nodes)
            case nodes.If() if self._is_never_given(node.test):
                return self.are_plain([*node.elif_, *node.else_])
            case nodes.If():
                parts = [*node.body, *node.elif_, *node.else_]
                return self._is_asked(node.test) and self.are_plain(parts)
            case nodes.For() if self._is_never_given(node.iter):
                return self.are_plain(node.else_)
            case nodes.For(target=nodes.Name(name=name)) if self._is_conversation(node.iter):
                if node.test or name in (*RESERVED, *self._namespaces):
                    return False
                self._message_names.add(name)
                return self.are_plain([*node.body, *node.else_])
            case nodes.Assign(target=nodes.Name(name=name), node=nodes.Call() as call):
                return self._is_namespace(name, call)
            case nodes.Assign(target=nodes.NSRef(name=name)):
                return name in self._namespaces and self._is_verdict(node.node)
            case _:
                return False

    def _is_namespace(self, name: str, call: nodes.Call) -> bool:
        """Return whether this makes a namespace of constants; it is known from here on."""
        match call:
            case nodes.Call(node=nodes.Name(name="namespace"), args=[], dyn_args=None, dyn_kwargs=None):
                if name in (*RESERVED, *self._message_names):
                    return False
                self._namespaces.add(name)
                return all(self._is_constant(pair.value) for pair in call.kwargs)
            case _:
                return False

    def _is_verdict(self, node: nodes.Node) -> bool:
        """Return whether the value is a constant that does not become larger, however often it is set."""
        match node:
            case nodes.Const() | nodes.Compare():
                return self._is_asked(node)
            case nodes.And() | nodes.Or():
                return self._is_verdict(node.left) and self._is_verdict(node.right)
            case nodes.Not():
                return self._is_verdict(node.node)
            case _:
                return self._is_never_given(node)

    def _is_shown(self, node: nodes.Node) -> bool:
        """Return whether this is text: of the template, of a message, or put together of both."""
        match node:
            case nodes.TemplateData():
                return True
            case nodes.Add():
                return self._is_shown(node.left) and self._is_shown(node.right)
            case nodes.Concat():
                return all(self._is_shown(part) for part in node.nodes)
            case nodes.CondExpr():
                shown = self._is_shown(node.expr1) and (node.expr2 is None or self._is_shown(node.expr2))
                return self._is_asked(node.test) and shown
            case _:
                return self._is_content(node) or self._is_constant(node)

    def _is_asked(self, node: nodes.Node) -> bool:
        """Return whether this is a question that has the same answer whatever the messages say."""
        match node:
            case nodes.And() | nodes.Or():
                return self._is_asked(node.left) and self._is_asked(node.right)
            case nodes.Not():
                return self._is_asked(node.node)
            case nodes.Compare():
                return all(self._is_constant(side) for side in [node.expr, *(op.expr for op in node.ops)])
            case _:
                # Content is never empty, so whether there is any is no question
                return self._is_content(node) or self._is_constant(node)

    def _is_constant(self, node: nodes.Node) -> bool:
        """Return whether the value is the same whatever the messages say."""
        match node:
            case nodes.Const():
                return True
            case nodes.Name():
                return node.name in (*CONSTANTS, *NEVER_GIVEN)
            case nodes.List() | nodes.Tuple():
                return all(self._is_constant(item) for item in node.items)
            case nodes.Add() | nodes.Sub() | nodes.Mod():
                return self._is_constant(node.left) and self._is_constant(node.right)
            case nodes.Neg():
                return self._is_constant(node.node)
            case nodes.Getattr(node=nodes.Name(name=name)) if name in self._namespaces:
                return True
            case nodes.Getattr(
                node=nodes.Name(name="loop"), attr="first" | "last" | "index" | "index0" | "length"
            ):
                return True
            case _:
                return self._key(node) == "role" or self._is_never_given(node)

    def _is_never_given(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name():
                return node.name in NEVER_GIVEN
            case _:
                return self._key(node) in KEYS_NEVER_GIVEN

    def _is_content(self, node: nodes.Node) -> bool:
        return self._key(node) == "content"

    def _key(self, node: nodes.Node) -> str | None:
        """Return which part of a message this is; None if it is something else."""
        match node:
            case nodes.Getattr() if self._is_message(node.node):
                return str(node.attr)
            case nodes.Getitem(arg=nodes.Const(value=key)) if self._is_message(node.node):
                return str(key)
            case _:
                return None

    def _is_message(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name():
                return node.name in self._message_names
            case nodes.Getitem():
                return self._is_conversation(node.node) and self._is_constant(node.arg)
            case _:
                return False

    def _is_conversation(self, node: nodes.Node) -> bool:
        match node:
            case nodes.Name():
                return node.name == CONVERSATION
            case nodes.Getitem(arg=nodes.Slice(start=start, stop=stop, step=step)):
                known = all(bound is None or self._is_constant(bound) for bound in (start, stop, step))
                return known and self._is_conversation(node.node)
            case _:
                return False
