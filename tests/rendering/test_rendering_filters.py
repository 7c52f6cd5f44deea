"""The filters one by one, and what holds of them for any text."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from circleci_relay.errors import RenderError
from circleci_relay.rendering import filters
from circleci_relay.rendering.sequences import FILTERS
from circleci_relay.rendering.structure import compile_structure
from support.scenes import with_subject

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
AWKWARD = '"}\\n{{ 7 * 7 }} <!channel> </script>\0\ud83d *@here* \u202e`%s` 🚀'


def through(expression: str, **scene: Any) -> Any:
    """What an expression comes to."""
    return compile_structure(f"{{{{ {expression} }}}}", names=scene).render(scene)


@pytest.mark.parametrize(
    ("expression", "made"),
    [
        ("'<@U1> & <b>' | slack", "&lt;@U1&gt; &amp; &lt;b&gt;"),
        ("'*a* _b_ `c` ~~d~~ ||e||' | markdown",
         "\\*a\\* \\_b\\_ \\`c\\` \\~\\~d\\~\\~ \\|\\|e\\|\\|"),
        ("'[a](b) <#1> ![x]' | markdown", "\\[a\\](b) \\<\\#1\\> !\\[x\\]"),
        ("'@everyone a@b' | markdown", "@\u200beveryone a@\u200bb"),
        ("'# a\n- b\n 1. c\n> d\n== e' | markdown",
         "\\# a\n\\- b\n 1\\. c\n\\> d\n\\== e"),
        ("'fix-up v1.2 (3)' | markdown", "fix-up v1.2 (3)"),
        ("'<a href=\"x\">&\\'' | html", "&lt;a href=&quot;x&quot;&gt;&amp;&#x27;"),
        ("'abcdef' | truncate(4)", "abc…"),
        ("'abcd' | truncate(4)", "abcd"),
        ("'ab cdef' | truncate(4)", "ab…"),
        ("'abc' | truncate(0)", ""),
        ("'zoë🚀' | truncate_bytes(7)", "zoë…"),
        ("'zoë🚀' | truncate_bytes(8)", "zoë🚀"),
        ("'zoë' | truncate_bytes(2)", "zo"),
        ("'9c1f0d2ab3e4' | short", "9c1f0d2"),
        ("none | short", ""),
        ("252 | duration", "4m 12s"),
        ("45.4 | duration", "45s"),
        ("59.6 | duration", "1m"),
        ("3600 | duration", "1h"),
        ("7805 | duration", "2h 10m"),
        ("90061 | duration", "1d 1h"),
        ("86399.9 | duration", "1d"),
        ("0.2 | duration", "under 1s"),
        ("none | duration", ""),
        ("-1 | duration", ""),
        ("'x' | duration", ""),
        ("1772442944.812 | date", "2026-03-02T09:15:44Z"),
        ("'2026-03-02T10:15:44.812+01:00' | date", "2026-03-02T09:15:44Z"),
        ("1772442944 | date('%d.%m.%Y')", "02.03.2026"),
        ("none | date", ""),
        ("'nonsense' | date", ""),
        ("(10 ** 30) | date", ""),
        ("'2026-03-02T09:15:44Z' | epoch", 1772442944),
        ("'2026-03-02T09:15:44.5' | epoch", 1772442944.5),
        ("'0001-01-01T00:00:00+23:59' | epoch", -62135683140),
        ("'x' | epoch", None),
        ("{'a': [1, 'é', none]} | json", '{"a":[1,"é",null]}'),
        ("'a b/ü&?' | urlencode", "a%20b%2F%C3%BC%26%3F"),
        ("'  a\tb\r\n\r\nc\x1b[0m \u202ed\u2066' | plain", "a b c[0m d"),
        ("'👩\u200d🚀' | plain", "👩\u200d🚀"),
        ("none | default('x')", "x"),
        ("'' | d('x')", ""),
        ("'' | d('x', true)", "x"),
        ("'aXb' | upper | lower | capitalize", "Axb"),
        ("'a b' | title", "A B"),
        ("' a ' | trim ~ '|'", "a|"),
        ("'--a' | trim('-')", "a"),
        ("'aaa' | replace('a', 'b', 2)", "bba"),
        ("'12' | int + 1", 13),
        ("'x' | int", 0),
        ("'x' | int(-1)", -1),
        ("'1.5' | float", 1.5),
        ("1.5 | string", "1.5"),
        ("-3 | abs", 3),
        ("2.567 | round(1)", 2.6),
        ("2.567 | round", 3),
        ("[3, 1, 2] | sort", [1, 2, 3]),
        ("['b', 1, none, 'A', {}] | sort", [1, "A", "b", None, {}]),
        ("[1, 2] | sort(reverse=true) | first", 2),
        ("[{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list", [1, 2]),
        ("[1, 1, '1', true, none, none] | unique", [1, "1", True, None]),
        ("[1, 2] | join(', ')", "1, 2"),
        ("[] | first", None),
        ("'abc' | last", "c"),
        ("none | length", 0),
        ("{'a': 1} | length", 1),
        ("'ab' | list", ["a", "b"]),
        ("'ab' | reverse", "ba"),
        ("['a', ''] | select | list", ["a"]),
        ("['a', ''] | reject | list", [""]),
        ("[1, 2, 3] | select('odd') | list", [1, 3]),
        ("[1, 2, 3] | reject('gt', 2) | list", [1, 2]),
        ("['a', 'b'] | map('upper') | list", ["A", "B"]),
        ("[{'a': {'b': [5]}}, {}] | map(attribute='a.b.0', default=0) | list", [5, 0]),
        ("[{'a': 1}, {}] | rejectattr('a') | list", [{}]),
        ("[{'k': 'b'}, {'k': 'a'}, {'k': 'b'}] | groupby('k') | map(attribute='grouper') | list",
         ["a", "b"]),
        ("[{'k': 'b'}, {'k': 'b'}] | groupby('k') | map(attribute='list') | first | length", 2),
        ("[1, 2.5] | sum", 3.5),
        ("[3, 1] | min", 1),
        ("[3, 1] | max", 3),
        ("[] | max", None),
    ],
)  # fmt: skip
def test_a_filter(expression: str, made: Any) -> None:
    """Each does what its name says."""
    found = through(expression)

    assert found == made
    assert isinstance(found, bool) == isinstance(made, bool)


@pytest.mark.parametrize(
    "expression",
    [
        "'a' | truncate('x')", "'x' | abs", "1 | round(99)", "[1] | map", "[1] | map('nope' ~ '')",
        "1 | list", "1 | length", "1 | first", "['a'] | sum", "'x' is odd", "1 is divisibleby(0)",
        "[1] | select('no' ~ 'pe')", "'a'.split('')", "{}.get([])", "'a'.startswith()",
        "'x'[::0]", "1[1:]", "'a' | replace('', 'x' | json) | replace('x', 'y') | abs",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_clear_error(expression: str) -> None:
    """A value of the wrong kind ends the rendering, and nothing else."""
    with pytest.raises(RenderError):
        through(expression)


@given(ANY_TEXT)
@example(AWKWARD)
def test_slack_sees_no_markup(text: str) -> None:
    """No raw bracket is left, every ampersand begins an entity, and all of it can be read back."""
    made = filters.slack(text)

    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", made)
    assert made.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


@given(ANY_TEXT)
@example(AWKWARD)
def test_markdown_escapes_every_mark(text: str) -> None:
    """Each mark stands behind its own backslash, and no mention is whole."""
    made = filters.markdown(text)

    assert not re.search(r"[`*_~|\[\]<>#&@]", re.sub(r"\\[^a-zA-Z0-9\s]|@\u200b", "", made))
    assert (
        "\u200b" in text
        or "\\" in text
        or re.sub(r"\\(.)", r"\1", made.replace("@\u200b", "@")) == text
    )


@given(ANY_TEXT, st.integers(-5, 70))
@example("🚀" * 9, 10)
def test_what_is_cut_is_never_too_long(text: str, length: int) -> None:
    """Neither in characters nor in bytes, and what fits is left alone."""
    cut, cut_bytes = filters.truncate(text, length), filters.truncate_bytes(text, length)

    assert len(cut) <= max(length, 0)
    assert len(cut_bytes.encode()) <= max(length, 0)
    if len(text) <= length:
        assert cut == text


@given(ANY_TEXT)
@example(AWKWARD)
def test_plain_is_one_line(text: str) -> None:
    """No control character, no mark that turns the direction, no blank twice."""
    made = filters.plain(text)

    assert not re.search(
        "[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", made
    )
    assert made == made.strip()
    assert filters.plain(made) == made


@given(ANY_TEXT)
@example(AWKWARD)
def test_urlencode_leaves_nothing_that_means_anything(text: str) -> None:
    """Only unreserved characters and escapes, of the same text."""
    made = filters.urlencode(text)

    assert re.fullmatch(r"(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})*", made)
    assert unquote(made) == re.sub("[\0\ud800-\udfff]", "\ufffd", text)


TAKE = {
    "truncate": "(20)", "truncate_bytes": "(20)", "replace": "('a', 'b')", "groupby": "('x')",
    "selectattr": "('x')", "rejectattr": "('x')", "map": "('upper')", "combine": "({})",
}  # fmt: skip
STRICT = {"abs", "round", "sum", "combine", "plain_keys"}
CHAINS = [f"{name}{TAKE.get(name, '')}" for name in sorted(FILTERS) if name not in STRICT]
SHAPE = compile_structure(
    {chain: f"{{{{ subject | {chain} }}}}" for chain in CHAINS}
    | {f"in {chain}": f"<{{{{ subject | {chain} }}}}>" for chain in CHAINS}
)


@settings(max_examples=40, deadline=None)
@given(ANY_TEXT)
@example(AWKWARD)
@example('","admin":true,"x":"')
def test_no_subject_changes_the_shape(subject: str) -> None:
    """Whatever the commit says, through every filter, the JSON is valid and of the same shape."""
    made = SHAPE.render(with_subject(subject))

    data = json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
    assert json.loads(data) == made
    assert made.keys() == {*CHAINS, *(f"in {chain}" for chain in CHAINS)}
    assert all(isinstance(made[f"in {chain}"], str) for chain in CHAINS)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(FILTERS)), st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
))  # fmt: skip
def test_any_value_through_any_filter(name: str, value: Any) -> None:
    """The result is JSON, or a clear error."""
    structure = compile_structure(f"{{{{ x | {name}{TAKE.get(name, '')} }}}}", names=("x",))
    try:
        made = structure.render({"x": value})
    except RenderError as error:
        assert "fails on this event" not in str(error)  # noqa: PT017 - most values are taken
    else:
        json.dumps(made, ensure_ascii=False, allow_nan=False).encode()
