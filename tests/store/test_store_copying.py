"""Copying a whole store: from either kind to either, cut short anywhere, found to be the same."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.errors import StoreRefused
from circleci_relay.model import SECOND, Decision, Quiet, Reason, State
from circleci_relay.store import admin, quiet
from circleci_relay.store.bulk import batches
from circleci_relay.store.copying import _Run, copy
from circleci_relay.store.place import database_of
from circleci_relay.store.schema import (
    alerts,
    audit,
    bodies,
    jobs,
    metadata,
    quarters,
    rejects,
)
from circleci_relay.store.viewing import viewed
from support.postgres import name_in
from support.storing import LEASE, MAIN, SQLITE, opened, refusal, rows_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from circleci_relay.store.copying import Compared, Progress
    from circleci_relay.store.database import Database
    from circleci_relay.store.unit import Unit
    from support.postgres import Postgres

DEAD = Decision(state=State.DEAD, reason=Reason.REFUSED)


class CutError(Exception):
    """What ends a copy that is under way in this process."""


Place = Callable[..., str]


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> dict[str, str]:
    """One database of each kind with something of everything there can be, to be copied."""
    made = {
        "sqlite": f"{SQLITE}{tmp_path_factory.mktemp('template') / 'relay.db'}",
        "postgresql": postgres.database(),
    }

    async def fill() -> None:
        for url in made.values():
            await filled(url)

    with ThreadPoolExecutor(1) as thread:  # of its own, since a loop may be set up here
        thread.submit(asyncio.run, fill()).result()
    return made


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres, templates: dict[str, str]) -> Place:
    """Names a database of a kind: one that holds nothing, not even tables, or a full one."""
    number = itertools.count()

    def named(kind: str, *, full: bool = False) -> str:
        if kind == "postgresql":
            return postgres.database(
                template=name_in(templates[kind]) if full else "template1",
            )
        path = tmp_path / f"{next(number)}.db"
        if full:
            shutil.copyfile(templates[kind].removeprefix(SQLITE), path)
        return f"{SQLITE}{path}"

    return named


@pytest.fixture(params=["sqlite-postgresql", "postgresql-sqlite"])
def both(request: pytest.FixtureRequest, place: Place) -> tuple[str, str]:
    """A full one and an empty one: there and back."""
    source, target = request.param.split("-")
    return place(source, full=True), place(target)


async def filled(url: str) -> None:
    """Put into the store at *url* something of everything there can be."""
    async with opened(url) as bench:
        await bench.store.take_up(["chat", "mail"], digest="d1", routes=[{"name": "all"}])
        for number in range(12):
            good, body = number % 3 > 0, bytes(range(256)) * 4 + b"%d" % number
            await bench.accept("chat", "mail", id=f"e{number}", body=body, line=MAIN, good=good)
        await bench.accept(id="unmatched")
        await bench.accept("mail", quiet=Quiet(group="run", wait=30 * SECOND, most=5))
        await bench.accept("chat", "mail", id="e0", body=b"other bytes")
        done, dead, *rest = await bench.claim("chat", limit=5)
        await bench.settle(done)
        await bench.settle(dead, DEAD, error="it said \0 nothing é", excerpt=b"\0\xff no")
        bench.store.release(rest[:1])
        await bench.store.flush()
        await bench.store.do(repaired)


def repaired(unit: Unit) -> None:
    """A row in each table that only an operator's doings, or a stranger's, fill."""
    made: dict[type[Any], Any] = {
        sa.Text: "it said \u00e9",
        sa.LargeBinary: b"\0\xff",
        sa.Boolean: True,
        sa.BigInteger: 2**40,
    }
    for table in (quarters, jobs, rejects, audit, alerts):
        row = {column.name: made[type(column.type)] for column in table.columns}
        unit.connection.execute(sa.insert(table), [row])


async def copied(source: str, target: str, **options: Any) -> Sequence[Compared]:
    """Copy off the event loop, as the command does without one."""
    return await asyncio.to_thread(copy, source, target, **options)


def cut(after: int) -> Callable[[Progress], None]:
    """Return what ends a copy at the so many-th thing it tells."""
    left = itertools.count(after, -1)

    def tell(_: Progress) -> None:
        if next(left) <= 0:
            raise CutError

    return tell


async def test_everything_is_there_and_goes_on_there(both: tuple[str, str]) -> None:
    """What waited is delivered, what is a duplicate is known, keys are not given twice."""
    source, target = both
    compared = await copied(source, target)
    assert all(each.equal for each in compared)
    assert {each.table for each in compared} == set(metadata.tables)
    assert {each.table for each in compared if not each.source.rows} == set()
    async with opened(target) as bench:
        assert (await bench.accept("chat", id="e3")).duplicate
        assert not (await bench.accept("chat", id="new")).duplicate
        bench.clock.advance(LEASE)
        assert len(await bench.claim("chat", limit=100)) == 11
        assert len(await bench.claim("mail", limit=100)) == 13


async def test_there_and_back_is_the_same(place: Place) -> None:
    """SQLite to PostgreSQL to SQLite: the digests do not depend on the kind."""
    first, second, third = place("sqlite", full=True), place("postgresql"), place("sqlite")
    there = await copied(first, second)
    back = await copied(second, third)
    assert [each.source for each in there] == [each.target for each in back]
    assert "\0" not in str(rows_in(third, "SELECT * FROM deliveries"))


async def test_the_source_stays_as_it_was(place: Place) -> None:
    """Not a byte of the file changes."""
    source = place("sqlite", full=True)
    file = source.removeprefix(SQLITE)
    with open(file, "rb") as before:  # noqa: ASYNC230, PTH123
        bytes_before = before.read()
    await copied(source, place("sqlite"))
    with open(file, "rb") as after:  # noqa: ASYNC230, PTH123
        assert after.read() == bytes_before


KILLED = """
import os, signal, sys
from circleci_relay.store.copying import _Run, copy
left = int(sys.argv[3])
def tell(progress):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
copy(sys.argv[1], sys.argv[2], tell=tell, most=7)
"""


async def test_killed_in_the_middle_it_goes_on(both: tuple[str, str]) -> None:
    """`kill -9` between two batches: the rest follows, nothing twice, and no relay starts on it."""
    source, target = both
    command = [sys.executable, "-c", KILLED, source, target, "9"]
    ended = await asyncio.to_thread(subprocess.run, command, check=False, env=os.environ)
    assert ended.returncode == -9
    there = rows_in(target, "SELECT count(*) AS n FROM deliveries")[0]["n"]
    assert 0 < there < 24
    message = await refusal(target)
    assert "not complete" in message
    assert "store copy" in message
    said: list[Progress] = []
    assert all(each.equal for each in await copied(source, target, tell=said.append))
    assert next(each for each in said if each.table == "deliveries").done == there
    async with opened(target):
        pass


async def test_cut_short_anywhere_it_goes_on(place: Place) -> None:
    """At each thing it does in turn, whatever was written by then."""
    source = place("sqlite", full=True)
    target = place("sqlite")
    for number in itertools.count():
        try:
            compared = await copied(source, target, tell=cut(number), most=3 + number % 7)
        except CutError:
            assert "not complete" in await refusal(target)
        else:
            break
    assert number >= 12
    assert all(each.equal for each in compared)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE bodies SET headers = '[]' WHERE event = 2",
        "UPDATE events SET duplicates = 7 WHERE id = 'e3'",
        "DELETE FROM attempts WHERE delivery = (SELECT min(delivery) FROM attempts)",
        "UPDATE deliveries SET token = NULL",
        "UPDATE counters SET next = 1",
    ],
)
async def test_what_differs_is_found(place: Place, change: str) -> None:
    """A row that was changed behind its back: the copy is not let go as complete."""
    source, target = place("sqlite", full=True), place("sqlite")
    with pytest.raises(CutError):
        await copied(source, target, tell=cut(12))
    rows_in(target, change)
    compared = await copied(source, target)
    [differing] = [each for each in compared if not each.equal]
    assert differing.table in change
    assert "not complete" in await refusal(target)


async def test_a_source_that_was_used_meanwhile_is_refused(both: tuple[str, str]) -> None:
    """A relay ran on it between two runs: rows that are over already may be old."""
    source, target = both
    with pytest.raises(CutError):
        await copied(source, target, tell=cut(3))
    async with opened(source) as bench:
        bench.clock.advance(1)
        await bench.store.record_config("d1", [])
    with pytest.raises(StoreRefused, match=r"was used after.*begin again, with an empty"):
        await copied(source, target)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sqlite", ""),
        ("postgresql", ""),
        ("postgresql", "?application_name=circleci-relay%20store"),
    ],
)
async def test_no_relay_may_run_on_either(
    kind: str, options: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of either kind, whatever it is called; neither where it is copied from nor where to."""
    monkeypatch.setattr(quiet, "PATIENCE", 0.05)
    used = place(kind)
    async with opened(used, options):
        with pytest.raises(StoreRefused, match=r"in use.*stop"):
            await copied(used + options, place("sqlite"))
        with pytest.raises(StoreRefused, match=r"in use.*stop"):
            await copied(place("sqlite", full=True), used + options)


async def test_one_who_leaves_is_waited_for(
    place: Place, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the transaction of the check too, where PostgreSQL would tell what it told before."""
    monkeypatch.setattr(quiet, "PATIENCE", 20.0)
    target = place("postgresql")
    looking = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = %s"
        " AND application_name = 'circleci-relay store' AND query LIKE '%%pg\\_stat\\_%%'"
    )
    with psycopg.connect(target) as other:
        copying = asyncio.create_task(copied(place("sqlite", full=True), target))
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(postgres.query, "postgres", looking, name_in(target)):
                assert not copying.done()
        other.close()
        assert all(each.equal for each in await copying)


async def test_a_target_that_turns_out_to_be_used_is_given_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looked before there was a mark goes on there, and starts there again."""
    monkeypatch.setattr(quiet, "PATIENCE", 0.05)
    source, target = place("sqlite", full=True), place("postgresql")
    await asyncio.to_thread(admin.migrate, target)
    everything = [f"SELECT * FROM {table} ORDER BY 1" for table in metadata.tables]  # noqa: S608
    before = [rows_in(target, query) for query in everything]

    def begun() -> None:
        origin, goal = database_of(source), database_of(target)
        with (
            quiet.to_read(origin) as reading,
            quiet.to_write(goal) as writing,
            psycopg.connect(target),
        ):
            _Run(origin, reading, goal, writing, lambda _: None).begin()

    with pytest.raises(StoreRefused, match=r"in use.*stop"):
        await asyncio.to_thread(begun)
    assert [rows_in(target, query) for query in everything] == before
    async with opened(target):
        pass


async def test_a_mark_without_anything_else_is_gone_on_with(place: Place) -> None:
    """Cut short between the mark and the first rows."""
    source, target = place("sqlite", full=True), place("sqlite")
    await asyncio.to_thread(admin.migrate, target)
    rows_in(target, f"INSERT INTO meta VALUES ('copying_from', '{source.removeprefix(SQLITE)}')")  # noqa: S608
    assert "not complete" in await refusal(target)
    assert all(each.equal for each in await copied(source, target))
    async with opened(target):
        pass


@pytest.mark.parametrize("way", [viewed, quiet.to_read, quiet.to_write, quiet.connected])
async def test_nothing_ends_what_takes_long(
    way: Callable[[Database], AbstractContextManager[sa.Connection]], place: Place
) -> None:
    """No limit of a relay's session holds for what reads or writes a whole database."""
    database = database_of(place("postgresql", full=True))

    def limits() -> dict[str, str]:
        with way(database) as connection:
            names = (
                "SELECT name, setting FROM pg_settings WHERE name LIKE '%%\\_timeout'"
                " AND context = 'user' AND category LIKE '%%Statement Behavior'"
            )
            found = connection.exec_driver_sql(names).all()
            connection.rollback()
        return {name: setting for name, setting in found}  # noqa: C416 - rows are no pairs to mypy

    found = await asyncio.to_thread(limits)
    assert found.keys() >= {"statement_timeout", "idle_in_transaction_session_timeout"}
    found.pop("lock_timeout")
    assert set(found.values()) == {"0"}, found


async def test_nothing_is_written_to_a_source_on_postgresql(place: Place) -> None:
    """A replica that starts in the middle can write nothing: it answers 503 until the end."""
    source = place("postgresql", full=True)
    refused: list[bool] = []

    def tell(_: Progress) -> None:
        if refused:
            return
        with psycopg.connect(source, options="-c lock_timeout=20ms") as other:
            try:
                other.execute("UPDATE deliveries SET attempts = attempts + 1")
            except psycopg.errors.LockNotAvailable:
                refused.append(True)

    said = await copied(source, place("sqlite"), tell=tell)
    assert refused
    assert all(each.equal for each in said)
    rows_in(source, "UPDATE deliveries SET attempts = attempts + 1")


async def test_only_an_empty_database_is_copied_to(both: tuple[str, str]) -> None:
    """Neither over another's events, nor over another's copy, nor onto itself."""
    source, target = both
    await filled(target)
    with pytest.raises(StoreRefused, match="is not empty"):
        await copied(source, target)
    with pytest.raises(StoreRefused, match="both what to copy and where to"):
        await copied(source, source)


async def test_a_copy_of_another_is_not_gone_on_with(place: Place) -> None:
    """Two sources would be mixed."""
    first, second = place("sqlite", full=True), place("sqlite", full=True)
    target = place("sqlite")
    with pytest.raises(CutError):
        await copied(first, target, tell=cut(3))
    with pytest.raises(StoreRefused, match=r"unfinished copy of .*go on with that"):
        await copied(second, target)


async def test_what_cannot_be_copied_is_left_alone(place: Place) -> None:
    """No source, an empty one, one of an older or a newer schema; the target is not made."""
    target = place("sqlite")
    with pytest.raises(StoreRefused, match="does not exist"):
        await copied(place("sqlite"), target)
    with pytest.raises(StoreRefused, match="is empty"):
        await copied(place("postgresql"), target)
    source = place("sqlite", full=True)
    for change, says in (
        ("UPDATE alembic_version SET version_num = '0000'", "store migrate"),
        ("UPDATE alembic_version SET version_num = '0999'", "the version that made it"),
    ):
        rows_in(source, change)
        with pytest.raises(StoreRefused, match=says):
            await copied(source, target)
    assert rows_in(target, "SELECT count(*) AS n FROM sqlite_schema") == [{"n": 0}]


@given(
    st.lists(st.lists(st.integers(0, 6_000_000), max_size=8), max_size=8),
    st.integers(1, 10),
)
def test_batches_are_all_of_it_and_none_is_large(pages: list[list[int]], most: int) -> None:
    """In order; no more rows than wanted, no more bytes than a page beyond the bound."""
    # A range is as long as a body, and takes no room.
    rows = [[(number, range(size), "") for number, size in enumerate(page)] for page in pages]
    made = list(batches(rows, bodies, most))
    assert [row for batch in made for row in batch] == [row for page in rows for row in page]
    assert all(0 < len(batch) <= most for batch in made)


async def test_it_is_said_which_of_the_two_is_at_fault(place: Place) -> None:
    """A server that is not there, a source that is damaged: each by its name, in one line."""
    source, target = place("sqlite", full=True), place("sqlite")
    with pytest.raises(StoreRefused, match=r"postgresql://127.0.0.1:1/relay: .*refused"):
        await copied(source, "postgresql://relay@127.0.0.1:1/relay")
    path = source.removeprefix(SQLITE)
    [root] = rows_in(source, "SELECT rootpage FROM sqlite_schema WHERE name = 'deliveries'")
    spoil(path, root["rootpage"])
    with pytest.raises(StoreRefused, match=rf"^{path}: database disk image is malformed"):
        await copied(source, target)


def spoil(path: str, page: int) -> None:
    """Overwrite the head of a page of a SQLite file."""
    with open(path, "r+b") as file:  # noqa: PTH123
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 64)
