"""The filters of templates for text, time and numbers; those for lists are in `sequences`."""

from __future__ import annotations

import html as html_module
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from circleci_relay.circleci.payload import clean
from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import (
    MOST_TEXT,
    encode,
    is_missing,
    kind_of,
    spend,
    text_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# All that Discord, Mattermost and Teams take for markup; a backslash before any punctuation
# is CommonMark's own escape, and Discord's.
_MARKDOWN_START: Final = re.compile(r"(?m)^([ \t]*)([-+=]|[0-9]+(?=[.)]))")
_MARKUP: Final = "\\`*_~|[]<>#&"  # the backslash first: it is what the others get
_BREAKS: Final = re.compile(r"[\s\x1c-\x1f\x85\u2028\u2029]+")
# Control characters, and the marks that turn the direction of text around.
_UNSEEN: Final = re.compile(
    "[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_LONGEST_INSTANT: Final = 64
_DATE: Final = 60  # characters of work that a date takes as long as
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def slack(value: Any) -> str:
    """Text in which Slack sees no link, no mention and no entity."""
    # A chain of replacements is twenty times as quick as a table.
    return _paid(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(value: Any) -> str:
    """Text in which Discord, Mattermost and Teams see no markup and no mention, save bare links."""
    text = _paid(value)
    for mark in _MARKUP:
        text = text.replace(mark, f"\\{mark}")
    text = _MARKDOWN_START.sub(_escape_start, text)
    return text.replace("@", "@\u200b")


def _escape_start(match: re.Match[str]) -> str:
    indent, mark = match.groups()
    return f"{indent}{mark}\\" if mark[0].isdigit() else f"{indent}\\{mark}"


def html(value: Any) -> str:
    """Text that HTML shows as it is, between tags and in attributes."""
    return html_module.escape(_paid(value))


def truncate(value: Any, length: int) -> str:
    """At most *length* characters; what is cut ends in an ellipsis."""
    text, length = text_of(value), _whole("truncate", length)
    if len(text) <= length:
        return text
    spend(max(length, 0))
    return text[: length - 1].rstrip() + "…" if length > 0 else ""


def truncate_bytes(value: Any, length: int) -> str:
    """At most *length* bytes of UTF-8; no character is cut in half."""
    text, length = clean(_paid(value)), _whole("truncate_bytes", length)
    data = text.encode()
    if len(data) <= length:
        return text
    mark = "…".encode()
    if length < len(mark):
        return data[: max(length, 0)].decode(errors="ignore")
    return data[: length - len(mark)].decode(errors="ignore").rstrip() + "…"


def short(value: Any, length: int = 7) -> str:
    """The first characters of a revision."""
    return text_of(value)[: max(_whole("short", length), 0)]


def duration(value: Any) -> str:
    """Seconds as people say them, `4m 12s`; nothing for what is no number of seconds."""
    seconds = _number(value)
    if seconds is None or not 0 <= seconds < 10**11:
        return ""
    whole = round(seconds)
    if not whole:
        return "under 1s"
    for position, (unit, letter) in enumerate(_UNITS):
        if whole >= unit:
            said = f"{whole // unit}{letter}"
            rest = whole % unit
            if position + 1 < len(_UNITS):
                smaller, small = _UNITS[position + 1]
                if rest // smaller:
                    said += f" {rest // smaller}{small}"
            return said
    return ""


def date(value: Any, format: str | None = None) -> str:  # noqa: A002 - as templates call it
    """Epoch seconds, or ISO 8601, as ISO 8601 in UTC, or by *format* as strftime has it."""
    spend(_DATE)
    seconds = epoch(value)
    if seconds is None:
        return ""
    try:
        when = datetime.fromtimestamp(seconds, UTC)
        if format is None:
            return when.strftime("%Y-%m-%dT%H:%M:%SZ") if when.year > 999 else ""  # noqa: PLR2004
        return when.strftime(clean(text_of(format))[:200])
    except (ValueError, OverflowError, OSError):
        return ""


def epoch(value: Any) -> float | int | None:
    """Seconds since 1970 of an ISO 8601 instant (UTC where it names no zone); null for others."""
    number = _number(value) if not isinstance(value, str) else _instant(value)
    if number is None:
        return None
    return int(number) if number.is_integer() else number


def _instant(text: str) -> float | None:
    if len(text) > _LONGEST_INSTANT:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def json(value: Any) -> str:
    """The value as compact JSON."""
    return encode(value)


def urlencode(value: Any) -> str:
    """Percent-encoded for any part of a URL, slashes too."""
    spend(_DATE)
    return quote(clean(_paid(value)), safe="")


def plain(value: Any) -> str:
    """One line, without control characters and without marks that turn its direction."""
    text = _paid(value)
    if text.isascii() and text.isprintable() and "  " not in text:
        return text.strip()
    return _BREAKS.sub(" ", _UNSEEN.sub("", text)).strip()


def default(value: Any, instead: Any = "", boolean: bool = False) -> Any:  # noqa: FBT001, FBT002 - Jinja's
    """*instead* where the value is missing or null; with true, also where it is empty or 0."""
    return instead if is_missing(value) or (boolean and not value) else value


def upper(value: Any) -> str:
    """In capitals."""
    return _paid(value).upper()


def lower(value: Any) -> str:
    """In small letters."""
    return _paid(value).lower()


def title(value: Any) -> str:
    """Each word with a capital."""
    return _paid(value).title()


def capitalize(value: Any) -> str:
    """The first letter in capitals, the rest small."""
    return _paid(value).capitalize()


def trim(value: Any, characters: str | None = None) -> str:
    """Without white space, or *characters*, at both ends."""
    return _paid(value).strip(None if characters is None else text_of(characters))


def replace(value: Any, old: str, new: str, count: int | None = None) -> str:
    """Each *old* replaced by *new*, *count* times at most."""
    text, old, new = _paid(value), text_of(old), text_of(new)
    most = -1 if count is None else _whole("replace", count)
    found = text.count(old) if most < 0 else min(text.count(old), most)
    grown = len(text) + found * (len(new) - len(old))
    if grown > MOST_TEXT and grown > len(text):
        raise RenderError(f"its text would be larger than {MOST_TEXT // 1024} KiB")
    made = text.replace(old, new, most)
    spend(len(made))
    return made


def to_int(value: Any, default: int = 0) -> Any:
    """A whole number, or *default* where it is none."""
    number = _number(value)
    return default if number is None else math.trunc(number)


def to_float(value: Any, default: float = 0.0) -> Any:
    """A number, or *default* where it is none."""
    number = _number(value)
    return default if number is None else number


def to_string(value: Any) -> str:
    """As text."""
    return text_of(value)


def absolute(value: Any) -> Any:
    """Without its sign."""
    return abs(_needed("abs", value))


def round_(value: Any, precision: int = 0) -> Any:
    """Rounded; a whole number unless *precision* asks for digits."""
    places = _whole("round", precision)
    if not -30 <= places <= 30:  # noqa: PLR2004 - more than a double has
        raise RenderError("round() takes -30 to 30 digits")
    number = _needed("round", value)
    return round(number, places) if places > 0 else int(round(number, places))


def _paid(value: Any) -> str:
    text = text_of(value)
    spend(len(text))
    return text


def _whole(name: str, value: Any) -> int:
    if isinstance(value, (int, float)) and math.isfinite(value):
        return int(max(-(10**9), min(value, 10**9)))
    raise RenderError(f"the filter {name} takes a whole number, and is given {kind_of(value)}")


def _number(value: Any) -> float | None:
    """*value* as a finite number, where it is one or reads as one."""
    if isinstance(value, str):
        if len(value) > _LONGEST_INSTANT:
            return None
    elif not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _needed(name: str, value: Any) -> Any:
    if isinstance(value, (int, float)) and math.isfinite(value):
        return value
    raise RenderError(f"the filter {name} wants a number, and the value is {kind_of(value)} here")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "slack": slack, "markdown": markdown, "html": html, "truncate": truncate,
    "truncate_bytes": truncate_bytes, "short": short, "duration": duration, "date": date,
    "epoch": epoch, "json": json, "urlencode": urlencode, "plain": plain, "default": default,
    "d": default, "upper": upper, "lower": lower, "title": title, "capitalize": capitalize,
    "trim": trim, "replace": replace, "int": to_int, "float": to_float, "string": to_string,
    "abs": absolute, "round": round_,
}  # fmt: skip
"""By the names that templates use."""
