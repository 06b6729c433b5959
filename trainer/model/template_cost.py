"""Tell from a chat template's syntax tree whether its work grows with the row alone. Renders nothing.

Every part is read, also one that ordinary rows never reach, behind tools or calls for example. Understood is
what simple templates consist of. Whatever else stands in one makes the answer False.
"""

from collections.abc import Iterable

from jinja2 import Environment, TemplateSyntaxError, nodes

from trainer.data.rendering.template_analysis import GenerationBlock

FILTERS = (
    "tojson",
    "trim",
    "length",
    "string",
    "list",
    "items",
    "lower",
    "upper",
    "first",
    "last",
    "default",
)
FUNCTIONS = ("namespace", "raise_exception")
PARTS_OF_LOOP = ("index", "index0", "revindex", "revindex0", "length")
HELD = (
    *(nodes.Const, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.CondExpr, nodes.Test, nodes.Compare),
    *(nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Neg, nodes.Sub, nodes.Call, nodes.Keyword),
)
SHOWN = (
    *HELD,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.Add,
    nodes.Concat,
    nodes.List,
    nodes.Tuple,
    nodes.Slice,
)


def is_certainly_cheap(template: str) -> bool:
    """Return whether nothing in a template could take long or much with an ordinary row."""
    try:
        tree = Environment(extensions=[GenerationBlock]).parse(template)
        return _are_cheap(tree.body, loops=())
    except (TemplateSyntaxError, RecursionError):  # a long sum is parsed, and then too deep to be walked
        return False


def _are_cheap(parts: Iterable[nodes.Node], loops: tuple[str, ...]) -> bool:
    return all(_is_cheap(part, loops) for part in parts)


def _is_cheap(node: nodes.Node, loops: tuple[str, ...]) -> bool:
    """Return whether this part is cheap.

    Args:
        loops: variables of the loops around it.
    """
    match node:
        case nodes.For(target=nodes.Name(name=name), recursive=False):
            inner = [*node.body, *node.else_, *([node.test] if node.test else [])]
            is_short = name not in loops and _is_short(node.iter, loops) and _is_cheap(node.iter, loops)
            return is_short and _are_cheap(inner, (*loops, name))
        case nodes.Assign(target=nodes.Name(name=name)) if name in loops:
            return _is_short(node.node, (name,)) and _is_cheap(node.node, loops)  # such as call.function
        case nodes.Assign(target=nodes.Name() | nodes.NSRef()):
            return all(isinstance(part, HELD) for part in _all_of(node.node)) and _is_cheap(node.node, loops)
        case nodes.Filter(name=name, args=[], kwargs=[], dyn_args=None, dyn_kwargs=None):
            return name in FILTERS and node.node is not None and _is_cheap(node.node, loops)
        case nodes.Call(node=nodes.Name(name=name)):
            return name in FUNCTIONS and _are_cheap([*node.args, *node.kwargs], loops)
        case nodes.Mod(right=nodes.Const(value=int())):
            return _is_count(node.left)  # "%9999999999s" % x is one, too
        case nodes.Call():
            return False
    return isinstance(node, SHOWN) and _are_cheap(node.iter_child_nodes(), loops)


def _is_short(iterated: nodes.Node, loops: tuple[str, ...]) -> bool:
    """Return whether a loop runs over a part of the row, and an inner one over a part of the outer one's."""
    match iterated:
        case nodes.Name(name=name):
            return not loops or name == loops[-1]
        case nodes.Getattr(node=whole) | nodes.Getitem(node=whole):
            return _is_short(whole, loops)
        case _:
            return False


def _is_count(node: nodes.Expr) -> bool:
    """Return whether this is a number, as far as anybody can tell."""
    match node:
        case nodes.Const(value=int()):
            return True
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=attr):
            return attr in PARTS_OF_LOOP
        case nodes.Add() | nodes.Sub():
            return _is_count(node.left) and _is_count(node.right)
        case _:
            return False


def _all_of(node: nodes.Node) -> Iterable[nodes.Node]:
    return (node, *node.find_all(nodes.Node))
