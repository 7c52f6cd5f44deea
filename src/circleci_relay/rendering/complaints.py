"""What is wrong with a template, in plain words: Jinja's own, and what may have been meant."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CLOSE: Final = 0.7
_SHORTEST: Final = 3  # of two letters any word has one


def near(word: str, known: Iterable[str]) -> str:
    """A hint at what *word* may have meant, or nothing."""
    likely = sorted(name for name in known if len(name) >= _SHORTEST)
    close = difflib.get_close_matches(word.lower(), likely, n=1, cutoff=_CLOSE)
    return f"; did you mean {close[0]}?" if close else ""


def plainly(message: str) -> str:
    """What Jinja says of a template's syntax, as one would say it who does not know Jinja."""
    for pattern, words in _WORDS:
        if found := pattern.match(message):
            return words(found)
    message = message.replace("end of print statement", "}}").replace(
        "end of statement block", "%}"
    )
    return message[:1].lower() + message[1:].rstrip(".")


_ENDS: Final = {"print statement": ("{{", "}}"), "statement block": ("{%", "%}")}
_INSTEAD: Final = {"&": "; write `and`", "!": "; write `not`", "=": "; two are compared with =="}


def _never_closed(found: re.Match[str]) -> str:
    begin, end = _ENDS[found[1]]
    return f"a {begin} is never closed with {end}"


def _unknown_character(found: re.Match[str]) -> str:
    if found[1] in {"'", '"'}:
        return f"a text that begins with {found[1]} never ends"
    return f"{found[1]} means nothing in an expression{_INSTEAD.get(found[1], '')}"


def _without_end(found: re.Match[str]) -> str:
    if found[1] == "set":
        return "{% set %} has no value; write {% set name = value %}"
    return f"{{% {found[1]} %}} is never closed with {{% end{found[1]} %}}"


def _unknown_tag(found: re.Match[str]) -> str:
    name, inside = found[1], found[2]
    if inside is not None:
        return f"{{% {name} %}} stands where {{% end{inside} %}} is wanted"
    if name.removeprefix("end") in {"if", "for", "set"} and name.startswith("end"):
        return f"{{% {name} %}} ends what never began"
    if name in {"else", "elif"}:
        return f"{{% {name} %}} stands outside of {{% if %}}"
    return f"there is no {{% {name} %}}; there are if, for and set"


def _too_much(found: re.Match[str]) -> str:
    _, end = _ENDS[found[1]]
    return f"{found[2]} stands where {end} is wanted{_INSTEAD.get(found[2], '')}"


_WORDS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"unexpected end of template, expected 'end of (\w+ \w+)'"), _never_closed),
    (re.compile(r"Missing end of comment tag"), lambda _: "a {# is never closed with #}"),
    (re.compile(r"unexpected char ['\"](.)['\"] at"), _unknown_character),
    (re.compile(r"Unexpected end of template\..* block .* closed is '(\w+)'"), _without_end),
    (
        re.compile(r"Encountered unknown tag '(\w+)'\.(?:.* block .* closed is '(\w+)')?"),
        _unknown_tag,
    ),
    (re.compile(r"expected token 'end of (\w+ \w+)', got '(.+)'"), _too_much),
    (
        re.compile(r"(?:Expected an expression, got|unexpected) 'end of "),
        lambda _: "an expression is missing, or not finished",
    ),
    (
        re.compile(r"unexpected '}'$"),
        lambda _: "a } stands alone; {{ is closed with }}, and {% with %}",
    ),
)
