"""Patterns as a route's `match` holds them: literals, globs, regular expressions, absence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import re2

from circleci_relay.circleci.payload import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_REMEMBERED: Final = 512  # values each pattern knows the answer for; branches come again
_LONGEST_REMEMBERED: Final = 200  # characters of such a value
_LISTED: Final = 8  # patterns named in a reason, at most

# An escaped character, a wildcard, plain text, or a backslash with nothing after it.
_GLOB: Final = re.compile(r"\\(?P<escaped>.)|(?P<wild>[*?])|(?P<plain>[^\\*?]+)|\\", re.DOTALL)
_SHORTEST_REGEX: Final = 2  # the two slashes

_REMEDIES: Final = (
    (
        re.compile(r"invalid perl operator"),
        "RE2 has no look-around; say what is not wanted under `not`",
    ),
    (re.compile(r"invalid escape sequence: \\[1-9]"), "RE2 has no back-references"),
    (re.compile(r"invalid escape sequence: \\Z"), "RE2 writes it \\z, and needs none of it here"),
    (re.compile(r"no argument for repetition operator"), "for a glob, leave the slashes out"),
)


class Container:
    """What stands for a map or a list of the body: it is there, and no pattern matches it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name


Value = str | Container | None
"""What a pattern is held against; None is absent."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern: a *test* for globs and regular expressions, else *literal* itself."""

    text: str  #: as written
    literal: str | None = None  #: None is absence
    test: Callable[[str], bool] | None = None

    def holds(self, value: Value) -> bool:
        """Whether *value* is what this pattern wants."""
        if self.test is None:
            return value == self.literal
        return isinstance(value, str) and self.test(value)


class Wanted:
    """
    Any of several patterns.

    Literals and absence are found by one look into a set; globs and regular expressions are
    tried after that.
    """

    __slots__ = ("literals", "patterns", "tests")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.literals: frozenset[Value] = frozenset(
            pattern.literal for pattern in self.patterns if pattern.test is None
        )
        self.tests = tuple(pattern.test for pattern in self.patterns if pattern.test is not None)

    def __str__(self) -> str:
        texts = [pattern.text for pattern in self.patterns]
        if len(texts) > _LISTED:
            texts[_LISTED:] = [f"{len(texts) - _LISTED} more"]
        return " or ".join(texts)

    def holds(self, value: Value) -> bool:
        """Whether *value* is any of what is wanted."""
        if value in self.literals:
            return True
        if isinstance(value, str):
            for test in self.tests:
                if test(value):
                    return True
        return False

    def hit_by(self, values: Iterable[Value]) -> str:
        """The patterns that one of *values* meets, in words."""
        values = tuple(values)
        return str(Wanted(each for each in self.patterns if any(map(each.holds, values))))


def compile_pattern(text: str | None) -> Pattern:
    r"""
    A pattern from its text; ValueError says what is wrong and what would be right.

    None and the empty string want absence. Between slashes stands a regular expression, as
    in CircleCI's own configuration, that must match the whole value. With `*` (anything,
    slashes too) or `?` (one character) it is a glob, in which `\` escapes. Everything else
    is itself.
    """
    if not text:
        return Pattern("absent")
    text = clean(text)
    if len(text) >= _SHORTEST_REGEX and text[0] == text[-1] == "/":
        return Pattern(text, test=_tester(_expression(text)))
    if "*" in text or "?" in text:
        return Pattern(text, test=_tester(translate(text)))
    return Pattern(text, literal=text)


def translate(glob: str) -> str:
    """The regular expression that matches wholly what *glob* does; ValueError if it cannot."""
    parts = ["(?s)"]  # a dot takes a newline, too
    for token in _GLOB.finditer(glob):
        if token["wild"]:
            parts.append(".*" if token["wild"] == "*" else ".")
        elif token["escaped"] or token["plain"]:
            parts.append(re2.escape(token["escaped"] or token["plain"]))
        else:
            raise ValueError(f"{glob} ends in a backslash that escapes nothing; write \\\\ for one")
    return "".join(parts)


def _expression(text: str) -> str:
    expression = text[1:-1]
    if not expression:
        raise ValueError("// holds no regular expression; for an absent value write null")
    return expression


def _tester(expression: str) -> Callable[[str], bool]:
    """A test of whole values, which remembers: RE2 takes 2 µs from Python, a look-up 0.1."""
    compiled = _compile(expression)

    def test(value: str) -> bool:
        return compiled.fullmatch(clean(value)) is not None

    remembered = lru_cache(_REMEMBERED)(test)
    return lambda value: (remembered if len(value) <= _LONGEST_REMEMBERED else test)(value)


_LONGEST = 4096  #: characters of a regular expression
_MEMORY = 1 << 20  #: bytes that one may take, compiled and at work


def _compile(expression: str) -> re2._Regexp:
    if len(expression) > _LONGEST:
        raise ValueError(
            f"a regular expression of {len(expression)} characters is too long; {_LONGEST} is the"
            " most: make several of it, or a list of names"
        )
    options = re2.Options()
    options.log_errors = False  # or RE2 writes to standard error itself
    options.max_mem = _MEMORY
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        [reason] = error.args
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    remedy = next((f"; {text}" for sign, text in _REMEDIES if sign.search(said)), "")
    raise ValueError(f"/{expression}/ is no regular expression that RE2 takes: {said}{remedy}")
