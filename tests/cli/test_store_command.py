"""`store`: what it says of a database, and that it leaves a running relay alone."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from circleci_relay.cli import main
from circleci_relay.store import sounding
from circleci_relay.store.contents import DAY, _rate
from circleci_relay.store.migrate import HEAD
from circleci_relay.store.place import database_of
from support.storing import LEASE, SQLITE, opened, refusal, rows_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.testing import Result

    from support.postgres import Postgres

KEEP = 14 * DAY


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or holds nothing."""
    if request.param == "sqlite":
        return f"{SQLITE}{tmp_path / 'relay.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.database()


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Any]:
    """Runs `circleci-relay store` on a database, off the event loop: as a process of its own."""

    async def run(
        url: str, *args: str, env: Mapping[str, str | None] | None = None, code: int = 0
    ) -> Result:
        config = tmp_path / "relay.yaml"
        # A secret that is not there: only the store's own part of the file is needed.
        config.write_text(
            'store: {url: "${env:STORE_URL}"}\n'
            'sources: {circleci: {path: /webhooks/circleci, secrets: ["${env:NOT_SET}"]}}\n'
        )
        command = ["store", *args, "-c", str(config)]
        environment = {"STORE_URL": url, **(env or {})}
        result = await asyncio.to_thread(
            CliRunner(env=environment).invoke, main, command, catch_exceptions=False
        )
        assert result.exit_code == code, result.output
        return result

    return run


async def filled(url: str) -> None:
    """Something of everything."""
    async with opened(url) as bench:
        for number in range(4):
            await bench.accept("chat", "mail", id=f"e{number}")
        await bench.accept("chat", id="e0", body=b"other")
        await bench.accept(id="unmatched")
        done, *_ = await bench.claim("chat", limit=2)
        await bench.settle(done)


def bytes_of(path: Path) -> dict[str, bytes]:
    """A SQLite file and its log."""
    return {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}


def put(path: Path, data: bytes) -> None:
    """Write a file."""
    path.write_bytes(data)


def names_in(folder: Path) -> set[str]:
    """What a folder holds."""
    return {path.name for path in folder.iterdir()}


async def test_check_tells_beside_a_running_relay(url: str, store: Callable[..., Any]) -> None:
    """Counts, growth, settings; no lock is asked for, nothing is changed."""
    await filled(url)
    async with opened(url) as bench:
        found = json.loads((await store(url, "check", "--json")).stdout)
        await bench.accept("chat")
    assert found["events"] == {"number": 5, "exact": True}
    assert found["unmatched"] == 1
    assert (found["duplicates"], found["conflicts"]) == (1, 1)
    by_name = {one["destination"]: one for one in found["standings"]}
    assert by_name["chat"]["pending"] == 3
    assert by_name["chat"]["delivered"] == {"number": 1, "exact": True}
    assert by_name["mail"]["pending"] == 4
    assert by_name["mail"]["oldest_pending_at"].startswith("20")
    assert found["revision"] == HEAD
    assert found["size"] > 0
    assert found["faults"] == found["warnings"] == []
    assert found["settings"]["longest lease"] == f"{LEASE / 1e6:g} s"
    assert len(found["growth"]["days"]) == 8


async def test_check_is_a_table_for_people(url: str, store: Callable[..., Any]) -> None:
    """With the place, without the password; the whole of it on demand."""
    await filled(url)
    for args in (["check"], ["check", "--deep"]):
        text = (await store(url, *args)).stdout
        assert HEAD in text
        assert "not configured" not in text
        assert "events a day" in text
        assert url not in text or url.startswith(SQLITE)
        assert "mail" in text


async def test_check_changes_nothing_at_all(tmp_path: Path, store: Callable[..., Any]) -> None:
    """What a crash left in the log of SQLite is read where it is, and stays there."""
    live, left = tmp_path / "live.db", tmp_path / "relay.db"
    await filled(f"{SQLITE}{live}")
    async with opened(f"{SQLITE}{live}") as bench:
        await bench.accept("chat", id="in the log")
        before = bytes_of(live)
    for suffix, data in before.items():
        put(Path(f"{left}{suffix}"), data)
    assert before["-wal"]
    found = json.loads((await store(f"{SQLITE}{left}", "check", "--json")).stdout)
    assert found["events"]["number"] == 6
    assert bytes_of(left) == before
    assert "relay.db.lock" not in names_in(tmp_path)


@pytest.mark.parametrize("args", [["check"], ["migrate", "--check"]], ids=" ".join)
async def test_what_must_not_be_used_is_refused(
    tmp_path: Path, store: Callable[..., Any], args: Sequence[str]
) -> None:
    """None of ours, damaged, too new or old: one clear line, exit code 1, nothing changed."""
    path = tmp_path / "relay.db"
    url = f"{SQLITE}{path}"
    path.write_bytes(b"no database at all, but long enough to be one" * 100)
    assert "not a database" in (await store(url, *args, code=1)).stderr
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE mine (x)")
    assert "another program's tables" in (await store(url, *args, code=1)).stderr
    path.unlink()
    await filled(url)
    rows_in(url, "UPDATE meta SET value = '99' WHERE name = 'min_compatible'")
    assert "newer version (schema 99" in (await store(url, *args, code=1)).stderr
    rows_in(url, "UPDATE meta SET value = '2' WHERE name = 'min_compatible'")
    rows_in(url, "UPDATE alembic_version SET version_num = '0002'")
    told = await store(url, *args, code=1)
    assert "store migrate" in told.stderr or "0002" in told.stdout


async def test_a_damaged_file_is_told_of(tmp_path: Path, store: Callable[..., Any]) -> None:
    """A page in the middle that is not what it was."""
    path = tmp_path / "relay.db"
    await filled(f"{SQLITE}{path}")
    with closing(sqlite3.connect(path)) as file:
        [root] = file.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'ix_deliveries_event'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096 + 8)
        file.write(b"\xff" * 64)
    result = await store(f"{SQLITE}{path}", "check", "--json", code=1)
    assert json.loads(result.stdout)["integrity"] == "damaged"


async def test_a_missing_database_is_not_made(tmp_path: Path, store: Callable[..., Any]) -> None:
    """Looking at what is not there leaves nothing there."""
    url = f"{SQLITE}{tmp_path / 'absent.db'}"
    assert "absent.db does not exist" in (await store(url, "check", code=1)).stderr
    assert "there are no tables" in (await store(url, "migrate", "--check", code=1)).stdout
    assert names_in(tmp_path) == {"relay.yaml"}
    result = await store(url, "check", env={"STORE_URL": None}, code=1)
    assert "the variable STORE_URL is not set" in result.stderr
    assert "NOT_SET" not in result.stderr


async def test_migrate_makes_the_tables(url: str, store: Callable[..., Any]) -> None:
    """Once; then there is nothing to do. `--check` tells by its exit code."""
    result = await store(url, "migrate", "--check", code=1)
    assert "there are no tables, would be 0003" in " ".join(result.stdout.split())
    assert "now it is 0003" in (await store(url, "migrate")).stdout
    assert "up to date" in (await store(url, "migrate", "--check")).stdout
    assert json.loads((await store(url, "migrate", "--json")).stdout)["done"] is False
    async with opened(url):
        pass


async def test_migrate_keeps_off_a_running_relay(url: str, store: Callable[..., Any]) -> None:
    """A SQLite file has one process; replicas on PostgreSQL may go on."""
    async with opened(url):
        sqlite = url.startswith(SQLITE)
        result = await store(url, "migrate", code=1 if sqlite else 0)
        assert ("is in use" if sqlite else "up to date") in result.output


async def test_copy_moves_everything(
    tmp_path: Path, postgres: Postgres, store: Callable[..., Any]
) -> None:
    """From what relay.yaml names to a URL that holds no password; told in a table."""
    source, target = f"{SQLITE}{tmp_path / 'relay.db'}", postgres.database()
    await filled(source)
    result = await store(source, "copy", "--to", "${env:TARGET}", env={"TARGET": target})
    assert "complete, and the same in both" in result.stdout
    assert "copying deliveries: 8 of 8" in result.stderr
    assert (
        "not empty"
        in (
            await store(source, "copy", "--to", "${env:TARGET}", env={"TARGET": target}, code=1)
        ).stderr
    )
    (tmp_path / "url").write_text(f"{target}\n")
    back = f"{SQLITE}{tmp_path / 'back.db'}"
    args = ["copy", "--from", f"${{file:{tmp_path / 'url'}}}", "--to", back, "--json"]
    found = json.loads((await store(source, *args)).stdout)
    assert found["equal"]
    assert {table["table"]: table["source"]["rows"] for table in found["tables"]}["events"] == 5


async def test_an_unfinished_copy_is_told_of(tmp_path: Path, store: Callable[..., Any]) -> None:
    """By `check`, and by whoever would start on it."""
    url = f"{SQLITE}{tmp_path / 'relay.db'}"
    await filled(url)
    rows_in(url, "INSERT INTO meta VALUES ('copying_from', 'old.db'), ('copying_stamp', 'x')")
    result = await store(url, "check", code=1)
    assert "copy of old.db that is not complete" in result.stderr
    assert "not complete" in await refusal(url)
    args = ["copy", "--from", f"{SQLITE}{tmp_path / 'none.db'}", "--to", url]
    assert "does not exist" in (await store(url, *args, code=1)).stderr


@pytest.mark.parametrize(
    ("goal", "says"),
    [
        ("postgresql://relay:hunter2@db/relay", "can read a password"),
        ("postgresql://relay@db/relay?password=hunter2", "can read a password"),
        ("postgresql://relay:${env:NOT_SET}@db/relay", "NOT_SET is not set"),
        ("postgresql://relay:${NOT_SET}@db/relay", "wanted ${env:NAME}"),
    ],
)
async def test_no_password_is_taken_from_the_command_line(
    goal: str, says: str, store: Callable[..., Any]
) -> None:
    """Misuse, exit code 2; and it is not repeated."""
    result = await store("sqlite:///x.db", "copy", "--to", goal, code=2)
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert "hunter2" not in result.output


@pytest.mark.parametrize("password", ["12/hunter2", "hunter2@x", "12?hunter2", "hunter%2"])
@pytest.mark.parametrize("option", ["--from", "--to"])
async def test_a_password_that_is_not_encoded_is_not_told(
    tmp_path: Path, password: str, option: str, store: Callable[..., Any]
) -> None:
    """It would be taken for a host, a port or a database, which messages name."""
    url = "postgresql://relay:${env:DB_PASSWORD}@127.0.0.1:1/relay"
    args = ["copy", option, url] + (["--to", f"{SQLITE}{tmp_path}/x.db"] * (option == "--from"))
    source = f"{SQLITE}{tmp_path / 'relay.db'}"
    await filled(source)
    result = await store(source, *args, env={"DB_PASSWORD": password}, code=2)
    said = " ".join(result.stderr.replace("│", " ").split())
    assert f"{option}: has a user or password that is not percent-encoded" in said
    assert "hunter" not in result.output
    result = await store(url.replace("${env:DB_PASSWORD}", password), "check", code=1)
    assert "not percent-encoded" in result.stderr
    assert "hunter" not in result.output


async def test_a_link_is_what_it_leads_to(tmp_path: Path, store: Callable[..., Any]) -> None:
    """One lock, one log, one name, by whatever link the file is named."""
    path, link = tmp_path / "relay.db", tmp_path / "links" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    await filled(f"{SQLITE}{path}")
    async with opened(f"{SQLITE}{path}") as bench:
        await bench.accept("chat", id="in the log")
        found = json.loads((await store(f"{SQLITE}{link}", "check", "--json")).stdout)
        assert found["events"]["number"] == 6
        assert "is in use" in (await store(f"{SQLITE}{link}", "migrate", code=1)).stderr
        database = await asyncio.to_thread(database_of, f"{SQLITE}{link}")
        assert not await asyncio.to_thread(database.acquire)
        database.release()
    async with opened(f"{SQLITE}{link}"):
        assert "is in use" in (await store(f"{SQLITE}{path}", "migrate", code=1)).stderr
    to_itself = ["copy", "--to", f"{SQLITE}{link}"]
    assert "both what to copy" in (await store(f"{SQLITE}{path}", *to_itself, code=1)).stderr
    assert names_in(link.parent) == {"link.db"}


def test_the_rate_is_that_of_whole_days() -> None:
    """Where there is none, today so far is taken for one; an hour at least."""
    days = [(DAY * number, 10 * number) for number in range(1, 9)]
    now = DAY * 8 + DAY // 2
    assert _rate(days, first=0, now=now) == sum(range(10, 80, 10)) / 7
    assert _rate(days, first=DAY * 6 + 1, now=now) == 70
    assert _rate(days, first=DAY * 8, now=now) == 160
    assert _rate(days, first=now - 60_000_000, now=now) is None


async def test_what_is_much_is_estimated(tmp_path: Path, store: Callable[..., Any]) -> None:
    """And said to be; the growth says how large it becomes and for how long that fits."""
    url = f"{SQLITE}{tmp_path / 'relay.db'}"
    await filled(url)
    count = sounding.EXACT * 2
    rows_in(
        url,
        "INSERT INTO deliveries (key, event, destination, state, attempts, created_at, aged_from)"  # noqa: S608
        " WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < 1000 + {count}) SELECT i, 1, 'big', 'delivered', 2, 0, 0 FROM n",
    )
    rows_in(
        url,
        "INSERT INTO events (key, public_id, source, id, type, received_at, body_hash, facts,"
        " routes, deliveries) WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 3000) SELECT i, i, 's', i, 't',"
        " (unixepoch() - 3 * 86400) * 1000000 + i, x'00', '{}', '[]', 1 FROM n",
    )
    found = json.loads((await store(url, "check", "--json")).stdout)
    big = next(one for one in found["standings"] if one["destination"] == "big")["delivered"]
    assert not big["exact"]
    assert 0.8 * count < big["number"] < 1.2 * count
    assert not found["attempts"]["exact"]
    growth = found["growth"]
    assert growth["per_day"] > 0
    assert growth["at_keep"] == pytest.approx(
        growth["per_day"] * growth["bytes_per_event"] * 14, rel=0.01
    )
    assert growth["days_that_fit"] > 0
