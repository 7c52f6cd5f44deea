"""Where a store under random use lies: emptied quickly, and looked into behind its back."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from circleci_relay.clock import ManualClock
from circleci_relay.store import Store
from support.storing import SQLITE, RecordingLanes, rows_in

Row = dict[str, Any]

_EVENTS = (
    "SELECT e.public_id, e.id, e.received_at, e.facts, e.history, e.duplicates, e.conflicts, b.body"
    " FROM events e LEFT JOIN bodies b ON b.event = e.key"
)
_DELIVERIES = (
    "SELECT d.key, e.public_id || '-' || d.destination AS webhook_id, d.state, d.due_at,"
    " d.attempts, d.token, d.created_at, d.aged_from, d.settled_at, d.reason, d.leader"
    " FROM deliveries d LEFT JOIN events e ON e.key = d.event"
)
_ATTEMPTS = "SELECT delivery, number, result FROM attempts"
_TABLES = (
    "events, bodies, deliveries, attempts, lines, gatherings, destinations, configs, minutes,"
    " quarters"
)


@dataclass(frozen=True)
class Found:
    """All that is in a database."""

    events: dict[str, Row]  #: by public id
    deliveries: dict[str, Row]  #: by webhook id
    attempts: dict[str, dict[int, str]]  #: their results, by webhook id and number


class Ground(ABC):
    """A database for one example after another."""

    replicas = 1  #: how many stores may be open at once
    voids = True  #: whether opening voids the leases of all before

    url = ""

    @abstractmethod
    def clear(self) -> None:
        """Empty it; no store is open."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""

    def rows(self, sql: str) -> list[Row]:
        """Look into it, also while stores have it open."""
        return rows_in(self.url, sql)

    def look(self) -> Found:
        """Return all that is there."""
        events: dict[str, Row] = {}
        for row in self.rows(_EVENTS):
            row["change"] = json.loads(row.pop("facts")).get("change")
            row["history"] = json.loads(row["history"] or "null")
            assert events.setdefault(row.pop("public_id"), row) is row, "an event twice"
        deliveries: dict[str, Row] = {}
        keys = {}
        for row in self.rows(_DELIVERIES):
            webhook_id = keys[row.pop("key")] = row.pop("webhook_id")
            assert deliveries.setdefault(webhook_id, row) is row, "a delivery twice"
        for row in deliveries.values():
            row["leader"] = keys.get(row["leader"])
        attempts: dict[str, dict[int, str]] = defaultdict(dict)
        for row in self.rows(_ATTEMPTS):
            assert row["delivery"] in keys, "an attempt of a delivery that is gone"
            attempts[keys[row["delivery"]]][row["number"]] = row["result"]
        return Found(events, deliveries, attempts)


class SqliteGround(Ground):
    """A new file for each example, with the tables in it."""

    def __init__(self, folder: Path) -> None:
        # What is lost with the machine's power is another test's matter: no disk is asked.
        memory = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
        self._folder = Path(
            tempfile.mkdtemp(prefix="relay-store-", dir=memory if memory.is_dir() else folder)
        )
        self._fresh = self._folder / "fresh.db"
        asyncio.run(_make(f"{SQLITE}{self._fresh}"))

    def clear(self) -> None:
        """See `Ground`."""
        folder = self._folder / "example"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(self._fresh, folder / "relay.db")
        self.url = f"{SQLITE}{folder / 'relay.db'}"

    def close(self) -> None:
        """See `Ground`."""
        shutil.rmtree(self._folder)


class PostgresqlGround(Ground):
    """A database with the tables in it, for two stores at once."""

    replicas = 2
    voids = False

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def clear(self) -> None:
        """See `Ground`."""
        self._connection.execute(f"TRUNCATE {_TABLES}".encode())

    def close(self) -> None:
        """See `Ground`."""
        self._connection.close()

    def rows(self, sql: str) -> list[Row]:
        """See `Ground`; over one connection, since it is asked at every step."""
        return self._connection.execute(sql.encode()).fetchall()


async def _make(url: str) -> None:
    await (await Store.open(url, clock=ManualClock(), lanes=RecordingLanes())).close()
