"""
Which pieces of the file a message may repeat.

A secret in the wrong place is a key, a name, an alias or a value that makes no sense there,
which is just what messages are about. So no piece of the file gets into one except through
here: what reads like words or a number is said, and anything else is left to the line and
column that each message begins with.
"""

from __future__ import annotations

import re

UNSAID = "…"
"""What stands for a key in a path that may not be repeated."""

_LONGEST, _LONGEST_PART = 80, 32
_NUMBER = r"[0-9]{1,10}(?:[.:,][0-9]{1,10}){0,4}"
_RUN = re.compile(rf"{_NUMBER}(?![A-Za-z0-9])|[A-Za-z0-9]+")
_WORD = re.compile(
    r"(?:[A-Za-z][a-z]{0,14}"  # word, Word
    r"|[A-Z]{1,4}"  # API, MB
    r"|(?=.{1,18}\Z)[A-Za-z][a-z]{2,}(?:[A-Z][a-z]{2,}){1,2})"  # maxAge
    r"[0-9]{0,3}"
)
_AMOUNT = re.compile(
    rf"{_NUMBER}|[0-9]{{1,10}}[A-Za-z]{{1,4}}|(?:[0-9]{{1,3}}(?:ms|[smhd])){{2,3}}"
)
_USUAL_KEY = re.compile(r"[a-z]{1,15}(?:_[a-z]{1,15})?")
_SHORTEST_TELLTALE = 5  # k8s and i18n tell nothing
_MOST_AMOUNTS = 3
_WORDS_OF_A_VALUE, _WORDS_OF_A_KEY = 3, 5
# A name with settings under it is hardly a secret, unless it looks just like one.
_CHOSEN_NAME = re.compile(r"(?!.*[a-z0-9]{16})(?!.*[0-9a-f-]{24})[a-z0-9][a-z0-9_-]{0,62}")


class Unsaid(str):
    """A key that may be a secret, and is never repeated."""

    __slots__ = ()


def sayable(text: str, words: int = _WORDS_OF_A_VALUE) -> bool:
    """
    Whether *text* reads like words or a number, of which no secret is made.

    At most *words* joined by - or _, and one of them with digits; nothing that a variable
    or file held.
    """
    if isinstance(text, Unsaid) or getattr(text, "expanded", False):
        return False
    if _USUAL_KEY.fullmatch(text):
        return True  # as most are: what follows costs more, and there may be thousands
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or "://" in text:
        return False
    if text.count(" ") > 1 or re.search(rf"[A-Za-z0-9]+(?:[-_ ][A-Za-z0-9]+){{{words}}}", text):
        return False
    if any(len(part) > _LONGEST_PART for part in text.split("/")):
        return False
    runs = _RUN.findall(text)
    plain = [run for run in runs if _WORD.fullmatch(run) or _AMOUNT.fullmatch(run)]
    mixed = [run for run in runs if run not in plain]
    numbered = [run for run in runs if any(char.isdigit() for char in run)]
    return (
        len(mixed) <= 1
        and all(len(run) < _SHORTEST_TELLTALE for run in mixed)
        and len(numbered) <= (1 if len(numbered) < len(runs) else _MOST_AMOUNTS)
    )


def shown(text: str, unsaid: str = "this") -> str:
    """*text* in quotes, for a message; *unsaid* where it may be a secret."""
    return repr(str(text)) if sayable(text) else unsaid


def variable(name: str) -> str:
    """A variable's name, which is mostly all capitals."""
    usual = name.lower() if name.isupper() else name
    return name if sayable(usual, _WORDS_OF_A_KEY) else UNSAID


def said(part: str | int) -> str | int:
    """A key as it may stand in a path."""
    sound = isinstance(part, int) or sayable(part, _WORDS_OF_A_KEY)
    return part if sound else UNSAID


def as_key(key: str, under: tuple[str | int, ...], value: str) -> str:
    """
    *key*, or the same as `Unsaid`; its *value* is "a map", "a list", "a text" or "nothing".

    In braces a text without a colon becomes a key without a value, and a map of secrets is
    where a secret is most easily taken for its own name.
    """
    tokens = under == ("server", "admin_tokens")
    secrets = under[-1:] == ("secrets",) and len(under) > 2  # noqa: PLR2004 - no destination's name
    chosen = len(under) == 1 and under[0] in {"sources", "destinations", "routes"}
    if chosen and value == "a map" and _CHOSEN_NAME.fullmatch(key):
        return key
    fits = value == "a map" if tokens else value in {"a text", "a list"}
    if (tokens or secrets) and not fits:
        return key if re.fullmatch("[a-z]{1,8}", key) else Unsaid(key)
    if value == "nothing":
        sound = sayable(key) and not re.search("[0-9]", key)
    else:
        sound = sayable(key, _WORDS_OF_A_KEY)
    return key if sound else Unsaid(key)
