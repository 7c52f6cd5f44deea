"""Lists of the log: following `next` gives each row that is sought once, in order."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from circleci_relay.matching import project_names
from circleci_relay.model import Facts
from circleci_relay.store.log.deliveries import DeliveriesSought, list_deliveries
from circleci_relay.store.log.events import list_events
from circleci_relay.store.log.sought import Sought
from circleci_relay.store.log.texts import folded
from circleci_relay.store.schema import deliveries, events
from support.logbook import Written, followed, hasty, tables, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.storing import Bench

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# What LIKE, JSON, SQL, Unicode and case could each stumble over.
TEXTS = st.one_of(
    st.sampled_from(
        ["main", "MAIN", "a%b", "a_b", "!", "\\", '"', "'; --", "é", "É", "ß", "ss", "\u212a", "k"]
    ),
    st.sampled_from(["日本", "\U0001f600", "i\u0307", "\u0130", "\x7f", "\n", "a/b", "\u0390"]),
    st.text(st.sampled_from("aAkK%_!\\\"'é日\U0001f600/\n"), min_size=1, max_size=4),
)
NAMES = st.sampled_from(["main", "gh/acme/api", "github/acme/api", "acme/api", "api", "p-1"])
FACTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["ping", "job-completed"])},
    optional={
        "branch": TEXTS,
        "subject": TEXTS,
        "project": NAMES,
        "project_name": st.sampled_from(["api", "a/b"]),
        "project_id": st.just("p-1"),
        "organization": st.sampled_from(["acme", "main"]),
        "revision": st.sampled_from(["abc123", "abd", "ABC"]),
        "pipeline_number": st.integers(0, 30),
    },
)
STATES = st.sampled_from(["pending", "delivered", "dead", "replayed", "cancelled"])
ROWS = st.builds(
    Written,
    received_at=st.integers(0, 12),
    facts=FACTS,
    ascii=st.booleans(),
    source=st.sampled_from(["circleci", "other"]),
    to=st.lists(st.tuples(st.sampled_from(["chat", "pager"]), STATES), max_size=2),
    duplicates=st.integers(0, 1),
    conflicts=st.integers(0, 1),
)
QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["circleci", "other", "third"]),
        "exactly": st.one_of(
            st.fixed_dictionaries({"branch": TEXTS}),
            st.just({"type": "job-completed", "branch": "main"}),
            st.just({"pipeline_number": 1}),
        ),
        "project": st.one_of(NAMES, st.sampled_from(["acme/a/b", "bb/acme/api", "p-1"])),
        "organization": st.sampled_from(["acme", "nobody"]),
        "revision": st.sampled_from(["ab", "abc123", "ABC", "%"]),
        "text": TEXTS,
        "since": st.integers(0, 12),
        "until": st.integers(0, 13),
        "outcome": st.sampled_from(
            ["unmatched", "duplicate", "conflict", "dead", "delivered", "pending"]
        ),
        "destination": st.sampled_from(["chat", "pager", "nowhere"]),
    },
)


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    """The tables, which each example fills anew."""
    with tables() as made:
        yield made


def told(row: Written, query: Mapping[str, Any]) -> bool:
    """Whether an event is sought, as plainly as it can be said."""
    facts, here = row.facts, query.get("destination")
    states = [state for name, state in row.to if here in {None, name}]
    named = {
        name: facts.get(name) for name in ("project", "project_name", "project_id", "organization")
    }
    opened = {"pending", "dead"} & set(states)
    outcomes = {
        None: bool(states) or here is None,
        "unmatched": not row.to,
        "duplicate": row.duplicates > 0,
        "conflict": row.duplicates > 0 and row.conflicts > 0,
        "dead": "dead" in states,
        "pending": "pending" in states,
        "delivered": "delivered" in states and not opened,
    }
    if query.get("outcome") in {"unmatched", "duplicate", "conflict"}:
        states_hold = bool(states) or here is None
    else:
        states_hold = True
    text = query.get("text")
    return (
        outcomes[query.get("outcome")]
        and states_hold
        and query.get("source") in {None, row.source}
        and all(facts.get(name) == value for name, value in query.get("exactly", {}).items())
        and query.get("project") in {None, *project_names(Facts(type="", **named))}
        and query.get("organization") in {None, facts.get("organization")}
        and facts.get("revision", "").startswith(query.get("revision", ""))
        and (text is None or all(_somewhere(word, row) for word in text.split() or [text]))
        and query.get("since", 0) <= row.received_at < query.get("until", 99)
    )


def _somewhere(word: str, row: Written) -> bool:
    number = row.facts.get("pipeline_number")
    said = [*row.facts.values(), f"{row.key:026d}", f"event-{row.key}"]
    said += [] if number is None else [f"#{number}"]
    return any(folded(word) in folded(str(each)) for each in said)


@QUICK
@given(
    rows=st.lists(ROWS, max_size=14),
    later=st.lists(ROWS, max_size=3),
    query=QUERIES,
    limit=st.integers(1, 6),
    window=st.integers(1, 9),
    chunk=st.integers(1, 5),
)
@example(
    rows=[Written(received_at=1, facts={"type": "ping", "branch": "\u212a"})],
    later=[],
    query={"text": "k"},
    limit=1,
    window=1,
    chunk=1,
)
@example(
    rows=[Written(received_at=1, facts={"type": "ping", "branch": "50%"})],
    later=[],
    query={"exactly": {"branch": "50%"}},
    limit=1,
    window=1,
    chunk=1,
)
def test_every_event_that_is_sought_is_listed_once(
    engine: sa.Engine,
    rows: list[Written],
    later: list[Written],
    query: dict[str, Any],
    limit: int,
    window: int,
    chunk: int,
) -> None:
    """Whatever is sought, however small the windows are, and while new ones come in."""
    with engine.connect() as connection:
        write(connection, rows)
        coming = itertools.count(1_000)

        def page(before: Any) -> tuple[list[int], Any]:
            for row in later:
                row.received_at = 13
                write(connection, [row], first=next(coming))
            pace = hasty(window=window, chunk=chunk)
            found = list_events(connection, Sought(**query), before=before, limit=limit, pace=pace)
            assert len(found.events) <= limit
            assert found.next is None or found.cut or len(found.events) == limit
            return [event.key for event in found.events], found.next

        wanted = sorted(
            ((row.received_at, row.key) for row in rows if told(row, query)), reverse=True
        )
        found = [key for key in followed(page) if key < 1_000]
        connection.rollback()
    assert found == [key for _, key in wanted]


@QUICK
@given(
    rows=st.lists(ROWS, max_size=10),
    query=st.fixed_dictionaries(
        {},
        optional={
            "destination": st.sampled_from(["chat", "pager", "nowhere"]),
            "state": st.sampled_from(["pending", "delivered", "dead", "cancelled"]),
            "replayed": st.booleans(),
            "error": st.sampled_from(["boom", "OO", "%", "é"]),
            "since": st.integers(0, 12),
            "until": st.integers(0, 13),
        },
    ),
    limit=st.integers(1, 6),
    window=st.integers(1, 9),
    chunk=st.integers(1, 5),
)
def test_every_delivery_that_is_sought_is_listed_once(
    engine: sa.Engine,
    rows: list[Written],
    query: dict[str, Any],
    limit: int,
    window: int,
    chunk: int,
) -> None:
    """By their keys downwards, whatever is sought and by whichever way they are found."""
    with engine.connect() as connection:
        write(connection, rows)

        def page(before: Any) -> tuple[list[int], Any]:
            pace = hasty(window=window, chunk=chunk)
            sought = DeliveriesSought(**query)
            found = list_deliveries(connection, sought, before=before, limit=limit, pace=pace)
            assert {each.event for each in found.deliveries} == found.events.keys()
            return [each.key for each in found.deliveries], found.next

        found = followed(page)
        stored = connection.execute(sa.select(deliveries).order_by(deliveries.c.key.desc())).all()
        connection.rollback()
    assert found == [
        row.key
        for row in stored
        if query.get("destination") in {None, row.destination}
        and query.get("state") in {None, row.state}
        and query.get("replayed") in {None, row.replayed_by is not None}
        and query.get("error", "").lower() in (row.last_error or "").lower()
        and ("error" not in query or row.last_error is not None)
        and query.get("since", 0) <= row.created_at < query.get("until", 99)
    ]


SOME_TEXTS = (
    "main",
    "MAIN",
    "a%b",
    "a_b",
    "!",
    "\\",
    '"',
    "é",
    "É",
    "\u212a",
    "k",
    "日本",
    "\U0001f600",
)
SOME_STATES = ("pending", "delivered", "dead", "replayed", "cancelled")
SOME_QUERIES: list[dict[str, Any]] = [
    {},
    *({"text": text} for text in SOME_TEXTS),
    *({"exactly": {"branch": text}} for text in SOME_TEXTS),
    *({"outcome": name} for name in ("unmatched", "duplicate", "conflict", "delivered")),
    *({"outcome": name, "destination": "chat"} for name in ("dead", "pending", "delivered")),
    {"project": "github/acme/api", "since": 2, "until": 9},
    {"source": "other", "revision": "ab", "organization": "acme"},
]


async def test_both_databases_find_the_same(bench: Bench) -> None:
    """By small windows, whichever library wrote the facts."""
    rows = [
        Written(
            received_at=number // 2,
            facts={
                "type": "ping",
                "branch": text,
                "project": "gh/acme/api",
                "organization": "acme",
                "revision": "abc" if number % 3 else "bcd",
            },
            ascii=number % 2 == 0,
            source="other" if number % 4 == 0 else "circleci",
            to=[("chat", state)] if (state := (*SOME_STATES, "")[number % 6]) else [],
            duplicates=number % 3,
            conflicts=number % 2,
        )
        for number, text in enumerate(SOME_TEXTS * 2)
    ]
    await bench.store.do(lambda unit: write(unit.connection, rows))

    def found(connection: sa.Connection, query: dict[str, Any]) -> list[int]:
        def page(before: Any) -> tuple[list[int], Any]:
            pace = hasty(window=7, chunk=3)
            one = list_events(connection, Sought(**query), before=before, limit=4, pace=pace)
            return [event.key for event in one.events], one.next

        return followed(page)

    places = sorted(((row.received_at, row.key) for row in rows), reverse=True)
    by_key = {row.key: row for row in rows}
    wanted = [[key for _, key in places if told(by_key[key], query)] for query in SOME_QUERIES]
    looked = await bench.store.look(
        lambda connection: [found(connection, query) for query in SOME_QUERIES]
    )
    assert looked == wanted


def test_a_look_ends_after_its_time(engine: sa.Engine) -> None:
    """However rare what is sought; it says how far it came, and at least one window further."""
    with engine.connect() as connection:
        write(connection, [Written(received_at=n) for n in range(30)])
        sought = Sought(text="nowhere")
        found = list_events(connection, sought, limit=5, pace=hasty(window=10))
        connection.rollback()
    assert (found.events, found.cut, found.next) == ([], True, (20, 21))


def test_many_of_a_kind_are_walked_through(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many are dead to be sorted, the list finds them all the same."""
    monkeypatch.setattr("circleci_relay.store.log.events.FEW", 2)
    monkeypatch.setattr("circleci_relay.store.log.deliveries.FEW", 2)
    with engine.connect() as connection:
        write(connection, [Written(received_at=n, to=[("chat", "dead")]) for n in range(9)])
        pace = hasty(window=100)
        page = list_events(connection, Sought(outcome="dead"), limit=5, pace=pace)
        sought = DeliveriesSought(state="dead", replayed=False)
        other = list_deliveries(connection, sought, limit=5, pace=hasty(window=100))
        connection.rollback()
    assert [event.key for event in page.events] == [9, 8, 7, 6, 5]
    assert [each.event for each in other.deliveries] == [9, 8, 7, 6, 5]


def test_events_are_found_by_either_id(engine: sa.Engine) -> None:
    """The relay's own, or CircleCI's, of whichever source; what no database holds finds none."""
    with engine.connect() as connection:
        write(connection, [Written(received_at=1), Written(received_at=1, source="other")])
        connection.execute(sa.update(events).values(id="same"))

        def keys(name: str, **more: Any) -> list[int]:
            sought = Sought(id=name, **more)
            found = list_events(connection, sought, limit=9, pace=hasty(window=1))
            return [event.key for event in found.events]

        assert keys("same") == [2, 1]
        assert keys("same", source="other") == [2]
        assert keys(f"{1:026d}") == [1]
        assert [keys("none"), keys("a\0"), keys("\ud800")] == [[], [], []]
        connection.rollback()
