"""What was done, told once on the page that follows: a code in its address, never a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from aiohttp import web

from circleci_relay.web.ui.words import some

if TYPE_CHECKING:
    from collections.abc import Mapping

CODE, NUMBER = "done", "n"
"""The names of the code, and of the number in its sentence."""

_SENTENCES: Mapping[str, tuple[str, str]] = {
    "replayed": ("{} made; due at once.", "replay"),
    "cancelled": ("{} cancelled.", "delivery"),
    "paused": ("Paused: no attempt begins here until it is resumed.", ""),
    "resumed": ("Resumed: what waits here is delivered.", ""),
    "resumed-open": (
        "Resumed. Failing, breaker open: what waits here waits for a probe, or for Retry now.",
        "",
    ),
    "retried": ("{} tried now.", "delivery"),
    "due": ("{} due: tried once it is resumed.", "delivery"),
    "unticked": ("Nothing was ticked: tick what to replay, then count.", ""),
    "job": ("The job has begun.", ""),
    "jobs": ("{} begun.", "job"),
    "job-cancelled": ("The job is cancelled, and what it made that had not been tried.", ""),
    "taken": ("{} taken in after all.", "event"),
    "still": ("Checked again: turned away as before.", ""),
    "signed-out": ("Signed out.", ""),
}


_WITH_VERB = {"retried", "due"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence that says what was done."""

    text: str


def notice_of(query: Mapping[str, str]) -> Notice | None:
    """Return what the address of a page says was done; None if nothing we know."""
    code = query.get(CODE, "")
    sentence, thing = _SENTENCES.get(code, ("", ""))
    if not sentence:
        return None
    given = query.get(NUMBER, "")
    number = int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else 0  # noqa: PLR2004
    many = thing[:-1] + "ies" if thing.endswith("y") and thing != "replay" else thing + "s"
    counted = some(number, thing, many)
    if code in _WITH_VERB:
        counted += " is" if number == 1 else " are"
    return Notice(text=sentence.format(counted))


def seen(path: str, code: str, number: int | None = None) -> web.HTTPSeeOther:
    """Return the redirect to *path* that says what was done."""
    query = {CODE: code} if number is None else {CODE: code, NUMBER: str(number)}
    path, hash_, place = path.partition("#")
    return web.HTTPSeeOther(f"{path}{'&' if '?' in path else '?'}{urlencode(query)}{hash_}{place}")
