"""Lines of the audit log in words, with links to what they are about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from circleci_relay.web.ui.words import count, instant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.console.shapes import Entry

MOST = 12
"""Links of one line."""

_PAGES = {"delivery": "deliveries", "event": "events", "job": "jobs"}
_OF_DESTINATIONS = {"pause", "resume", "retry"}
_NAMES = {"destination", "destinations", "to"}
_TIMES = {"since", "until"}
_SECOND = 1_000_000
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a line: a text, and where it leads."""

    text: str
    link: str | None = None
    key: bool = False  #: it names what follows


def target_of(entry: Entry) -> Part:
    """Return what was changed, with its page where it has one."""
    kind, _, name = entry.target.partition(" ")
    if kind in _PAGES and _ID.fullmatch(name):
        return Part(text=entry.target, link=f"/{_PAGES[kind]}/{name}")
    if entry.action in _OF_DESTINATIONS:
        return _destination(entry.target)
    return Part(text=entry.target)


def parts_of(entry: Entry) -> list[Part]:
    """Return what else is said; what is not set is left out."""
    detail = dict(entry.detail)
    if entry.action == "cancel" and isinstance(made := detail.get("made"), int):
        del detail["made"]  # of a job that was stopped
        first = [Part(text=f"stopped after it had made {count(made)}")]
    else:
        first = []
    return [*first, *_told(detail)][:100]


def _told(detail: Any, name: str = "") -> Iterator[Part]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            inner = list(_told(value, str(key)))
            if inner and key not in {"request", "select"}:
                yield Part(text=f"{str(key).replace('_', ' ')}:", key=True)
            yield from inner
    elif isinstance(detail, list):
        for each in detail[:MOST]:
            yield from _told(each, name)
        if len(detail) > MOST:
            yield Part(text=f"and {count(len(detail) - MOST)} more")
    elif detail is not None and detail is not False:
        yield _one(detail, name)


def _one(value: Any, name: str) -> Part:
    text = str(value)
    if name in _TIMES and isinstance(value, int):
        return Part(text=f"{instant(datetime.fromtimestamp(value / _SECOND, UTC))} UTC")
    if name in {"made", "deliveries"} and text.isdecimal() and isinstance(value, str):
        return Part(text=text, link=f"/deliveries/{text}")
    if name == "events" and isinstance(value, str) and _ID.fullmatch(text):
        return Part(text=text, link=f"/events/{text}")
    if name in _NAMES:
        return _destination(text)
    return Part(text="yes" if value is True else text or "none")


def _destination(name: str) -> Part:
    return Part(text=name, link=f"/destinations/{quote(name, safe='')}")
