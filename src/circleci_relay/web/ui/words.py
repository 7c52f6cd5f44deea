"""How the page says things: instants, spans, counts, sizes, and texts that came from outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Iterable

SHORT = 200
"""Characters of a text from outside that are shown where nothing else is said."""

# Control characters; what reorders the text around it; halves of pairs; what no XML may hold.
# Joiners stay: emoji and several scripts are written with them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\ufffe\uffff]"
)
NONE = "\N{EN DASH}"
"""What stands where there is nothing."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def visible(text: str) -> str:
    """Return *text* with what cannot be seen, or would reorder what is, written out."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def cut(text: str, most: int = SHORT) -> str:
    """Return at most *most* characters of *text*, and how many were left out."""
    if len(text) <= most:
        return visible(text)
    return f"{visible(text[:most])}… ({count(len(text) - most)} more)"


def foreign(text: object, most: int = SHORT) -> Markup:
    """Return a text from outside for a page: cut, escaped, and on its own for writing order."""
    return Markup("<bdi>{}</bdi>").format(cut(str(text), most))


def address(url: object) -> str | None:
    """Return *url* if a link may lead there: http or https, with a host; else None."""
    if not isinstance(url, str) or len(url) > 2000 or _UNSEEN.search(url):  # noqa: PLR2004
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and host else None


def outside(url: object, text: object | None = None) -> Markup:
    """Return a link to *url*, which came from outside; just the text where it is none."""
    shown = foreign(url if text is None else text)
    target = address(url)
    if target is None:
        return shown
    return Markup('<a href="{}" rel="noopener noreferrer">{}</a>').format(target, shown)


def instant(at: datetime) -> str:
    """Return `2026-01-31 03:00:00`; in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def stamp(at: datetime | None, style: str = "full") -> Markup:
    """
    Return *at* as a `time` element in UTC, to which the script adds the reader's own time.

    *style*: `full` for a place of its own, `short` for tables.
    """
    if at is None:
        return Markup('<span class="none">{}</span>').format(NONE)
    machine = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    shown = instant(at)
    if style == "short":
        return Markup(
            '<time datetime="{}" class="short"><span class="day">{} </span>{}</time>'
        ).format(machine, shown[:10], shown[11:])
    return Markup('<time datetime="{}" class="full">{} UTC</time>').format(machine, shown)


def span(seconds: float | None) -> str:  # noqa: PLR0911 -- one for each magnitude
    """Return a span of time in the two units that tell most."""
    if seconds is None:
        return NONE
    if seconds < 0:
        return "0 s"
    if seconds < 1:
        return f"{round(seconds * 1000)}\N{NO-BREAK SPACE}ms"
    if seconds < 10:  # noqa: PLR2004 -- where a tenth still tells something
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole}\N{NO-BREAK SPACE}s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def count(number: int) -> str:
    """Return a number with its thousands apart."""
    return f"{number:,}"


def some(number: int, one: str, many: str | None = None) -> str:
    """Return `1 event`, `2 events`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def size(octets: int) -> str:
    """Return a number of bytes."""
    if octets < 1024:  # noqa: PLR2004
        return some(octets, "byte")
    value = float(octets)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:  # noqa: PLR2004
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def rate(part: float | None) -> str:
    """Return a share of one as per cent; what is not all is never rounded up to all."""
    if part is None:
        return NONE
    tenths = int(part * 1000)
    return "100 %" if part >= 1 else f"{tenths / 10:.1f} %"


def lines(items: Iterable[object]) -> Markup:
    """Return texts from outside with commas between them."""
    return Markup(", ").join(foreign(each) for each in items)


def attribute(text: object, most: int = SHORT) -> Markup:
    """Return a text from outside for an attribute's value."""
    return escape(cut(str(text), most))


def _two(whole: int, large: int, large_name: str, small: int, small_name: str) -> str:
    first, rest = divmod(whole, large)
    second = rest // small
    told = f"{first}\N{NO-BREAK SPACE}{large_name}"
    # Beyond ten of the one, nobody asks for the other.
    if not second or first >= 10:  # noqa: PLR2004
        return told
    return f"{told} {second}\N{NO-BREAK SPACE}{small_name}"
