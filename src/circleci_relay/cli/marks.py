"""How states and times look to people: a colour and a sign, the clock of this terminal."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from circleci_relay.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in a table, and its colour."""

    text: str
    style: str = ""


GOOD, BAD, WAITING, QUIET = "green", "red", "yellow", "dim"

# Never the colour alone: a sign that every terminal has, where it lacks the better one.
_SIGNS: Final[Mapping[str, tuple[str, str]]] = {
    GOOD: ("✓", "+"),
    BAD: ("✗", "x"),
    WAITING: ("…", "~"),
    QUIET: ("·", "-"),
}

STATES: Final[Mapping[str, str]] = {
    "delivered": GOOD,
    "good": GOOD,
    "ok": GOOD,
    "done": GOOD,
    "dead": BAD,
    "bad": BAD,
    "failed": BAD,
    "open": BAD,
    "pending": WAITING,
    "running": WAITING,
    "failing": WAITING,
    "held": WAITING,
    "paused": WAITING,
    "cancelled": QUIET,
    "removed": QUIET,
    "other": QUIET,
}


def style_of(state: str) -> str:
    """The colour of *state*; none for one that is not known."""
    return STATES.get(state, "")


def sign(state: str) -> str:
    """The sign of *state*."""
    better, plain = _SIGNS.get(style_of(state), (" ", " "))
    try:
        better.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return plain
    return better


def standing_of(state_name: str) -> Cell:
    """How a destination stands."""
    return state(state_name, "failing, breaker open" if state_name == "open" else state_name)


def state(name: str, text: str | None = None) -> Cell:
    """The state called *name*, as *text*."""
    return Cell(f"{sign(name)} {name if text is None else text}", style_of(name))


def local(text: str | None) -> str:
    """An instant of the API on this terminal's clock, to the second."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        return printable(text)
    return found.strftime("%Y-%m-%d %H:%M:%S")


def clock(text: str | None) -> str:
    """An instant of the API as short as can be: without its date where that is today."""
    if not text:
        return ""
    try:
        found = datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        return printable(text)
    today = datetime.now().astimezone()
    if found.date() == today.date():
        return found.strftime("%H:%M:%S")
    return found.strftime("%m-%d %H:%M" if found.year == today.year else "%Y-%m-%d")


def zone() -> str:
    """The name of this terminal's zone, to be said once."""
    return datetime.now().astimezone().tzname() or "local"


def span(seconds: float | None) -> str:
    """Some seconds, as people say them."""
    if seconds is None:
        return ""
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


LOST: Final = "cut short when the relay ended; it may have arrived"


def last_try(result: str | None, status: int | None, error: str | None) -> str:
    """How the last attempt ended, in a few words."""
    if result == "lost":
        return LOST
    words = [result or "", "" if status is None else str(status), error or ""]
    if words[2].startswith(words[1]):
        words[1] = ""
    return " ".join(word for word in words if word)
