"""Whether a run held what the relay promises: nothing lost, nothing doubled, nothing changed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from circleci_relay.cli.demo.scenario import (
    FLAKY,
    FLAKY_FAILURES,
    HANGING,
    HANGING_ATTEMPTS,
    HEALTHY,
    Kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from circleci_relay.cli.demo.book import Book, Posted
    from circleci_relay.cli.receiver import Arrival

PREFIX = "circleci_relay_"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked; *wrong* names whatever did not hold."""

    checked: str
    wrong: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it held."""
        return not self.wrong


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_metrics(text: str) -> Series:
    """Every sample of a /metrics page, by name without prefix and by labels."""
    return {
        (sample.name.removeprefix(PREFIX), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of *name* over every series that carries *labels*."""
    return sum(
        value
        for (found, pairs), value in series.items()
        if found == name and labels.items() <= pairs
    )


def expected_dead(book: Book) -> int:
    """Deliveries to the receiver that hangs, which must end dead and be counted."""
    return sum(HANGING in post.owed for post in book.posts)


def gauges_are_fresh(book: Book, series: Series) -> bool:
    """Whether the background count behind the gauges was made after the last delivery ended."""
    return (
        total(series, "deliveries_dead") == expected_dead(book)
        and total(series, "deliveries_pending") == 0
    )


def judge(book: Book, metrics: str) -> list[Finding]:
    """Hold what arrived, and what the server says of itself, against what was posted."""
    series = parse_metrics(metrics)
    return [
        _answers(book, Kind.NEW),
        _answers(book, Kind.DUPLICATE),
        _answers(book, Kind.FORGED),
        _accepted_once(book),
        _bytes(book),
        _flaky(book),
        _hanging(book),
        _counted(book, series),
    ]


def orderly(exit_code: int) -> Finding:
    """How the server ended when it was asked to stop."""
    wrong = () if exit_code == 0 else (f"it ended with code {exit_code}",)
    return Finding("the server stopped in good order", wrong)


def _answers(book: Book, kind: Kind) -> Finding:
    status, says = {
        Kind.NEW: (202, "new events were accepted (202)"),
        Kind.DUPLICATE: (200, "duplicate was known again (200)"),
        Kind.FORGED: (401, "forgery was turned away (401)"),
    }[kind]
    posts = [post for post in book.posts if post.step.kind is kind]
    return Finding(f"{len(posts)} {says}", tuple(_wrong_answers(book, posts, status)))


def _wrong_answers(book: Book, posts: Iterable[Posted], status: int) -> Iterable[str]:
    for post in posts:
        got = post.answer.status if post.answer is not None else None
        if got != status:
            yield f"{post.step.name}: {got or 'no answer'} instead of {status}"
        elif status in {200, 202} and _said_duplicate(post) != (status == 200):  # noqa: PLR2004
            yield f"{post.step.name}: wrongly said whether it is a duplicate"
        elif post.step.kind is Kind.DUPLICATE and not _same_event(book, post):
            yield f"{post.step.name}: was given an event of its own"


def _said_duplicate(post: Posted) -> bool | None:
    try:
        said = json.loads(post.answer.text if post.answer is not None else "")["duplicate"]
    except (ValueError, LookupError, TypeError):
        return None
    return said if isinstance(said, bool) else None


def _same_event(book: Book, post: Posted) -> bool:
    """Whether the duplicate was answered with the id of the event it repeats."""
    return any(
        other.event == post.event
        for other in book.posts
        if other is not post and other.step.body == post.step.body
    )


def _owed(book: Book, destination: str) -> dict[str, Posted]:
    """What *destination* ought to get, by webhook-id."""
    return {f"{post.event}-{destination}": post for post in book.posts if destination in post.owed}


def _taken(arrivals: Iterable[Arrival]) -> Counter[str | None]:
    """How often a receiver accepted each webhook-id."""
    return Counter(
        arrival.webhook_id
        for arrival in arrivals
        if arrival.answered is not None and 200 <= arrival.answered < 300  # noqa: PLR2004
    )


def _accepted_once(book: Book) -> Finding:
    wrong, count = [], 0
    for destination in (HEALTHY, FLAKY):
        owed, taken = _owed(book, destination), _taken(book.arrivals[destination])
        count += len(owed)
        wrong += [
            f"{post.step.name} was lost at {destination}"
            for webhook_id, post in owed.items()
            if not taken[webhook_id]
        ]
        wrong += [
            f"{destination} accepted {webhook_id} {times} times"
            for webhook_id, times in taken.items()
            if times > 1
        ]
        wrong += [
            f"{destination} got {stray}, which no route sent"
            for stray in taken
            if stray not in owed
        ]
    return Finding(
        f"{count} deliveries arrived where their routes chose, each exactly once", tuple(wrong)
    )


def _bytes(book: Book) -> Finding:
    wrong, count = [], 0
    for destination in (HEALTHY, FLAKY, HANGING):
        owed = _owed(book, destination)
        for arrival in book.arrivals[destination]:
            count += 1
            post = owed.get(arrival.webhook_id or "")
            if post is not None and arrival.body != post.step.body:
                wrong.append(f"{post.step.name} reached {destination} with other bytes")
            if not arrival.verified:
                wrong.append(f"{destination} could not verify {arrival.webhook_id}")
    return Finding(
        f"{count} arrivals were byte for byte what was posted, CircleCI's signature verified",
        tuple(wrong),
    )


def _tries(book: Book, destination: str) -> Mapping[str, list[str | None]]:
    """The relay-attempt numbers that *destination* saw, by webhook-id."""
    tries: dict[str, list[str | None]] = {webhook_id: [] for webhook_id in _owed(book, destination)}
    for arrival in book.arrivals[destination]:
        tries.setdefault(arrival.webhook_id or "", []).append(arrival.attempt)
    return tries


def _retried(book: Book, destination: str, attempts: int, checked: str) -> Finding:
    wanted = [str(number) for number in range(1, attempts + 1)]
    tries = _tries(book, destination)
    return Finding(
        f"{len(tries)} {checked}",
        tuple(
            f"{destination} saw attempts {seen} of {webhook_id}"
            for webhook_id, seen in tries.items()
            if seen != wanted
        ),
    )


def _flaky(book: Book) -> Finding:
    return _retried(
        book,
        FLAKY,
        FLAKY_FAILURES + 1,
        f"deliveries reached {FLAKY} at attempt {FLAKY_FAILURES + 1}, under one webhook-id",
    )


def _hanging(book: Book) -> Finding:
    tried = _retried(
        book,
        HANGING,
        HANGING_ATTEMPTS,
        f"deliveries to {HANGING}, which hangs, were given up as the file says, and are kept",
    )
    alive = tuple(
        f"{post.step.name} is not dead at {HANGING}"
        for post in _owed(book, HANGING).values()
        if book.outcome(post.event or "", HANGING) != "dead"
    )
    return Finding(tried.checked, tried.wrong + alive)


def _counted(book: Book, series: Series) -> Finding:
    kinds = Counter(post.step.kind for post in book.posts)
    owed = sum(len(post.owed) for post in book.posts)
    dead = expected_dead(book)
    wanted: list[tuple[str, dict[str, str], int]] = [
        ("events_total", {"result": "accepted"}, kinds[Kind.NEW]),
        ("events_total", {"result": "duplicate"}, kinds[Kind.DUPLICATE]),
        ("events_total", {"result": "unauthorized"}, kinds[Kind.FORGED]),
        ("deliveries_total", {"result": "delivered"}, owed - dead),
        ("deliveries_total", {"result": "dead"}, dead),
        ("deliveries_pending", {}, 0),
        ("deliveries_dead", {}, dead),
    ]
    wrong = []
    for name, labels, count in wanted:
        got = total(series, name, **labels)
        if got != count:
            shown = ",".join(f"{key}={value}" for key, value in labels.items())
            wrong.append(f"{name}{{{shown}}} is {got:g} instead of {count}")
    return Finding("the metrics say the same, and nothing is pending", tuple(wrong))
