"""Opening: what is refused and why, and what is found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from circleci_relay.store.migrate import HEAD
from circleci_relay.store.schema import metadata
from support.storing import FOREVER, refusal

if TYPE_CHECKING:
    from support.storing import Bench, Open


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://relay:hunter2@db/relay", "mysql is not supported"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("sqlite:///x.db?mode=ro", "unknown option 'mode'"),
        ("sqlite:///x.db?max_page_count=many", "whole number"),
        ("relay.db", "no URL"),
        ("sqlite:////nowhere/at/all/relay.db", "directory /nowhere/at/all does not exist"),
    ],
)
async def test_a_url_that_cannot_be_is_refused(url: str, says: str) -> None:
    """One clear line, with what would be right, and never the password."""
    message = await refusal(url)
    assert says in message
    assert "hunter2" not in message


async def test_a_newer_schema_is_refused_untouched(open_bench: Open) -> None:
    """A version that would not understand what it wrote keeps off; not a row changes."""
    async with open_bench() as bench:
        await bench.accept("chat")
    bench.change("UPDATE meta SET value = '99' WHERE name = 'min_compatible'")
    bench.change("UPDATE alembic_version SET version_num = '0000'")
    before = _everything(bench)
    assert "newer version (schema 99" in await refusal(bench.url)
    assert _everything(bench) == before


def _everything(bench: Bench) -> list[object]:
    return [bench.rows(str(sa.select(table))) for table in metadata.sorted_tables]


async def test_a_newer_schema_that_says_it_is_compatible_is_used(open_bench: Open) -> None:
    """As in a rolling upgrade: a later revision, which asks no more than we know."""
    async with open_bench() as bench:
        pass
    bench.change("UPDATE alembic_version SET version_num = '0999'")
    async with open_bench() as bench:
        await bench.accept("chat")
        assert bench.row("SELECT version_num FROM alembic_version") == {"version_num": "0999"}


async def test_the_migrations_make_the_schema_that_the_statements_expect(bench: Bench) -> None:
    """The tables in code and those in the database do not drift apart."""
    engine = sa.create_engine(bench.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    engine.dispose()
    assert bench.row("SELECT version_num FROM alembic_version") == {"version_num": HEAD}


async def test_closed_and_opened_again_keys_go_on(open_bench: Open) -> None:
    """No key is given twice, and duplicates are known across a restart."""
    async with open_bench() as bench:
        await bench.accept("chat", id="same")
    async with open_bench() as bench:
        assert (await bench.accept("chat", id="same")).duplicate
        await bench.store.accept(bench.intake("chat", id="other"), deadline=FOREVER)
        assert len(bench.rows("SELECT DISTINCT key FROM events")) == 2
