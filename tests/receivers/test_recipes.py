"""docs/recipes/ and the receivers' guide: what they show is what is sent, and what runs."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from circleci_relay.circleci import samples
from circleci_relay.cli.claims import Past, claim_of, told_together
from circleci_relay.cli.shown import unsigned
from circleci_relay.clock import SystemClock
from circleci_relay.config import load
from circleci_relay.delivery.compose import Composer, Surroundings
from support.documents import fenced, with_a_source

if TYPE_CHECKING:
    from circleci_relay.delivery.transport import Message

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
GUIDE = ROOT / "docs" / "how-to" / "write-a-receiver.md"
EXAMPLES = ROOT / "examples" / "receivers"


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of *language*."""
    return [block.text for block in fenced(page) if block.language == language]


def configurations(page: Path) -> list[str]:
    """Return what is a whole relay.yaml, or one without its sources."""
    found = [block for block in blocks(page, "yaml") if "\ndestinations:" in f"\n{block}"]
    return [with_a_source(block) for block in found]


def messages(text: str, folder: Path, sample: str) -> dict[str, Message]:
    """Return what each destination of a relay.yaml would be sent of *sample*."""
    file = folder / "relay.yaml"
    file.write_text(text, encoding="utf-8")
    loaded = load([file], env={}, secrets=False)
    assert loaded.warnings == ()
    now = SystemClock().now()
    told = told_together([samples.load(sample)], source="circleci", past=Past(), now=now)
    composed = {}
    for name, destination in loaded.config.destinations.items():
        composer = Composer(unsigned(destination), clock=SystemClock(), surroundings=Surroundings())
        composed[name] = composer.compose(claim_of(told, name, signature="v1=0"))
    return composed


@pytest.mark.parametrize("page", [*RECIPES, GUIDE], ids=lambda page: page.stem)
def test_every_destination_of_a_page_can_be_told(page: Path, tmp_path: Path) -> None:
    """Each relay.yaml of a page loads, and makes a message for each of its destinations."""
    sample = "gh_oauth_job_failed" if page.stem == "pagerduty" else "gh_oauth_workflow_failed"
    found = [messages(text, tmp_path, sample) for text in configurations(page)]
    assert found
    assert all(message.body for each in found for message in each.values())


def test_the_bodies_of_deploys_are_as_shown(tmp_path: Path) -> None:
    """The page on deploys shows the very bodies that its templates make."""
    page = ROOT / "docs" / "recipes" / "trigger-a-deploy.md"
    sent = [
        messages(text, tmp_path, "gh_oauth_workflow_success")["deploy"].body
        for text in configurations(page)
    ]
    shown = [json.loads(text) for text in blocks(page, "json")]
    assert shown == [json.loads(body) for body in (sent[0], sent[1], sent[3])]
    assert sent[2] == samples.load("gh_oauth_workflow_success")


@pytest.mark.parametrize(
    ("language", "file"), [("python", "python/receiver.py"), ("js", "node/receiver.mjs")]
)
def test_the_guide_shows_the_code_that_runs(language: str, file: str) -> None:
    """Each block of code in the guide stands in the example, word for word."""
    code = (EXAMPLES / file).read_text("utf-8")
    shown = blocks(GUIDE, language)
    assert len(shown) >= 3
    for block in shown:
        assert block in code


def test_rows_that_come_twice_are_kept_once() -> None:
    """The warehouse's tables, and its statement for SQLite, which PostgreSQL has as MERGE."""
    tables, _, once = blocks(ROOT / "docs" / "recipes" / "warehouse.md", "sql")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(tables)
        for name in ("first", "second", "first"):
            row = (name, "ping", "2026-03-02 09:00:00", None, "{}", "2026-03-02 09:00:01")
            database.execute("INSERT INTO ci_landing VALUES (?, ?, ?, ?, ?, ?)", row)
        for _ in range(2):
            database.executescript(once)
        assert database.execute("SELECT count(*) FROM ci_events").fetchall() == [(2,)]
