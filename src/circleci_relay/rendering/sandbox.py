"""
The sandbox that templates run in.

Jinja2's own sandbox, made narrower: a template is parsed, held against a list of what is
allowed, and rewritten so that whatever could grow (loops, calls, comparisons, `~`, slices)
goes through functions of ours that count. No attribute of any Python object is in reach:
`a.b` looks into a map, and nowhere else.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Final, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import (
    Missing,
    bounded,
    is_missing,
    kind_of,
    spend,
    take_turns,
    text_of,
)
from circleci_relay.rendering.sequences import (
    FILTERS,
    TESTS,
    compare,
    contains,
    items_of,
    joined,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LOOP: Final = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length"}
    | {"previtem", "nextitem", "depth", "depth0"}
)
"""What `loop` knows."""

_HIGHEST_POWER: Final = 64
_MOST_STRIPPED: Final = 64
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all templates."""

    intercepted_binops = frozenset(_OPERATORS)
    intercepted_unops = frozenset("+-")

    def __init__(self) -> None:
        super().__init__(
            autoescape=False,
            cache_size=0,
            finalize=text_of,
            keep_trailing_newline=True,
            lstrip_blocks=True,
            optimized=False,  # there is little to fold, and looking for it takes long
            trim_blocks=True,
            undefined=Missing,
        )
        self.globals.clear()
        self.filters.clear()
        self.filters.update(FILTERS | _OURS)
        self.tests.clear()
        self.tests.update(TESTS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """What stands under *attribute* in a map, or what `loop` knows."""
        if isinstance(obj, dict):
            try:
                return obj[attribute]
            except KeyError:
                return Missing(name=attribute)
        if isinstance(obj, LoopContext) and attribute in LOOP:
            return getattr(obj, attribute)
        return Missing(name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item of a map, a list or a text."""
        if isinstance(obj, (dict, list, tuple, str)):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                return Missing(name="item")
        return self.getattr(obj, argument) if isinstance(argument, str) else Missing(name="item")

    def call(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Nothing is called: what looks like a call was rewritten."""
        raise SecurityError("calls are not allowed")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ARG002 - Jinja's
        """None is."""
        return False

    def is_safe_callable(self, obj: Any) -> bool:  # noqa: ARG002 - Jinja's
        """None is."""
        return False

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 - Jinja's
        """Arithmetic on numbers of a bounded size; `+` takes two texts or two lists too."""
        if isinstance(left, (int, float)) and isinstance(right, (int, float)):
            return _calculate(operator, left, right)
        if operator == "+":
            if isinstance(left, str) and isinstance(right, str):
                return joined((left, right))
            if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
                return items_of(left) + items_of(right)
        others = _PLUS if operator == "+" else ""
        null = " (one is null here)" if is_missing(left) or is_missing(right) else ""
        raise RenderError(f"`{operator}` wants two numbers{null}{others}")

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:  # noqa: ARG002 - Jinja's
        """The sign of a number."""
        if not isinstance(arg, (int, float)):
            raise RenderError(f"`{operator}` wants a number, and the value is {kind_of(arg)} here")
        return -arg if operator == "-" else +arg


_PLUS: Final = ", two texts or two lists; `~` puts anything into one text"


def _calculate(name: str, left: Any, right: Any) -> Any:
    if name == "**" and not -_HIGHEST_POWER <= right <= _HIGHEST_POWER:
        raise RenderError(f"a power is at most {_HIGHEST_POWER}")
    try:
        made = _OPERATORS[name](bounded(left), bounded(right))
    except ZeroDivisionError:
        raise RenderError("division by zero") from None
    except OverflowError:
        raise RenderError("a number is too large") from None
    if isinstance(made, complex):
        raise RenderError("the result is no number")
    return bounded(made)


def _turns(value: Any) -> list[Any]:
    """What a loop goes through, each turn paid for."""
    items = items_of(value)
    take_turns(len(items))
    return items


def _slice(value: Any, start: Any, stop: Any, step: Any) -> Any:
    if is_missing(value):
        return Missing(name="slice")
    if not isinstance(value, (str, list, tuple)):
        raise RenderError("only a text or a list can be sliced")
    bounds = [None if is_missing(each) else each for each in (start, stop, step)]
    if not all(each is None or isinstance(each, int) for each in bounds) or bounds[2] == 0:
        raise RenderError("a slice wants whole numbers")
    made = value[slice(*bounds)]
    spend(len(made))
    return made


def _call(value: Any, name: str, *args: Any) -> Any:
    """One of `METHODS`, of a text or a map."""
    if is_missing(value):
        return Missing(name=name)
    if isinstance(value, str) and name in TEXT_METHODS:
        spend(len(value))
        return _of_text(value, name, args)
    if isinstance(value, dict) and name in MAP_METHODS:
        return _of_map(value, name, args)
    kind = "text" if name in TEXT_METHODS else "map"
    raise RenderError(f"{name}() is asked of what is no {kind}")


def _of_text(value: str, name: str, args: tuple[Any, ...]) -> Any:
    if name in _PAIRS:
        if len(args) != 1:
            raise RenderError(f"{name}() takes one text")
        return getattr(value, name)(text_of(args[0]))
    if name == "split":
        separator = None if not args or is_missing(args[0]) else text_of(args[0])
        most = args[1] if len(args) > 1 else -1
        if separator == "" or not isinstance(most, int):
            raise RenderError("split() takes a separator, and how often at most")
        made = value.split(separator, most)
        spend(items=len(made))
        return made
    if name in {"strip", "lstrip", "rstrip"}:
        # Each character is looked for among those to strip.
        return getattr(value, name)(*[text_of(arg)[:_MOST_STRIPPED] for arg in args[:1]])
    return getattr(value, name)()


def _of_map(value: dict[Any, Any], name: str, args: tuple[Any, ...]) -> Any:
    if name == "get":
        if not args or not isinstance(args[0], (str, int, float)):
            raise RenderError("get() takes a key")
        return value.get(args[0], args[1] if len(args) > 1 else None)
    spend(items=len(value))
    if name == "items":
        return list(value.items())
    return list(value) if name == "keys" else list(value.values())


_PAIRS: Final = frozenset({"startswith", "endswith", "removeprefix", "removesuffix"})
TEXT_METHODS: Final = _PAIRS | {"lower", "upper", "strip", "lstrip", "rstrip", "split"}
"""What may be called of a text."""
MAP_METHODS: Final = frozenset({"get", "items", "keys", "values"})
"""What may be called of a map."""
METHODS: Final = TEXT_METHODS | MAP_METHODS
"""All that may be called."""

_OURS: Final[dict[str, Callable[..., Any]]] = {
    "_call": _call,
    "_compare": compare,
    "_concat": joined,
    "_contains": contains,
    "_slice": _slice,
    "_turns": _turns,
}


class Rewriter(NodeTransformer):
    """Sends whatever could grow through our own functions; the tree was checked before."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's
        """`a ~ b`."""
        self.generic_visit(node)
        return _through("_concat", nodes.List(node.nodes))

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 - Jinja's
        """`a.method(b)`."""
        self.generic_visit(node)
        called = node.node
        assert isinstance(called, nodes.Getattr)  # noqa: S101 - for mypy; nothing else passes
        return _through("_call", called.node, nodes.Const(called.attr), *node.args)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - Jinja's
        """`a < b`, `a in b`."""
        self.generic_visit(node)
        [operand] = node.ops
        if operand.op in {"in", "notin"}:
            found = _through("_contains", operand.expr, node.expr)
            return nodes.Not(found) if operand.op == "notin" else found
        return _through("_compare", node.expr, nodes.Const(operand.op), operand.expr)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802 - Jinja's
        """`a[1:2]`; an item alone goes through the environment."""
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        parts = (node.arg.start, node.arg.stop, node.arg.step)
        return _through("_slice", node.node, *(part or nodes.Const(None) for part in parts))

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's
        """`{% for a in b %}`."""
        self.generic_visit(node)
        node.iter = _through("_turns", node.iter)
        return node


def _through(name: str, value: nodes.Node, *args: nodes.Expr) -> nodes.Filter:
    assert isinstance(value, nodes.Expr)  # noqa: S101 - for mypy
    return nodes.Filter(value, name, list(args), [], None, None)


SANDBOX: Final = Sandbox()
"""The one environment; nothing about it changes."""
