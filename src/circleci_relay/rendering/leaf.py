"""One template text: checked, compiled, and run over and over."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jinja2 import nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.runtime import Context

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import MOST_TEXT, OMIT, finish
from circleci_relay.rendering.complaints import near, plainly
from circleci_relay.rendering.sandbox import METHODS, SANDBOX, Rewriter
from circleci_relay.rendering.sequences import FILTERS, TESTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

LONGEST: Final = 64 * 1024
"""Characters of one template text."""
MARKS: Final = ("{{", "{%", "{#")
"""What makes a text a template."""

_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign,
    nodes.Name, nodes.Const, nodes.Tuple, nodes.List, nodes.Dict, nodes.Pair, nodes.Keyword,
    nodes.CondExpr, nodes.Filter, nodes.Test, nodes.Call, nodes.Getitem, nodes.Getattr,
    nodes.Slice, nodes.Concat, nodes.Compare, nodes.Operand, nodes.Add, nodes.Sub, nodes.Mul,
    nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.And, nodes.Or, nodes.Not, nodes.Neg,
    nodes.Pos,
)  # fmt: skip
# Apart: `float` is a filter and a test, and the two take different things.
_CALLS: Final = {
    kind: {name: inspect.signature(function) for name, function in functions.items()}
    for kind, functions in ((nodes.Filter, FILTERS), (nodes.Test, TESTS))
}
_RESULT: Final = "_made"
# A template that gave these another meaning could pass off what is not theirs as trusted.
KEPT: Final = frozenset({"omit", "labels", "options"})
"""Names that no template gives another meaning."""


_REASONS: Final[Mapping[type[BaseException], str]] = {
    TypeError: "something in it is not of the kind wanted there",
    ValueError: "something in it does not fit where it is put",
}


class LeafFaults(ValueError):  # noqa: N818 - plural: it carries all that was found
    """Everything wrong with one template text."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = tuple(dict.fromkeys(messages))
        super().__init__("; ".join(self.messages))


@dataclass(frozen=True, slots=True)
class Leaf:
    """A compiled template text."""

    names: frozenset[str]  #: the top-level names in use
    options: frozenset[str]  #: what is asked of `options`
    labels: frozenset[str]  #: what is asked of `labels`
    native: bool  #: exactly one expression, which keeps its type
    _run: Callable[[Context], Iterator[str]] = field(repr=False)

    def value(self, scope: dict[str, Any]) -> Any:
        """What the one expression of a native leaf comes to."""
        context = Context(SANDBOX, scope, None, {})
        with _clear_faults():
            for _ in self._run(context):
                pass
        return context.vars[_RESULT]

    def text(self, scope: dict[str, Any]) -> str:
        """The text it comes to."""
        parts, size = [], 0
        with _clear_faults():
            for part in self._run(Context(SANDBOX, scope, None, {})):
                size += len(part)
                if size > MOST_TEXT:
                    raise RenderError(f"its text would be larger than {MOST_TEXT // 1024} KiB")
                parts.append(part)
        return finish("".join(parts))


class _clear_faults:  # noqa: N801 - used as a function
    """Turns whatever a template may raise into `RenderError`, without any of the data."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, fault: object, trace: object) -> None:
        if kind is None or issubclass(kind, RenderError) or not issubclass(kind, Exception):
            return
        if issubclass(kind, RecursionError):
            raise RenderError("a value is nested too deeply") from None
        raise RenderError(f"it fails on this event: {_REASONS.get(kind, kind.__name__)}") from None


def compile_leaf(
    raw: str,
    known: Iterable[str],
    *,
    fields: Mapping[str, frozenset[str]],
    native: bool,
    escape: str | None = None,
    trusted: frozenset[str] = frozenset(),
) -> Leaf:
    """
    *raw* ready to run; raises `LeafFaults`.

    *fields* are the keys of names that have no others. *escape* is a filter that every
    expression goes through unless all names in it are *trusted*.
    """
    try:
        return _compiled(parse(raw), frozenset(known), fields, native, escape, trusted)
    except RecursionError:
        raise LeafFaults(["it is nested too deeply"]) from None


def _compiled(
    tree: nodes.Template,
    known: frozenset[str],
    fields: Mapping[str, frozenset[str]],
    native: bool,  # noqa: FBT001
    escape: str | None,
    trusted: frozenset[str],
) -> Leaf:
    reading = Reading(known, fields)
    reading.read(tree)
    if reading.faults:
        raise LeafFaults(reading.faults)
    single = only_expression(tree) if native else None
    if escape is not None:
        _escape(tree, escape, trusted)
    body = tree.body
    if single is not None:
        body = [*body[:-1], nodes.Assign(nodes.Name(_RESULT, "store"), single)]
    made = Rewriter().visit(nodes.Template(body))
    made.set_lineno(1, override=True)
    made.set_environment(SANDBOX)
    try:
        run = SANDBOX.from_string(made).root_render_func
    except (TemplateError, SyntaxError, ValueError, RecursionError, MemoryError):
        raise LeafFaults(["it is too intricate"]) from None
    return Leaf(
        frozenset(reading.names),
        frozenset(reading.options),
        frozenset(reading.labels),
        native=single is not None,
        _run=run,
    )


def parse(raw: str) -> nodes.Template:
    """The tree of a template text; raises `LeafFaults`."""
    if len(raw) > LONGEST:
        raise LeafFaults([f"it is longer than {LONGEST // 1024} KiB"])
    try:
        return SANDBOX.parse(raw)
    except TemplateSyntaxError as error:
        where = f" (line {error.lineno} of it)" if "\n" in raw.strip() else ""
        raise LeafFaults([f"{plainly(error.message or 'it is no template')}{where}"]) from None
    except RecursionError:
        raise LeafFaults(["it is nested too deeply"]) from None
    except (ValueError, OverflowError):
        raise LeafFaults(["it has a number that is too large"]) from None


def only_expression(tree: nodes.Template) -> nodes.Expr | None:
    """The expression of a text that is one `{{ expression }}`, with nothing but sets before it."""
    if not tree.body or not all(isinstance(each, nodes.Assign) for each in tree.body[:-1]):
        return None
    last = tree.body[-1]
    if isinstance(last, nodes.Output) and len(last.nodes) == 1:
        single = last.nodes[0]
        return None if isinstance(single, nodes.TemplateData) else single
    return None


class Reading:
    """One look over a template's tree: what it uses, and what it must not."""

    def __init__(self, known: frozenset[str], fields: Mapping[str, frozenset[str]]) -> None:
        self.names: set[str] = set()
        self.options: set[str] = set()
        self.labels: set[str] = set()
        self.faults: list[str] = []
        self._known, self._fields = known | {"omit"}, fields
        self._own: set[str] = set()
        self._called: set[int] = set()  #: nodes that are no key or name, but what is called

    def read(self, tree: nodes.Node) -> None:
        """Go through *tree*."""
        stack: list[nodes.Node] = [tree]
        every: list[nodes.Node] = []
        while stack:
            node = stack.pop()
            every.append(node)
            if isinstance(node, nodes.Name) and node.ctx != "load":
                self._own.add(node.name)
            elif isinstance(node, nodes.For):
                self._own.add("loop")
            stack.extend(node.iter_child_nodes())
        for node in every:
            if isinstance(node, _ALLOWED):
                check = getattr(self, f"_read_{type(node).__name__.lower()}", None)
                if check is not None:
                    check(node)
            else:
                self._refuse(node)

    def _refuse(self, node: nodes.Node) -> None:
        kind = type(node).__name__
        said = {
            "AssignBlock": "{% set %} without a value", "CallBlock": "{% call %}",
            "FilterBlock": "{% filter %}", "FromImport": "{% from %}", "NSRef": "a namespace",
        }.get(kind, f"{{% {kind.lower()} %}}")  # fmt: skip
        self.faults.append(f"{said} is not in reach here; there are if, for and set")

    def _read_name(self, node: nodes.Name) -> None:
        name = node.name
        if id(node) in self._called:
            return
        if node.ctx != "load":
            if name.startswith("_") or name in KEPT:
                self.faults.append(f"{name} is no name to give")
        elif name in self._own:
            return
        elif name in self._known:
            self.names.add(name)
        else:
            self.faults.append(f"there is no {name}{near(name, self._known)}")

    def _read_for(self, node: nodes.For) -> None:
        if node.recursive:
            self.faults.append("a recursive loop is not in reach here")

    def _read_filter(self, node: nodes.Filter) -> None:
        self._read_use(node, FILTERS, "filter")

    def _read_test(self, node: nodes.Test) -> None:
        self._read_use(node, TESTS, "test")

    def _read_use(
        self, node: nodes.Filter | nodes.Test, known: Mapping[str, object], kind: str
    ) -> None:
        if node.name not in known:
            self.faults.append(f"there is no {kind} {node.name}{near(node.name, known)}")
            return
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            self.faults.append(f"{node.name}() takes no * or **")
            return
        kwargs = {str(each.key): object() for each in node.kwargs}
        try:
            _CALLS[type(node)][node.name].bind(object(), *([object()] * len(node.args)), **kwargs)
        except TypeError as error:
            self.faults.append(f"{node.name}: {error}")
        if node.name in _TAKES_NAME:
            self._read_named(node)

    def _read_named(self, node: nodes.Filter | nodes.Test) -> None:
        position, known, kind = _TAKES_NAME[node.name]
        given = node.args[position : position + 1]
        if given and isinstance(given[0], nodes.Const) and given[0].value not in known:
            name = str(given[0].value)
            self.faults.append(f"there is no {kind} {name}{near(name, known)}")

    def _read_call(self, node: nodes.Call) -> None:
        called = node.node
        self._called.add(id(called))  # before it is its turn: a call stands in front of its parts
        name = called.attr if isinstance(called, nodes.Getattr) else None
        if name not in METHODS:
            said = name or (called.name if isinstance(called, nodes.Name) else "that")
            self.faults.append(f"{said}() cannot be called{near(said, METHODS)}")
        elif node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
            self.faults.append(f"{name}() takes plain arguments")
        elif name == "get" and isinstance(called, nodes.Getattr) and node.args:
            self._read_item(called.node, node.args[0])

    def _read_compare(self, node: nodes.Compare) -> None:
        if len(node.ops) != 1:
            self.faults.append("only two values are compared at a time; put `and` between")

    def _read_getattr(self, node: nodes.Getattr) -> None:
        if id(node) not in self._called or node.attr.startswith("__"):
            self._read_key(node.node, node.attr)

    def _read_getitem(self, node: nodes.Getitem) -> None:
        self._read_item(node.node, node.arg)

    def _read_item(self, of: nodes.Expr, key: nodes.Expr) -> None:
        if isinstance(key, nodes.Const) and isinstance(key.value, str):
            self._read_key(of, key.value)

    def _read_key(self, of: nodes.Expr, key: str) -> None:
        if key.startswith("__"):
            self.faults.append(f"{key} is not in reach here")
        elif isinstance(of, nodes.Name) and of.name not in self._own:
            if of.name == "options":
                self.options.add(key)
            elif of.name in {"labels", "public_labels"}:
                self.labels.add(key)
            known = self._fields.get(of.name)
            if known is not None and key not in known:
                self.faults.append(f"there is no {of.name}.{key}{near(key, known)}")


_TAKES_NAME: Final[dict[str, tuple[int, Mapping[str, object], str]]] = {
    "map": (0, FILTERS, "filter"),
    "select": (0, TESTS, "test"),
    "reject": (0, TESTS, "test"),
    "selectattr": (1, TESTS, "test"),
    "rejectattr": (1, TESTS, "test"),
}


def names_in(node: nodes.Node) -> set[str]:
    """All names in use under *node*, those of its own too."""
    found = {each.name for each in node.find_all(nodes.Name)}
    return found | ({node.name} if isinstance(node, nodes.Name) else set())


def _escape(tree: nodes.Template, escape: str, trusted: frozenset[str]) -> None:
    for output in tree.find_all(nodes.Output):
        output.nodes = [_escaped(each, escape, trusted) for each in output.nodes]


def _escaped(node: nodes.Expr, escape: str, trusted: frozenset[str]) -> nodes.Expr:
    plain = isinstance(node, nodes.TemplateData) or names_in(node) <= trusted
    done = isinstance(node, nodes.Filter) and node.name == escape
    return node if plain or done else nodes.Filter(node, escape, [], [], None, None)


def with_omit(scene: Mapping[str, Any]) -> dict[str, Any]:
    """*scene* as leaves want it."""
    return {**scene, "omit": OMIT}
