"""Patterns: literals, globs, regular expressions and absence, and what is said of bad ones."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from circleci_relay.patterns import Container, Pattern, Wanted, compile_pattern

ANY_TEXT = st.text(st.characters(exclude_categories=()))
GLOBS = st.text(st.sampled_from("ab/*?\\.\n(+é"), min_size=1).filter(
    lambda text: not (text.startswith("/") and text.endswith("/"))
)
VALUES = st.text(st.sampled_from("ab/*?\\.\n(+é"))


def matches_glob(glob: str, value: str) -> bool:
    """What a glob means, as plainly as it can be said."""
    if not glob:
        return not value
    if glob[0] == "*":
        return any(matches_glob(glob[1:], value[at:]) for at in range(len(value) + 1))
    if not value:
        return False
    if glob[0] == "?":
        return matches_glob(glob[1:], value[1:])
    if glob[0] == "\\":
        glob = glob[1:]
    return glob[0] == value[0] and matches_glob(glob[1:], value[1:])


@given(GLOBS, VALUES)
@example("*/*", "a/b/a")
@example("a\\*?", "a*b")
@example("?", "\n")
def test_globs_against_a_plain_matcher(glob: str, value: str) -> None:
    """RE2 runs what a few lines of recursion mean."""
    if "*" not in glob and "?" not in glob:
        assert compile_pattern(glob).holds(value) == (glob == value)
        return
    trailing = len(glob) - len(glob.rstrip("\\"))
    if trailing % 2:
        with pytest.raises(ValueError, match="backslash"):
            compile_pattern(glob)
        return
    assert compile_pattern(glob).holds(value) == matches_glob(glob, value)


@given(ANY_TEXT.filter(bool))
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    """Lone surrogates and NUL included; nothing else is raised, and a literal is itself."""
    try:
        pattern = compile_pattern(text)
    except ValueError:
        return
    if pattern.test is None:
        assert pattern.holds(pattern.literal)
    pattern.holds(text)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("main", ["main"], ["Main", "main2", "mai", "", None]),
        ("nightly-*", ["nightly-", "nightly-a/b"], ["nightly", "Nightly-x", "x-nightly-", None]),
        ("*", ["x", "a\nb", "é" * 300], [None]),
        ("v?.?", ["v1.2"], ["v1.22", "v.2"]),
        (r"what\?", ["what?"], ["whats", "what\\?"]),
        (r"a\b", [r"a\b"], ["ab"]),
        (r"/release-\d+/", ["release-1", "release-20"], ["release-", "release-1x", "xrelease-1"]),
        ("/main|dev/", ["main", "dev"], ["maindev", "domain", "mainx", None]),
        ("/^main$/", ["main"], ["main\n"]),
        (r"/feature\/.*/", ["feature/a", "feature/a/b"], ["feature", "feature/a\nb"]),
        ("/.*/", ["x" * 5000], [None]),
        ("/", ["/"], ["", "//"]),
        ("/usr", ["/usr"], ["usr"]),
        ("/.+é/", ["aé", "x" * 300 + "é"], ["ae"]),
        (None, [None], ["", "null", "absent"]),
        ("", [None], ["x"]),
        ("null", ["null"], [None]),
    ],
)
def test_what_patterns_mean(
    pattern: str | None, yes: list[str | None], no: list[str | None]
) -> None:
    """Whole values only, case and all."""
    compiled = compile_pattern(pattern)
    for value in yes:
        assert compiled.holds(value), value
        assert compiled.holds(value), "the second time, too"
    for value in no:
        assert not compiled.holds(value), value


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("/(/", "missing"),
        ("/(?!main).*/", "look-around; say what is not wanted under `not`"),
        ("/(?<=a)b/", "look-around"),
        (r"/(a)\1/", "back-references"),
        (r"/a\Z/", r"\\z"),
        ("/*-nightly/", "for a glob, leave the slashes out"),
        (r"/main\/", "trailing"),
        ("/[z-a]/", "character class"),
        ("/a{2000}/", "repetition"),
        ("/((a{100}){100}){100}/", "repetition"),
        ("//", "null"),
        ("main*\\", "backslash"),
    ],
)
def test_bad_patterns_say_what_would_be_right(pattern: str, said: str) -> None:
    """Or at least what RE2 has against them, with the pattern as written."""
    with pytest.raises(ValueError, match=said) as caught:
        compile_pattern(pattern)
    assert pattern in str(caught.value)


def test_bad_patterns_write_nothing_themselves(capfd: pytest.CaptureFixture[str]) -> None:
    """RE2 would log to standard error on its own."""
    with pytest.raises(ValueError, match="missing"):
        compile_pattern("/(/")
    assert capfd.readouterr().err == ""


def test_no_value_stalls_a_pattern() -> None:
    """What takes a backtracking engine longer than the universe lasts, RE2 answers at once."""
    assert not compile_pattern("/(a+)+(a|a)*b/").holds("a" * 100_000)
    assert not compile_pattern("*a*a*a*a*a*a*a*a*b").holds("a" * 100_000)


def test_values_that_re2_refuses_are_matched_all_the_same() -> None:
    """A lone surrogate counts as one replacement character."""
    assert compile_pattern("a?").holds("a\ud800")
    assert compile_pattern("/a./").holds("a\ud800")


def test_a_container_matches_nothing() -> None:
    """Not even absence, or a glob for anything."""
    everything = Wanted([compile_pattern(text) for text in ("*", "/.*/", None, "a map")])
    assert not everything.holds(Container("a map"))
    assert everything.holds(None)


@given(
    st.lists(st.sampled_from(["main", "m*", "/ma.+/", None, "dev"])),
    st.sampled_from(["main", "m", "dev", None]),
)
def test_wanted_is_any_of_its_patterns(texts: list[str | None], value: str | None) -> None:
    """One look for all literals gives what asking each pattern would."""
    patterns = [compile_pattern(text) for text in texts]
    assert Wanted(patterns).holds(value) == any(pattern.holds(value) for pattern in patterns)


def test_wanted_in_words() -> None:
    """As written, absence by name, and no page-long lists."""
    assert str(Wanted(map(compile_pattern, ["main", r"/v\d/", None]))) == r"main or /v\d/ or absent"
    long = str(Wanted(Pattern(str(number), str(number)) for number in range(50)))
    assert long.endswith("7 or 42 more")


def test_hit_by_names_what_was_met() -> None:
    """Of a list, only the patterns that hold."""
    wanted = Wanted(map(compile_pattern, ["main", "m*", "dev"]))
    assert wanted.hit_by(["main"]) == "main or m*"
    assert wanted.hit_by([None, "dev"]) == "dev"
