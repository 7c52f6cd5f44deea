"""The demo's verdict: a run that held everything passes, and whatever did not is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from circleci_relay.circleci import samples
from circleci_relay.cli.demo import scenario
from circleci_relay.cli.demo.book import Book, Posted
from circleci_relay.cli.demo.scenario import FLAKY, HANGING, HEALTHY, Forecaster, Kind
from circleci_relay.cli.demo.verdict import gauges_are_fresh, judge, orderly, parse_metrics
from circleci_relay.cli.posting import Answer
from circleci_relay.cli.receiver import Arrival
from circleci_relay.config import load
from circleci_relay.model import Change

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from circleci_relay.routing import Table

ANSWERS = {
    Kind.NEW: (202, '{{"event": "{0}", "duplicate": false}}'),
    Kind.DUPLICATE: (200, '{{"event": "{0}", "duplicate": true}}'),
    Kind.FORGED: (401, '{{"error": "the signature does not match"}}'),
}
ENDINGS: dict[str, list[tuple[int | None, str]]] = {
    HEALTHY: [(200, "delivered")],
    FLAKY: [(503, "retry"), (503, "retry"), (200, "delivered")],
    HANGING: [(None, "retry"), (None, "dead")],
}


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """The demo's own routes."""
    (tmp_path / "secret").write_text("a secret of the run")
    path = tmp_path / "relay.yaml"
    urls = dict.fromkeys((HEALTHY, FLAKY, HANGING), "http://127.0.0.1:9")
    path.write_text(scenario.relay_yaml({"listen": 1, "ops": 2, "admin": 3}, urls))
    loaded = load([path])
    assert loaded.warnings == ()
    return loaded.config.table


@pytest.fixture
def book(table: Table) -> Book:
    """A run in which everything went as it should."""
    book, forecast = Book(), Forecaster(table)
    events: dict[bytes, str] = {}
    for number, step in enumerate(scenario.steps()):
        posted = Posted(step=step, forecast=forecast(step.body) if step.kind is Kind.NEW else None)
        book.posts.append(posted)
        event = events.setdefault(step.body, f"EVENT{number}")
        status, text = ANSWERS[step.kind]
        book.answered(posted, Answer(status=status, text=text.format(event), seconds=0.01))
        for destination in posted.owed:
            deliver(book, posted, destination)
    return book


def deliver(book: Book, posted: Posted, destination: str) -> None:
    """Note the attempts at one destination, as its receiver and the server's log tell of them."""
    for number, (status, then) in enumerate(ENDINGS[destination], start=1):
        arrival = Arrival(
            time=datetime.now(UTC),
            method="POST",
            path="/",
            webhook_id=f"{posted.event}-{destination}",
            attempt=str(number),
            type="ping",
            id="1",
            body=posted.step.body,
            verified=True,
            answered=status,
        )
        book.arrived(destination)(arrival)
        line = {
            "event": "attempt",
            "event_id": posted.event,
            "destination": destination,
            "attempt": number,
            "result": "timeout" if status is None else "ok",
            "status": status,
            "then": then,
            "retry_in_s": None,
        }
        book.logged(json.dumps(line))


def metrics(book: Book) -> str:
    """What /metrics says of a run that went as it should."""
    owed = [name for post in book.posts for name in post.owed]
    dead = owed.count(HANGING)
    events = 'circleci_relay_events_total{source="circleci",type="ping",result='
    deliveries = 'circleci_relay_deliveries_total{destination="all",result='
    return "\n".join(
        [
            "# TYPE circleci_relay_events_total counter",
            f'{events}"accepted"}} {len(book.posts) - 2}',
            f'{events}"duplicate"}} 1',
            f'{events}"unauthorized"}} 1',
            "# TYPE circleci_relay_deliveries_total counter",
            f'{deliveries}"delivered"}} {len(owed) - dead}',
            f'{deliveries}"dead"}} {dead}',
            "# TYPE circleci_relay_deliveries_pending gauge",
            'circleci_relay_deliveries_pending{destination="pager"} 0',
            "# TYPE circleci_relay_deliveries_dead gauge",
            f'circleci_relay_deliveries_dead{{destination="pager"}} {dead}',
            "",
        ]
    )


def test_the_scenario_shows_what_it_promises(book: Book) -> None:
    """Every sample, one duplicate, one forgery, all three receivers, a line broken and fixed."""
    kinds = [post.step.kind for post in book.posts]
    changes = [post.forecast.change for post in book.posts if post.forecast is not None]

    assert {post.step.name for post in book.posts} >= set(samples.names())
    assert (kinds.count(Kind.DUPLICATE), kinds.count(Kind.FORGED)) == (1, 1)
    assert {Change.BROKEN, Change.FIXED, Change.STILL_BROKEN, None} <= set(changes)
    assert {name for post in book.posts for name in post.owed} == {HEALTHY, FLAKY, HANGING}


def test_a_good_run_passes(book: Book) -> None:
    """Nothing is found wrong where everything went as it should."""
    assert book.settled()
    assert gauges_are_fresh(book, parse_metrics(metrics(book)))
    assert [wrong for finding in judge(book, metrics(book)) for wrong in finding.wrong] == []
    assert orderly(0).ok


def lose(book: Book) -> None:
    """One arrival goes missing."""
    del book.arrivals[HEALTHY][3]


def double(book: Book) -> None:
    """One delivery is accepted twice."""
    book.arrivals[HEALTHY].append(book.arrivals[HEALTHY][3])


def stray(book: Book) -> None:
    """Something arrives that no route sent."""
    first = book.arrivals[HEALTHY][0]
    book.arrivals[FLAKY].append(replace(first, webhook_id="EVENT0-chat"))


def alter(book: Book) -> None:
    """The bytes change on the way."""
    book.arrivals[FLAKY][0] = replace(book.arrivals[FLAKY][0], body=b"{}")


def unsign(book: Book) -> None:
    """The signature no longer fits."""
    book.arrivals[HEALTHY][0] = replace(book.arrivals[HEALTHY][0], verified=False)


def skip(book: Book) -> None:
    """A retry too few."""
    del book.arrivals[FLAKY][1]


def revive(book: Book) -> None:
    """A delivery that must be dead is not."""
    key = next(key for key in book.attempts if key[1] == HANGING)
    book.attempts[key].pop()


def answer(
    kind: Kind, status: int, text: str = '{"event": "X", "duplicate": false}'
) -> Callable[[Book], None]:
    """The first post of a kind gets another answer."""

    def change(book: Book) -> None:
        post = next(post for post in book.posts if post.step.kind is kind)
        post.answer = Answer(status=status, text=text, seconds=0)
        post.event = "X"

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose, "was lost at warehouse"),
        (double, "2 times"),
        (stray, "which no route sent"),
        (alter, "with other bytes"),
        (unsign, "could not verify"),
        (skip, "saw attempts ['1', '3']"),
        (revive, "is not dead at pager"),
        (answer(Kind.NEW, 503), "503 instead of 202"),
        (answer(Kind.DUPLICATE, 202), "202 instead of 200"),
        (answer(Kind.DUPLICATE, 200), "wrongly said"),
        (answer(Kind.DUPLICATE, 200, '{"duplicate": true}'), "an event of its own"),
        (answer(Kind.FORGED, 202), "202 instead of 401"),
    ],
)
def test_whatever_went_wrong_is_named(book: Book, spoil: Callable[[Book], None], said: str) -> None:
    """Each way to break a promise fails the run, in words that say which."""
    page = metrics(book)
    spoil(book)

    assert said in "\n".join(wrong for finding in judge(book, page) for wrong in finding.wrong)


@pytest.mark.parametrize(
    "name", ["events_total", "deliveries_total", "deliveries_pending", "deliveries_dead"]
)
def test_the_metrics_must_agree(book: Book, name: str) -> None:
    """The server's own count is held against what was seen."""
    page = metrics(book).replace(f"# TYPE circleci_relay_{name}", f"# TYPE other_{name}")
    page = page.replace(f"circleci_relay_{name}{{", f'circleci_relay_{name}{{more="",')
    lines = [line + "1" if f"_{name}{{" in line else line for line in page.splitlines()]

    wrong = judge(book, "\n".join([*lines, ""]))[-1].wrong

    assert any(name in text for text in wrong)


def test_a_server_that_ends_badly_is_named() -> None:
    """An exit code other than 0 fails the run."""
    assert orderly(-9).wrong == ("it ended with code -9",)


def test_log_lines_that_are_no_json_are_kept(book: Book) -> None:
    """A traceback is shown to whoever looks for the reason."""
    assert book.logged("Traceback (most recent call last):") is None
    assert book.said == ["Traceback (most recent call last):"]
