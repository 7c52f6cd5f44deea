"""Where a list goes on, as a text that means nothing to whoever gives it back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from circleci_relay.errors import Invalid

if TYPE_CHECKING:
    from circleci_relay.model import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PAIR = re.compile(r"(-?[0-9]{1,19})\.([0-9]{1,19})")
_KEY = re.compile(r"[0-9]{1,19}")
_NAMED = re.compile(r"(-?[0-9]{1,19})\.([A-Za-z0-9]{1,100})")
_LARGEST = 2**63 - 1  #: what both databases hold


def moment(instant: Micros) -> datetime:
    """*instant* as a time with a zone; one that no calendar holds is the nearest that it does."""
    try:
        return _EPOCH + timedelta(microseconds=instant)
    except OverflowError:
        return _LAST if instant > 0 else _FIRST


def moment_or_none(instant: Micros | None) -> datetime | None:
    """Likewise; nothing of nothing."""
    return None if instant is None else moment(instant)


def instant(time: datetime | None) -> Micros | None:
    """*time* in microseconds, exactly; one without a zone is UTC."""
    if time is None:
        return None
    zoned = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (zoned - _EPOCH) // _MICROSECOND


def place_text(place: tuple[Micros, int | str] | None) -> str | None:
    """Where a list by time goes on."""
    return None if place is None else f"{place[0]}.{place[1]}"


def place_of(text: str | None, *, where: str = "query.before") -> tuple[Micros, int] | None:
    """What `place_text` wrote of a key."""
    if text is None:
        return None
    found = _PAIR.fullmatch(text)
    if found is None:
        raise _no_place(where)
    return _number(found[1], where), _number(found[2], where)


def named_place_of(text: str | None) -> tuple[Micros, str] | None:
    """What `place_text` wrote of a name."""
    if text is None:
        return None
    found = _NAMED.fullmatch(text)
    if found is None:
        raise _no_place()
    return _number(found[1]), found[2]


def key_of(text: str | None) -> int | None:
    """A key, as a list by keys goes on."""
    if text is None:
        return None
    if not _KEY.fullmatch(text):
        raise _no_place()
    return _number(text)


def _number(text: str, where: str = "query.before") -> int:
    number = int(text)
    if abs(number) > _LARGEST:
        raise _no_place(where)
    return number


def _no_place(where: str = "query.before") -> Invalid:
    return Invalid("is no `next` of this list", where=where)
