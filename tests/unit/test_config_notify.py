"""`notify` and `rejects`: what they are where little is said, and what is kept of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from circleci_relay.config import Loaded, Notify, Rejects, load

if TYPE_CHECKING:
    from pathlib import Path

Read = Callable[[str], Loaded]
BASE = """
sources:
  signed: {path: "/hooks/${env:PART}", secrets: [made-up-secret]}
  open: {path: /hard-to-guess, unsigned: true, rejects: {max: 5, max_body: 0B, keep: 90d}}
destinations: {pager: {url: "https://pager.example.com/"}, chat: {url: "https://c.example.com/"}}
routes: {all: {to: chat}, main: {to: [pager, chat], match: {branch: main}}}
"""


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a text."""

    def read_text(text: str) -> Loaded:
        path = tmp_path / "relay.yaml"
        path.write_text(text)
        return load([path], env={"PART": "part-of-a-path", "TO": "chat"})

    return read_text


def test_nobody_is_notified_unless_it_is_said(read: Read) -> None:
    """An empty section is as none."""
    for text in (BASE, f"{BASE}notify:\n"):
        config = read(text).config
        assert config.notify is None
        assert config.masked()["notify"] is None


def test_what_is_not_said_of_notify_has_its_default(read: Read) -> None:
    """Only whom to tell must be said; null turns a rule off."""
    notify = read(f"{BASE}notify: {{to: pager}}\n").config.notify
    assert notify == Notify(to=("pager",))
    assert (notify.failing_for, notify.dead_letters, notify.silent_for) == (900.0, True, 7200.0)
    assert (notify.store_full, notify.store_size, notify.silent) == (90, None, False)
    off = "failing_for: null, store_full: null, silent_for: null"
    quiet = read(f"{BASE}notify: {{to: [pager, chat], {off}}}\n").config.notify
    assert quiet == Notify(to=("pager", "chat"), failing_for=None, store_full=None, silent_for=None)


def test_whom_to_notify_is_no_secret(read: Read) -> None:
    """A name that comes from a variable may be seen; the digest tells of the change."""
    one, other = (
        read(f"{BASE}notify: {{to: '${{env:TO}}'{more}}}\n")
        for more in ("", ", dead_letters: false")
    )
    assert one.config.masked()["notify"]["to"] == ["chat"]
    assert len({one.digest, other.digest, read(BASE).digest}) == 3


def test_each_source_keeps_its_rejects(read: Read) -> None:
    """A day, a thousand, 64 KiB; or what it says."""
    sources = read(BASE).config.sources
    assert sources["signed"].rejects == Rejects(keep=86400.0, max=1000, max_body=65536)
    assert sources["open"].rejects == Rejects(keep=90 * 86400.0, max=5, max_body=0)


def test_what_is_kept_of_a_configuration_has_no_path_that_opens_a_door(read: Read) -> None:
    """Routes stand in their order; of sources nothing that lets anyone send."""
    masked = read(f"{BASE}notify: {{to: pager}}\n").config.masked()
    assert list(json.loads(json.dumps(masked))["routes"]) == ["all", "main"]
    assert masked["sources"]["open"] == {
        "path": "***",
        "unsigned": True,
        "secrets": 0,
        "rejects": {"keep": 90 * 86400.0, "max": 5, "max_body": 0},
    }
    assert masked["sources"]["signed"]["path"] == "***"
    assert masked["sources"]["signed"]["secrets"] == 1
    assert masked["notify"]["failing_for"] == 900.0
