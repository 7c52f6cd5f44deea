"""Structures: native types, the keys with a meaning, and every fault at once."""

from __future__ import annotations

from typing import Any

import pytest

from circleci_relay.errors import RenderError
from circleci_relay.rendering.structure import TemplateFaults, compile_structure, compile_text
from support.scenes import a_scene

SCENE = {
    "title": 'say "hi"',
    "took": 62.5,
    "count": 3,
    "branch": None,
    "tag": "v1",
    "test": False,
    "events": [{"what": "a", "outcome": "bad"}, {"what": "b", "outcome": "good"}],
    "payload": {"a": {"b": [1, 2.5, None, True]}, "items": "key", "s": "x\ud800\0y"},
    "labels": {},
    "options": {"channel": "#pay"},
}


def render(raw: Any, **scene: Any) -> Any:
    """What *raw* comes to."""
    return compile_structure(raw).render(SCENE | scene)


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ("{{ title }}", 'say "hi"'),
        ("{{ took }}", 62.5),
        ("{{ count }}", 3),
        ("{{ count + 1 }}", 4),
        ("{{ count > 2 }}", True),
        ("{{ test }}", False),
        ("{{ branch }}", None),
        ("{{ payload.nothing.at.all }}", None),
        ("{{ payload.nothing[3]['x'].get('y') }}", None),
        ("{{ payload.a }}", {"b": [1, 2.5, None, True]}),
        ("{{ payload['a']['b'][0] }}", 1),
        ("{{ payload.a.b[1:3] }}", [2.5, None]),
        ("{{ payload.items }}", "key"),
        ("{{ payload.a.items() }}", [["b", [1, 2.5, None, True]]]),
        ("{{ ['a', branch, omit] }}", ["a", None]),
        ("{{ {'a': took, 'b': omit} }}", {"a": 62.5}),
        ("{{ 'x' if branch }}", None),
        ("{{ payload.s }}", "x\ufffd\ufffdy"),
        ("{% set x = count * 2 %}{{ x }}", 6),
        ("{%- set x = 1 -%}\n  {{ x if count else 0 }}", 1),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("n={{ count }}", "n=3"),
        ("[{{ branch }}]", "[]"),
        ("{{ test }}, {{ took }}, {{ 2.0 }}", "false, 62.5, 2"),
        ("{{ payload.a }}!", '{"b":[1,2.5,null,true]}!'),
        ("{% for e in events %}{{ loop.index }}{{ e.what }} {% endfor %}", "1a 2b "),
        ("{% if branch %}b{% elif tag %}t{% endif %}", "t"),
        ("a {# quiet #}b", "a b"),
        ("plain", "plain"),
        ("\n", "\n"),
        (7, 7),
        (None, None),
        ([1, "{{ count }}"], [1, 3]),
        ("{{ took > 60 and branch == none and branch < 3 }}", False),
        ("{{ 'hi' in title and count not in [1, 2] }}", True),
        ("{{ not branch is defined and tag is defined }}", True),
        ("{{ title.startswith('say') and title.split()[1] == '\"hi\"' }}", True),
        ("{{ events | map(attribute='what') | join('+') }}", "a+b"),
        ("{{ events | selectattr('outcome', 'eq', 'bad') | map(attribute='what') | list }}", ["a"]),
        ("{{ 'ab' ~ 1 ~ branch ~ true }}", "ab1true"),
        ("{{ [1] + [2] }}", [1, 2]),
        ("{{ 7 // 2 }}", 3),
        ("{{ 2 ** 3 - -1 }}", 9),
    ],
)
def test_a_leaf_keeps_its_type(raw: Any, made: Any) -> None:
    """A lone expression gives its own JSON type, anything else a text."""
    found = render(raw)

    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ({"a": 1, "b": "{{ omit }}"}, {"a": 1}),
        (["{{ omit if count == 3 else 1 }}", 2], [2]),
        ({"a": {"$if": "{{ branch }}", "x": 1}, "b": 2}, {"b": 2}),
        ({"a": {"$if": "{{ tag }}", "x": 1}}, {"a": {"x": 1}}),
        ([{"$if": "{{ branch }}", "x": 1}, {"$if": True, "$value": 3}], [3]),
        ([{"$each": "{{ events }}", "w": "{{ item.what }}"}, 9], [{"w": "a"}, {"w": "b"}, 9]),
        ([{"$each": "{{ events }}", "$as": "e", "$value": "{{ e.what }}"}], ["a", "b"]),
        (
            [{"$each": "{{ events }}", "$if": "{{ item.what == 'a' }}", "w": "{{ item.what }}"}],
            [{"w": "a"}],
        ),
        ([{"$each": "{{ payload.nothing }}", "x": 1}], []),
        ({"a": {"$value": ["{{ count }}"]}}, {"a": [3]}),
        ({"$value": "{{ count }}"}, 3),
        ({"$schema": "x", "{": 1}, {"$schema": "x", "{": 1}),
        (dict.fromkeys(["$id", "$ref", "$in", "$eq", "$match", "$search", "$has", "$", "$$if"], 1),
         dict.fromkeys(["$id", "$ref", "$in", "$eq", "$match", "$search", "$has", "$", "$$if"], 1)),
        (
            [{"$each": "{{ [[1, 2], [3]] }}", "$as": "r",
              "$value": [{"$each": "{{ r }}", "$as": "c", "$value": "{{ c }}"}]}],
            [[1, 2], [3]],
        ),
    ],
)  # fmt: skip
def test_keys_with_a_meaning(raw: Any, made: Any) -> None:
    """`$if`, `$each`, `$as`, `$value` and `omit` shape what is made."""
    assert render(raw) == made


def test_an_element_may_take_a_known_name() -> None:
    """`$as: event` hides the name it takes, and its known keys."""
    raw = [{"$each": "{{ events }}", "$as": "event", "$value": "{{ event.what }}"}]

    structure = compile_structure(raw)

    assert structure.render(SCENE) == ["a", "b"]
    assert structure.names == {"events"}


@pytest.mark.parametrize(
    ("raw", "path", "said"),
    [
        ("{{ titel }}", (), "there is no titel; did you mean title?"),
        ({"a": [0, "{{ x | slak }}"]}, ("a", 1), "there is no filter slak; did you mean slack?"),
        ("{{ title is strin }}", (), "there is no test strin; did you mean string?"),
        ("{{ event.lnk }}", (), "there is no event.lnk; did you mean link?"),
        ("{{ relay['vers'] }}", (), "there is no relay.vers; did you mean version?"),
        ("{{ title | truncate }}", (), "truncate: missing a required argument: 'length'"),
        ("{{ title | upper(1) }}", (), "upper: too many positional arguments"),
        ("{{ events | map('uper') }}", (), "there is no filter uper; did you mean upper?"),
        ("{{ events | selectattr('x', 'equal') }}", (), "there is no test equal; did you mean"),
        ("{{ title.__class__ }}", (), "__class__ is not in reach here"),
        ("{{ title['__class__'] }}", (), "__class__ is not in reach here"),
        ("{{ title.format(1) }}", (), "format() cannot be called"),
        ("{{ range(3) }}", (), "range() cannot be called"),
        ("{{ title.upperr() }}", (), "upperr() cannot be called; did you mean upper?"),
        ("{{ (1)() }}", (), "that() cannot be called"),
        ("{{ title.strip(x=1) }}", (), "strip() takes plain arguments"),
        ("{{ title", (), "a {{ is never closed with }}"),
        ("{% if title", (), "a {% is never closed with %}"),
        ("{# title", (), "a {# is never closed with #}"),
        ("{{ title }", (), "a } stands alone; {{ is closed with }}, and {% with %}"),
        ("{{ title ? 1 }}", (), "? means nothing in an expression"),
        ("{{ title && 1 }}", (), "& means nothing in an expression; write `and`"),
        ("{{ !title }}", (), "! means nothing in an expression; write `not`"),
        ("{{ 'title }}", (), "a text that begins with ' never ends"),
        ("{% if title %}", (), "{% if %} is never closed with {% endif %}"),
        ("a\n{% for e in events %}", (), "{% for %} is never closed with {% endfor %} (line 2 of"),
        ("{% set x %}", (), "{% set %} has no value; write {% set name = value %}"),
        ("{% if title %}{% endfor %}", (), "{% endfor %} stands where {% endif %} is wanted"),
        ("{% endif %}", (), "{% endif %} ends what never began"),
        ("{% else %}", (), "{% else %} stands outside of {% if %}"),
        ("{{ title said }}", (), "said stands where }} is wanted"),
        ("{{ title = 1 }}", (), "= stands where }} is wanted; two are compared with =="),
        ("{% if title = 1 %}{% endif %}", (), "= stands where %} is wanted; two are compared"),
        ("{{ title + }}", (), "an expression is missing, or not finished"),
        ("{{ }}", (), "an expression is missing, or not finished"),
        ("{{ title | }}", (), "expected token 'name', got '}}'"),
        ("{% include 'x' %}", (), "{% include %} is not in reach here"),
        ("{% macro x() %}{% endmacro %}", (), "{% macro %} is not in reach here"),
        ("{% import 'x' as y %}", (), "{% import %} is not in reach here"),
        ("{% extends 'x' %}", (), "{% extends %} is not in reach here"),
        ("{% block x %}{% endblock %}", (), "{% block %} is not in reach here"),
        ("{% set x %}a{% endset %}", (), "{% set %} without a value is not in reach"),
        ("{% filter upper %}a{% endfilter %}", (), "{% filter %} is not in reach here"),
        ("{% with x = 1 %}{% endwith %}", (), "{% with %} is not in reach here"),
        ("{% call title() %}{% endcall %}", (), "{% call %} is not in reach here"),
        ("{% do x %}", (), "there is no {% do %}; there are if, for and set"),
        ("{% for a in events recursive %}{% endfor %}", (), "a recursive loop is not in reach"),
        ("{% set _x = 1 %}", (), "_x is no name to give"),
        ("{% set labels = 1 %}", (), "labels is no name to give"),
        ("{% set ns.x = 1 %}", (), "a namespace is not in reach here"),
        ("{{ 1 < count < 5 }}", (), "only two values are compared at a time"),
        ("{{ title | _concat }}", (), "there is no filter _concat"),
        ("{{ " + "(" * 500 + "1" + ")" * 500 + " }}", (), "nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", (), "number that is too large"),
        ("{{ 1 }}" * 20000, (), "it is longer than 64 KiB"),
        ("{% for a in events %}" * 30 + "{% endfor %}" * 30, (), "it is too intricate"),
        ({"a": {"$if": "took", "x": 1}}, ("a", "$if"), "wants an expression that gives true"),
        ({"a": {"$if": "{{ took }} ", "x": 1}}, ("a", "$if"), "wants one expression"),
        ({"$if": "{{ took }}"}, ("$if",), "the whole cannot be left out"),
        ({"a": {"$each": "{{ events }}"}}, ("a", "$each"), "only an item of a list"),
        ({"a": {"$as": "x"}}, ("a", "$as"), "there is none"),
        ([{"$each": "{{ events }}", "$as": "a b"}], (0, "$as"), "is a plain name"),
        ([{"$each": "events"}], (0, "$each"), 'gives a list: "{{ events }}"'),
        ([{"$each": [1]}], (0, "$each"), "wants an expression that gives a list"),
        ({"a": {"$value": 1, "b": 2}}, ("a", "$value"), "no other key beside it"),
        ({"a": {"$If": "x"}}, ("a", "$If"), "there is no $If; did you mean $if?"),
        ({"a": {"$iff": "x"}}, ("a", "$iff"), "there is no $iff; did you mean $if?"),
        ([{"$eech": "x"}], (0, "$eech"), "there is no $eech; did you mean $each?"),
        ({"a": {"$vallue": "x"}}, ("a", "$vallue"), "there is no $vallue; did you mean $value?"),
        ({"a": {"$for": "x"}}, ("a", "$for"), "there is no $for"),
        ([{"$each": "{{ events }}", "$as": "labels"}], (0, "$as"), "is a plain name"),
        ({"{{ x }}": 1}, ("{{ x }}",), "keys are taken as they are"),
        ({1: 2}, (), "a key must be text"),
        ({"a": float("nan")}, ("a",), "JSON has no float like this"),
        ({"a": object()}, ("a",), "JSON has no object like this"),
    ],
)  # fmt: skip
def test_a_fault_says_where_and_what(raw: Any, path: tuple[str | int, ...], said: str) -> None:
    """What is wrong is told when it is compiled, with its place and what was meant."""
    with pytest.raises(TemplateFaults) as caught:
        compile_structure(raw)

    assert any(fault.path == path and said in fault.message for fault in caught.value.faults), (
        caught.value.faults
    )


def test_all_faults_are_told_at_once() -> None:
    """One look finds everything."""
    with pytest.raises(TemplateFaults) as caught:
        compile_structure({"a": "{{ x }}", "b": ["{{ y }}", "{{ z | nope }}"]})

    assert [fault.path for fault in caught.value.faults] == [("a",), ("b", 0), ("b", 1), ("b", 1)]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("{{ title is blue }}", "there is no test blue"),
        ("{{ title is int }}", "there is no test int"),
        ("{{ item }}", "there is no item"),
        ("{{ sha }}", "there is no sha"),
        ("{{ range(10) }}", "range() cannot be called"),
        ("{{ state }}", "there is no state; did you mean status?"),
        ("{{ jb }}", "there is no jb; did you mean job?"),
    ],
)
def test_a_hint_is_near_or_none(raw: str, said: str) -> None:
    """What shares two letters is not what was meant; and each fault is told once."""
    with pytest.raises(TemplateFaults) as caught:
        compile_structure(raw)

    assert [fault.message for fault in caught.value.faults] == [said]


def test_a_template_knows_what_labels_it_asks_for() -> None:
    """By name, so that one which no project has can be told."""
    raw = (
        "{{ labels.team or labels['channel'] }}{{ labels.get('room', 'x') }}{{ labels.items() }}"
        "{{ public_labels.tier }}{{ labels[type] }}{{ options.get('to') }}{{ payload.labels.a }}"
    )
    structure = compile_structure({"a": [{"$if": "{{ labels.low }}", "x": raw}], "b": "{{ type }}"})

    assert compile_text(raw).labels_asked == {"team", "channel", "room", "tier"}
    assert compile_text(raw).options == {"to"}
    assert structure.labels_asked == {"team", "channel", "room", "tier", "low"}
    assert compile_text("labels.team").labels_asked == frozenset()


class Spelled(str):
    """A text of a class of its own, as the configuration has them."""

    __slots__ = ()


class Counted(int):
    """A number of a class of its own."""


def test_values_of_other_classes_become_plain() -> None:
    """Texts and numbers keep nothing of a class that JSON does not know."""
    made = compile_structure("{{ payload }}").render(
        {"payload": {Spelled("a"): Spelled("b\0"), "n": [Counted(3)]}}
    )

    assert made == {"a": "b\ufffd", "n": [3]}
    assert [type(each) for each in (*made, made["a"], made["n"][0])] == [str, str, str, int]


def test_a_structure_knows_its_names() -> None:
    """The names in use, and what is asked of the options."""
    structure = compile_structure(
        {"a": "{{ title }}", "b": "{% set x = branch %}{{ x or options.mention or options['to'] }}"}
    )

    assert structure.names == {"title", "branch", "options"}
    assert structure.options == {"mention", "to"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"a": ["{{ title + 1 }}"]}, "a[0]: `+` wants two numbers, two texts or two lists"),
        ({"a": ["{{ branch + 1 }}"]}, "a[0]: `+` wants two numbers (one is null here), two texts"),
        ("{{ branch | round }}", "the filter round wants a number, and the value is null here"),
        ("{{ title | abs }}", "the filter abs wants a number, and the value is a text here"),
        ("{{ title | truncate(branch) }}", "truncate takes a whole number, and is given null"),
        ("{{ labels | combine(title) }}", "the filter combine wants maps, and one is a text here"),
        ("{{ [1, branch] | sum }}", "the filter sum adds numbers, and one value is null here"),
        ("{{ test | list }}", "a list is wanted here, and the value is true or false"),
        (
            "{{ payload | length | first }}",
            "a list or a text is wanted here, and the value is a num",
        ),
        ({"a": "{{ 1 / (count - 3) }}"}, "a: division by zero"),
        ({"a": "{{ title < 3 }}"}, "a: only two numbers, or two texts, can be compared"),
        ({"a": "{{ title % 3 }}"}, "a: `%` wants two numbers"),
        ({"a": "{{ title * 3 }}"}, "a: `*` wants two numbers"),
        ({"a": "{{ -title }}"}, "a: `-` wants a number, and the value is a text here"),
        ({"a": "{{ 10 ** 60 * 10 ** 60 }}"}, "a: a number is too large"),
        ({"a": "{{ 2 ** 100 }}"}, "a: a power is at most 64"),
        ({"a": "{{ count.items() }}"}, "a: items() is asked of what is no map"),
        ([{"$each": "{{ title }}"}], "[0].$each: a list is wanted here"),
        ("{{ omit }}", "the whole of it is omitted"),
        ({"a": "{% for x in events %}{{ loop }}{% endfor %}"}, "a: a value has no form in JSON"),
    ],
)
def test_a_rendering_that_fails_says_where(raw: Any, said: str) -> None:
    """An error names the leaf and the reason, and none of the data."""
    with pytest.raises(RenderError) as caught:
        render(raw)

    assert said in str(caught.value)
    assert "say" not in str(caught.value)


def test_text_knows_whether_it_is_one() -> None:
    """A text without marks is its own constant, and never read as a template."""
    assert compile_text("50% off }}").constant == "50% off }}"
    assert compile_text("{{ title }}").constant is None
    assert compile_text("{{ title }}!").render(a_scene()).endswith("failed on main!")
    assert "secret" not in repr(compile_text("https://x/secret"))


def test_a_template_has_clean_lines() -> None:
    """A line with a statement alone leaves no line behind."""
    raw = "a\n{% for e in events %}\n  - {{ e.what }}\n{% endfor %}\nb\n"

    assert compile_text(raw).render(SCENE) == "a\n  - a\n  - b\nb\n"


def test_a_filter_and_a_test_of_one_name_take_what_each_takes() -> None:
    """`float` is both, and only the filter has a default."""
    assert compile_structure("{{ 'x' | float(7) }}").render({}) == 7
    assert compile_structure("{{ 1.5 is float }}").render({}) is True
    with pytest.raises(TemplateFaults):
        compile_structure("{{ 1.5 is float(7) }}")
