"""How log lines look, and what they must not hold."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circleci_relay import logs
from circleci_relay.model import State

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = 'hunter2"\\x'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def fail(fault: Exception) -> None:
    """Raise *fault*."""
    raise fault


def line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the one JSON line written since the last look."""
    [written] = capsys.readouterr().err.splitlines()
    found: dict[str, Any] = json.loads(written)
    return found


def test_json_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON object a line on stderr: when, how bad, what, then the values."""
    logs.configure()
    logs.get_logger().info("attempt", status=500, then=State.DEAD, ids=("a", "b"), none=None)
    found = line(capsys)
    assert found.pop("timestamp").endswith("Z")
    assert list(found.items()) == [
        ("level", "info"),
        ("event", "attempt"),
        ("status", 500),
        ("then", "dead"),
        ("ids", ["a", "b"]),
        ("none", None),
    ]


def test_text_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """Plain words stand as they are, others are quoted; a traceback is indented below."""
    logs.configure(format="text")
    log = logs.get_logger()
    log.warning("attempt", destination="chat", error="no route to host", status=None)
    try:
        fail(ValueError("bad"))
    except ValueError:
        log.exception("broke")
    first, second, *trace = capsys.readouterr().err.splitlines()
    assert first[27:] == ' warning  attempt  destination=chat error="no route to host" status=-'
    assert second[27:] == " error    broke"
    assert all(row.startswith("    ") for row in trace)
    assert trace[-1].strip() == "ValueError: bad"


def test_the_level_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not said."""
    logs.configure(level="warning")
    log = logs.get_logger()
    log.info("quiet")
    log.warning("loud")
    assert line(capsys)["event"] == "loud"


@pytest.mark.parametrize("style", ["json", "text"])
def test_secrets_are_replaced_everywhere(capsys: pytest.CaptureFixture[str], style: str) -> None:
    """In values, nested ones, keys, objects, exceptions and their causes, and library lines."""
    known = frozenset[str]()
    logs.configure(format=style, redact=lambda: known)
    log = logs.get_logger()
    log.debug("nothing is known yet")
    known = frozenset({SECRET, "hunter2"})
    try:
        try:
            fail(KeyError("hunter2 in a cause"))
        except KeyError as cause:
            raise ExceptionGroup("hunter2 in a group", [ValueError(SECRET)]) from cause
    except ExceptionGroup:
        log.exception("broke", a=SECRET, b=[{"hunter2": ("hunter2",)}], c=ValueError("hunter2"))
    logging.getLogger("aiohttp.server").error("failed for %s", SECRET)
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert written.count("***") == 8


@given(text=st.text(st.characters()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_can_break_a_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Whatever a value holds, a line stays one line without control characters."""
    for style in ("text", "json"):
        logs.configure(format=style)
        logs.get_logger().info("event", value=text, nested=[text], **{"x" + text: 1})
        written = capsys.readouterr().err
        assert written.endswith("\n")
        assert written.encode("utf-8")
        assert all(character >= " " for character in written[:-1])
        assert len(written.splitlines()) == 1


def test_values_no_json_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes, infinities, sets and strange objects are said in words."""
    logs.configure()
    logs.get_logger().info("event", a=b"\xff", b=float("inf"), c={1}, d=object)
    found = line(capsys)
    assert found["a"] == "b'\\xff'"
    assert found["b"] == "inf"
    assert found["c"] == [1]
    assert found["d"] == "<class 'object'>"


def test_libraries_speak_our_way(capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings and worse of libraries become lines of ours, URLs without path, query, user."""
    logs.configure()
    logging.getLogger("alembic.runtime").info("quiet")
    library = logging.getLogger("aiohttp.client")
    library.warning("at URL('https://u:p@hooks.example.com:8443/services/T0/B0?key=1'), gone")
    found = line(capsys)
    assert (found["level"], found["event"], found["logger"]) == (
        "warning",
        "library",
        "aiohttp.client",
    )
    assert found["message"] == "at URL('https://hooks.example.com:8443/***'), gone"
    try:
        fail(ValueError("https://hooks.example.com/services/T0"))
    except ValueError:
        library.exception("failed")
    assert line(capsys)["exception"].endswith("ValueError: https://hooks.example.com/***")


def test_a_wrong_format_of_a_library_is_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """A library's log call that does not fit together is said as it stands."""
    logs.configure()
    [handler] = [each for each in logging.getLogger().handlers if "Library" in repr(each)]
    record = logging.LogRecord("lib", logging.ERROR, "x.py", 1, "wrong %d", ("format",), None)
    handler.handle(record)
    assert line(capsys)["message"] == "wrong %d"


def test_configured_twice_speaks_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A second configuration replaces the first."""
    logs.configure()
    logs.configure()
    logging.getLogger("asyncio").error("once")
    assert line(capsys)["message"] == "once"


def test_a_closed_stderr_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot be written does not end what it tells of."""
    logs.configure()

    class Gone:
        def write(self, _line: str) -> int:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stderr", Gone())
    logs.get_logger().error("unheard")
