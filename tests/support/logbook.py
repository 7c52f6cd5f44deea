"""Rows for the log's tables, written straight into them, and small windows to walk them by."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa

from circleci_relay.store.encode import text
from circleci_relay.store.log.windows import Pace
from circleci_relay.store.schema import bodies, deliveries, events, metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

T = TypeVar("T")


@dataclass(kw_only=True)
class Written:
    """An event as a test has it written, and its deliveries' states by destination."""

    received_at: int
    facts: Mapping[str, Any] = field(default_factory=lambda: {"type": "ping"})
    ascii: bool = False  #: by the standard library, which escapes what is not ASCII
    source: str = "circleci"
    to: Sequence[tuple[str, str]] = ()
    duplicates: int = 0
    conflicts: int = 0
    key: int = 0


@contextmanager
def tables() -> Iterator[sa.Engine]:
    """The store's tables and indexes in memory."""
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    metadata.create_all(engine)
    yield engine
    engine.dispose()


def write(connection: sa.Connection, rows: Sequence[Written], *, first: int = 1) -> None:
    """Put *rows* into the tables, with keys from *first* on in their order."""
    deliveries_key = itertools.count(first * 100)
    for key, row in enumerate(rows, first):
        row.key = key
        stored = json.dumps(row.facts, separators=(",", ":")) if row.ascii else text(row.facts)
        connection.execute(
            sa.insert(events).values(
                key=key,
                public_id=f"{key:026d}",
                source=row.source,
                id=f"id-{key}",
                type="t",
                received_at=row.received_at,
                body_hash=b"",
                facts=stored,
                routes='["all"]',
                deliveries=len(row.to),
                duplicates=row.duplicates,
                conflicts=row.conflicts,
            )
        )
        connection.execute(sa.insert(bodies).values(event=key, body=b"{}", headers="[]"))
        for destination, state in row.to:
            connection.execute(
                sa.insert(deliveries).values(
                    key=next(deliveries_key),
                    event=key,
                    destination=destination,
                    state="dead" if state == "replayed" else state,
                    replayed_by=1 if state == "replayed" else None,
                    created_at=row.received_at,
                    aged_from=row.received_at,
                    settled_at=row.received_at,
                    last_error="Boom" if state in {"dead", "replayed"} else None,
                )
            )


def hasty(*, window: int, chunk: int = 256) -> Pace:
    """A pace that is over after one window of that size."""
    ticks = itertools.count()
    return Pace(budget=0.5, monotonic=lambda: float(next(ticks)), window=window, chunk=chunk)


def followed(page: Callable[[Any], tuple[list[T], Any]], *, most: int = 10_000) -> list[T]:
    """All that *page* gives from the beginning on, as its `next` says."""
    found: list[T] = []
    before = None
    for _ in range(most):
        rows, before = page(before)
        found += rows
        if before is None:
            return found
    raise AssertionError("it goes on for ever")
