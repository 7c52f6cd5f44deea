"""Log lines: text on a terminal, JSON elsewhere; no secrets, no control characters."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from circleci_relay.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableSequence

    from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["configure", "get_logger"]

get_logger = structlog.get_logger

Secrets = Callable[[], frozenset[str]]

_LEVEL_COLOURS: Final = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m"}
_RED: Final = "\x1b[31m"
_DIM: Final = "\x1b[2m"
_RESET: Final = "\x1b[0m"

# What a terminal might act upon or a line break might hide behind: C0, DEL, C1, the
# separators, the marks that turn the direction of text, and lone surrogates.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_PLAIN: Final = re.compile(r"[^\s\"'=\\]+")
# Path, query and user of any URL: destination URLs often are secrets.
_URL: Final = re.compile(
    r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^\s/?#@'\"<>]*@)?([^\s/?#'\"<>()]*)"
    r"[^\s'\"<>()]*"
)


def escape(text: str) -> str:
    """Return *text* with every character that could act on a terminal written as an escape."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def without_urls(text: str) -> str:
    """Return *text* with every URL cut down to its scheme and host."""
    return _URL.sub(lambda found: f"{found[1]}{found[2]}/***", text)


class _Redactor:
    """Takes known secrets out of every value, and turns values into what renders plainly."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._known: frozenset[str] = frozenset()
        self._redact = Redaction()

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        known = self._secrets()
        if known is not self._known:
            self._redact.know(known)
            self._known = known
        plain = {key: _plain(value) for key, value in event.items()}
        if not known:
            return plain
        # One search a line; most lines hold no secret, and are done with that.
        whole = "\n".join(_strings(plain))
        if self._redact(whole) == whole:
            return plain
        return {key: self._without(value) for key, value in plain.items()}

    def _without(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, list):
            return [self._without(item) for item in value]
        if isinstance(value, dict):
            return {self._redact(key): self._without(item) for key, item in value.items()}
        return value


def _plain(value: Any) -> Any:
    """Return *value* made of nothing but JSON's own types, surrogates replaced."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return _plain(repr(value) if isinstance(value, bytes | bytearray) else str(value))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return json.dumps(first | dict(event))


class _TextRenderer:
    """`TIME LEVEL EVENT key=value …`, a traceback indented below."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> str:
        when, level = event.pop("timestamp"), event.pop("level")
        name, trace = escape(str(event.pop("event"))), event.pop("exception", None)
        pairs = " ".join(f"{escape(key)}={_text(value)}" for key, value in event.items())
        line = f"{self._paint(_DIM, when)} {self._level(level)} {name}"
        if pairs:
            line += "  " + pairs
        if trace:
            line += "".join(f"\n    {escape(row)}" for row in str(trace).splitlines())
        return line

    def _level(self, level: str) -> str:
        return self._paint(_LEVEL_COLOURS.get(level, _RED), f"{level:<8}")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colours else text


def _text(value: Any) -> str:
    if isinstance(value, str):
        quoted = value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
        return escape(quoted)
    if value is None:
        return "-"
    return escape(json.dumps(value, ensure_ascii=False))


class _Stderr:
    """Writes to whatever stderr is at the moment; a line that cannot be written is let go."""

    def msg(self, line: str) -> None:
        """Write one line."""
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return

    log = debug = info = warn = warning = error = critical = fatal = exception = failure = msg


class _LibraryHandler(logging.Handler):
    """Takes what aiohttp, asyncio and Alembic log and says it our way, without URLs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`."""
        try:
            message = without_urls(record.getMessage())
        except Exception:  # noqa: BLE001 -- a library's wrong format string must not end us
            message = without_urls(str(record.msg))
        detail: dict[str, object] = {"logger": record.name, "message": message}
        if record.exc_info and record.exc_info[0] is not None:
            detail["exc_info"] = record.exc_info
        # Errors, for someone must look; the libraries' critical is no other to us.
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        say("library", **detail)


def _format_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    fault = found[1] if isinstance(found, tuple) else found
    if isinstance(fault, BaseException):
        event["exception"] = without_urls("\n".join(_traceback(fault)))
    return event


def _traceback(fault: BaseException, seen: frozenset[int] = frozenset()) -> Iterator[str]:
    """
    Yield the lines that tell how *fault* came about, its causes first.

    Without lines of source: reading them would block the event loop.
    """
    seen |= {id(fault)}
    before = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
    if before is not None and id(before) not in seen:
        yield from _traceback(before, seen)
        yield "which led to:"
    for frame, line in traceback.walk_tb(fault.__traceback__):
        yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
    yield f"{type(fault).__name__}: {fault}"
    if isinstance(fault, BaseExceptionGroup):
        for each in fault.exceptions:
            yield from ("  " + row for row in _traceback(each, seen))


# Loggers keep the list they first saw, so it is changed in place and never replaced.
_chain: MutableSequence[Processor] = []
_stderr = _Stderr()


def configure(
    *,
    level: str = "info",
    format: str = "auto",  # noqa: A002 -- the option's own name
    redact: Secrets = frozenset,
) -> None:
    """
    Say how this process logs, to stderr; called once, before anything is logged.

    *format* is `text`, `json`, or `auto`: text on a terminal. *redact* returns the secrets
    known at the moment, the same object for as long as they are the same; they are replaced
    wherever they turn up.
    """
    terminal = sys.stderr.isatty()
    text = format == "text" or (format == "auto" and terminal)
    colours = terminal and not os.environ.get("NO_COLOR")
    _chain[:] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S.%fZ", utc=True),
        _format_exception,
        _Redactor(redact),
        _TextRenderer(colours=colours) if text else _render_json,
    ]
    structlog.configure(
        processors=_chain,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _stderr,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in [known for known in root.handlers if isinstance(known, _LibraryHandler)]:
        root.removeHandler(handler)
    root.addHandler(_LibraryHandler())
    root.setLevel(logging.WARNING)
    # Alembic's configuration would otherwise speak at info level through its own handlers.
    logging.getLogger("alembic").setLevel(logging.WARNING)
