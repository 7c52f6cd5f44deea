"""Hostile events and careless templates: bounded in time and size, and nothing gets out."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import MOST_TEXT, budget
from circleci_relay.rendering.recipe import Recipe
from circleci_relay.rendering.sandbox import SANDBOX
from circleci_relay.rendering.scene import scene_of
from circleci_relay.rendering.structure import (
    Structure,
    TemplateFaults,
    compile_structure,
    compile_text,
)
from support.scenes import a_scene, a_told, about

LONGEST = 3.0
"""Seconds of processor time that the worst rendering may take, with coverage measured too."""


@pytest.fixture(scope="module")
def huge() -> dict[str, Any]:
    """The scene of a payload of a megabyte: a list of 100,000 items, a long text, a deep nest."""
    nest: Any = 1
    for _ in range(400):
        nest = [nest]
    body = {
        "id": "a", "type": "workflow-completed",
        "list": [f"{each % 977}" for each in range(100_000)],
        "maps": [{"k": each} for each in range(10_000)],
        "text": "<@&*" * 60_000, "nest": nest, "none": [None] * 1000,
    }  # fmt: skip
    return scene_of([a_told(json.dumps(body).encode())], about())


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ payload.list | length }}", None),
        ("{{ payload.list[:3] | join }}", None),
        ("{{ payload.list | sort | unique | join(',') | truncate(50) }}", None),
        ("{{ payload.text | slack | truncate(50) }}", None),
        ("{{ payload.text | markdown | plain | html | urlencode | truncate_bytes(50) }}", None),
        ("{{ payload.maps | groupby('k') | length }}", None),
        ("{% for x in payload.list %}{{ x }}{% endfor %}", "more than 10,000 turns"),
        ("{% for x in payload.maps %}{% for y in payload.maps %}{% endfor %}{% endfor %}", "turns"),
        (
            "{% for x in payload.maps %}{% set y = payload.list | sort %}{% endfor %}",
            "too much work",
        ),
        ("{% for x in payload.maps %}{{ x in payload.list }}{% endfor %}", "too much work"),
        ("{% for x in payload.maps %}{{ 'z' in payload.text }}{% endfor %}", "too much work"),
        ("{% for x in payload.maps %}{{ payload.list == payload.list }}{% endfor %}", "too much"),
        ("{% for x in payload.maps %}{% set y = payload.list[1:] %}{% endfor %}", "too much work"),
        ("{% for x in payload.maps %}{% set y = payload.text.upper() %}{% endfor %}", "too much"),
        ("{% for x in payload.maps %}{{ payload.text }}{% endfor %}", "larger than 256 KiB"),
        ("{% for x in payload.maps %}{% set y = payload.list + payload.list %}{% endfor %}", "too"),
        ("{{ payload.text }}{{ payload.text }}", "larger than 256 KiB"),
        ("{{ payload.text ~ payload.text }}", "larger than 256 KiB"),
        ("{{ payload.text | replace('@', 'aaaaaaaaaa') }}", "larger than 256 KiB"),
        ("{{ payload.list | join(payload.text) }}", "larger than 256 KiB"),
        ("{{ payload.list | map('replace', '', payload.text) | list }}", "larger than 256 KiB"),
        ("{{ payload.text | list }}", "too much work"),
        ("{{ payload.nest }}", "nested"),
        ("{{ payload.nest }}!", "nested"),
        ("{{ payload.nest == payload.nest }}", "nested"),
        ("{{ payload.nest in [payload.nest] }}", None),
        ("{{ [payload.list, payload.list] }}", "larger than 1,024 KiB"),
        ("{{ payload.maps | map('json') | map('json') | map('json') | list | length }}", None),
        ("{% set x = 'ab' %}" + "{% set x = x ~ x %}" * 40, "larger than 256 KiB"),
        ("{% set x = [1] %}" + "{% set x = x + x %}" * 40, "too much work"),
        ("{% set x = [1] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}", "too much work"),
        ("{% set x = 3 %}" + "{% set x = x * x %}" * 40, "a number is too large"),
        ("{{ 'x'.split('x', 10 ** 9) }}", None),
    ],
)
def test_hostile_events_cost_little(huge: dict[str, Any], template: str, said: str | None) -> None:
    """A rendering ends soon: with a result, or with a clear error."""
    structure = compile_structure({"a": template})
    began = time.thread_time()
    with nullcontext() if said is None else pytest.raises(RenderError, match=f"^a: .*{said}"):
        structure.render(huge)
    assert time.thread_time() - began < LONGEST


def test_elements_draw_on_the_same_budget(huge: dict[str, Any]) -> None:
    """`$each` takes turns like any loop, and a whole message has one budget."""
    each = {"$each": "{{ payload.maps }}", "$value": "{{ item.k }}"}

    assert len(compile_structure([each]).render(huge)) == 10_000
    with pytest.raises(RenderError, match=r"^\[1\]\.\$each: its loops take more than 10,000 turns"):
        compile_structure([each, each]).render(huge)
    recipe = Recipe(
        url=compile_text("https://h/"), kind="json", content=compile_structure([each]),
        headers={"x-a": compile_text("{% for x in events %}{% endfor %}")},
    )  # fmt: skip
    with pytest.raises(RenderError, match="turns"):
        recipe.make(huge)


def test_a_message_is_never_larger_than_a_mebibyte() -> None:
    """Each text may be large, all of them together not."""
    text = "x" * (MOST_TEXT - 1)
    with pytest.raises(RenderError, match="larger than 1,024 KiB"):
        compile_structure(["{{ subject }}!"] * 5).render({"subject": text})
    assert len(compile_structure(["{{ subject }}!"] * 3).render({"subject": text})) == 3


def test_a_budget_ends_with_its_rendering() -> None:
    """What one rendering used up, the next has again."""
    text = compile_text("{% for x in payload %}.{% endfor %}")
    for _ in range(3):
        assert len(text.render({"payload": [1] * 9000})) == 9000
    with budget() as left:
        text.render({"payload": [1] * 9000})
        assert left.turns == 1000


ESCAPES = (
    "''.__class__", "''['__class__']", "payload | map(attribute='__class__') | first",
    "payload.__class__.__mro__", "payload['__init__']", "self", "self._TemplateReference__context",
    "cycler", "namespace", "lipsum.__globals__", "config", "request", "url_for",
    "payload.get.__func__", "title.format", "title.join", "payload.pop", "payload.clear",
    "events.append", "title.encode", "payload.copy", "(1).__add__", "1.5.hex", "true.real",
    "omit.__class__", "title | attr('__class__')", "title | xmlattr", "title | format",
    "title | tojson", "title | safe", "title | pprint", "[].__len__", "{}.__doc__", "title.__doc__",
    "payload._raw", "payload.exact", "payload._exact", "payload['exact']", "count.real",
)  # fmt: skip


@pytest.mark.parametrize("expression", ESCAPES)
def test_no_attribute_is_in_reach(expression: str) -> None:
    """Nothing of Python shows: it is refused when compiled, or there is nothing there."""
    for raw in (f"{{{{ {expression} }}}}", f"{{{{ ({expression}) is defined }}}}"):
        try:
            structure = compile_structure(raw)
        except TemplateFaults:
            continue
        assert structure.render(a_scene()) in (None, False)
    for raw in (f"{{{{ ({expression})() }}}}", f"{{{{ ({expression})(1) }}}}"):
        with pytest.raises(TemplateFaults):
            compile_structure(raw)


@pytest.mark.parametrize("name", ["__class__", "exact", "_raw", "pop", "append", "format", "real"])
@pytest.mark.parametrize("value", ["payload", "title", "events", "count", "loop", "took", "omit"])
def test_no_attribute_is_in_reach_by_a_computed_name(value: str, name: str) -> None:
    """A name made while it runs leads nowhere either."""
    asked = f"{value}['{name[:2]}' ~ '{name[2:]}'] is defined"
    raw = f"{{% for x in [1] %}}{{{{ {asked} }}}}{{% endfor %}}"

    assert compile_text(raw).render(a_scene()) == "false"


def test_nothing_can_be_called() -> None:
    """Even if a call got past the rewriting."""
    with pytest.raises(Exception, match="calls are not allowed"):
        SANDBOX.call(None, str)
    assert not SANDBOX.is_safe_callable(str)
    assert not SANDBOX.is_safe_attribute("", "upper", str.upper)
    assert not SANDBOX.globals


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "~", "<", "==", "and", "or", "in"]
EXPRESSION = st.recursive(
    st.sampled_from(
        ["title", "payload", "events", "count", "took", "none", "omit", "1", "'x'", "[]", "{}",
         "labels", "-1.5", "branch", "line", "loop", "true"]
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(
            lambda parts: "({} {} {})".format(*parts)
        ),
        st.tuples(inner, st.sampled_from(
            ["first", "last", "length", "slack", "sort", "json", "int", "duration", "list", "sum",
             "unique", "markdown", "date", "epoch", "max", "truncate(3)", "join(title)",
             "map('json')", "groupby('type')", "replace('a', title)", "default(count)"]
        )).map(" | ".join).map("({})".format),
        st.tuples(inner, inner).map(lambda parts: "{}[{}]".format(*parts)),
        st.tuples(inner, inner, inner).map(lambda parts: "{}[{}:{}]".format(*parts)),
        st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts)),
        inner.map("{}.items()".format), inner.map("(not {})".format), inner.map("(-{})".format),
    ),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(EXPRESSION)
@example("payload | sort | first")
def test_any_expression_gives_json_or_a_clear_error(expression: str) -> None:
    """Whatever is written, nothing but the two kinds of error comes out."""
    made: list[Structure] = []
    for raw in (
        f"{{{{ {expression} }}}}",
        f"{{% for x in [1] %}}{{{{ {expression} }}}}{{% endfor %}}",
    ):
        try:
            made.append(compile_structure(raw))
        except TemplateFaults:
            continue
    for structure in made:
        try:
            value = structure.render(a_scene())
        except RenderError as error:
            assert "launchpad" not in str(error)  # noqa: PT017 - most give a value
        else:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="{}%#-|~.()[]'\" abtitle_ifsetfor123\n\\\0\ud800é", max_size=60))
@example("{{ '\ud800' }}")
@example("{{ 1 if }}")
@example("{% for %}")
@example("{#")
@example("{{ title|d('\\ud800') }}")
def test_any_text_is_a_template_or_a_fault(raw: str) -> None:
    """Nothing that is written breaks the compiler."""
    try:
        text = compile_text(raw)
    except TemplateFaults as faults:
        assert all(fault.message for fault in faults.faults)  # noqa: PT017
    else:
        with suppress(RenderError):
            text.render(a_scene())
