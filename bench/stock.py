"""
Databases with a past: a million events delivered, or a million that wait.

The relay itself stores and delivers a few; the rest are copies made by the database, so that
every column is as the relay writes it. Each copy has an id of its own, in no order, also in
its body, and instants spread over the past days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.databases import SQLITE
from bench.run import Plan, measure
from bench.wire import MARK, SPACE, TURN

if TYPE_CHECKING:
    from bench.databases import Database
    from bench.stage import Stage
    from bench.subjects import Subject

TEMPLATE = 200  #: events the relay stores itself
CHUNK = 25  #: copies of these that one statement makes
DAY = 86_400_000_000  #: microseconds
DELIVERED_OVER = 13 * DAY  #: less than `store.keep`, so that nothing is let go of meanwhile
PENDING_OVER = DAY


@dataclass(frozen=True, slots=True)
class Past:
    """What a database holds."""

    events: int
    fan_out: int
    pending: bool  #: whether nothing is delivered yet

    @property
    def deliveries(self) -> int:
        """How many there are in all."""
        return self.events * self.fan_out


async def stocked(stage: Stage, subject: Subject, past: Past) -> Database:
    """
    A database of the *subject*'s with that *past*, made once for all suites.

    What a run leaves in it stays: a little more that is stored, a little less that waits.
    """
    key = (subject.database, past)
    if key not in stage.stock:
        with stage.doing(f"{subject.name}: making {past.events:,} events"):
            stage.stock[key] = await _make(stage, subject, past)
    return stage.stock[key]


async def _make(stage: Stage, subject: Subject, past: Past) -> Database:
    place = stage.place / f"stock-{len(stage.stock)}"
    place.mkdir()
    database = stage.database(subject.database, place)
    assert database is not None
    own = min(TEMPLATE, past.events)
    plan = Plan(fan_out=past.fan_out, events=own, paused=past.pending)
    with stage.folder() as folder:
        figures = await measure(subject, plan, database=database, place=folder)
    stage.complain("making a database", figures.faults)
    if copies := past.events // own - 1:
        span = PENDING_OVER if past.pending else DELIVERED_OVER
        database.script(multiply(database, copies, span=span))
    database.settle()
    return database


def multiply(database: Database, copies: int, *, span: int) -> list[str]:
    """Statements that make so many *copies* of all events, over a *span* of microseconds."""
    [[event_step]] = database.rows("SELECT max(key) + 1 FROM events")
    [[delivery_step]] = database.rows("SELECT max(key) + 1 FROM deliveries")
    [[count]] = database.rows("SELECT count(*) FROM events")
    number = f"n + i * {count}"
    event = f"event + i * {event_step}"
    earlier = f"({copies + 1} - i) * {span // (copies + 1)}"
    changed = {
        "events": {
            "key": f"key + i * {event_step}",
            "public_id": _padded(database, number, 26),
            "id": _id(database, number),
            "received_at": f"received_at - {earlier}",
        },
        "bodies": {
            "event": event,
            "body": _replaced(database, "body", "id", _id(database, number)),
        },
        "deliveries": {
            "key": f"key + i * {delivery_step}",
            "event": event,
            "due_at": f"due_at - {earlier}",
            "created_at": f"created_at - {earlier}",
            "aged_from": f"aged_from - {earlier}",
            "settled_at": f"settled_at - {earlier}",
        },
        "attempts": {
            "delivery": f"delivery + i * {delivery_step}",
            "started_at": f"started_at - {earlier}",
        },
    }
    inserts = {table: _insert(database, table, values) for table, values in changed.items()}
    return [
        _COPIES.format(copies=copies),
        *_ORIGINALS,
        *(
            f"{insert} WHERE i BETWEEN {first} AND {first + CHUNK - 1} ORDER BY i, {key}"
            for first in range(1, copies + 1, CHUNK)
            for key, insert in inserts.values()
        ),
        f"UPDATE counters SET next = {max(event_step, delivery_step) * (copies + 2)}",  # noqa: S608
    ]


_COPIES = """
    CREATE TEMP TABLE copies AS
    WITH RECURSIVE count(i) AS (
        SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM count WHERE i < {copies}
    )
    SELECT i FROM count
"""
_ORIGINALS = (
    """
    CREATE TEMP TABLE old_events AS
    SELECT events.*, row_number() OVER (ORDER BY key) - 1 AS n FROM events
    """,
    """
    CREATE TEMP TABLE old_bodies AS
    SELECT bodies.*, id, n FROM bodies JOIN old_events ON old_events.key = bodies.event
    """,
    "CREATE TEMP TABLE old_deliveries AS SELECT * FROM deliveries",
    "CREATE TEMP TABLE old_attempts AS SELECT * FROM attempts",
)


def _insert(database: Database, table: str, changed: dict[str, str]) -> tuple[str, str]:
    """The table's key, and a statement that wants a condition and an order."""
    names = _columns(database, table)
    values = ", ".join(changed.get(name, name) for name in names)
    return names[0], (
        f"INSERT INTO {table} ({', '.join(names)})"  # noqa: S608 - made of names and numbers
        f" SELECT {values} FROM copies CROSS JOIN old_{table}"
    )


def _columns(database: Database, table: str) -> list[str]:
    query = (
        f"SELECT name FROM pragma_table_info('{table}')"  # noqa: S608
        if database.kind == SQLITE
        else "SELECT column_name FROM information_schema.columns"  # noqa: S608
        f" WHERE table_schema = 'public' AND table_name = '{table}' ORDER BY ordinal_position"
    )
    return [name for (name,) in database.rows(query)]


def _id(database: Database, number: str) -> str:
    """What `wire.event_id` makes, in SQL."""
    turned = f"((({number}) * {TURN}) & {SPACE - 1})"
    high, low, mark = f"({turned} >> 16)", f"({turned} & 65535)", MARK.decode()
    if database.kind == SQLITE:
        return f"printf('%08x-%04x{mark}', {high}, {low})"
    return f"lpad(to_hex({high}), 8, '0') || '-' || lpad(to_hex({low}), 4, '0') || '{mark}'"


def _padded(database: Database, number: str, width: int) -> str:
    if database.kind == SQLITE:
        return f"printf('%0{width}d', {number})"
    return f"lpad(({number})::text, {width}, '0')"


def _replaced(database: Database, body: str, old: str, new: str) -> str:
    if database.kind == SQLITE:
        return f"CAST(replace(CAST({body} AS TEXT), {old}, {new}) AS BLOB)"
    return f"convert_to(replace(convert_from({body}, 'UTF8'), {old}, {new}), 'UTF8')"
