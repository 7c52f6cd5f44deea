"""`store`: look into the database, bring it up to date, copy it into another."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from circleci_relay.cli.options import config_option, json_option
from circleci_relay.cli.output import emit, print_table
from circleci_relay.cli.verbs import Found, Verb, family
from circleci_relay.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.config import StoreSettings
    from circleci_relay.store.copying import Compared


@family(
    "store",
    examples="""
    circleci-relay store check
    circleci-relay store migrate --check
    circleci-relay store copy --to 'postgresql://relay:${env:DB_PASSWORD}@db/relay'
    """,
)
def store() -> None:
    """It is the database of relay.yaml, `store.url`."""


@store.command(
    "check",
    cls=Verb,
    short_help="Say what the database holds, how fast it grows, what is wrong with it.",
    examples="""
    circleci-relay store check
    circleci-relay store check -c /etc/circleci-relay/ --json | jq .growth
    circleci-relay store check --deep
    """,
)
@click.option(
    "--deep",
    is_flag=True,
    help="Read a SQLite file through: every page is checked and counted. Takes a while.",
)
@config_option
@json_option
def check(*, config: tuple[Path, ...], deep: bool, as_json: bool) -> None:
    """
    Say what the database holds, how fast it grows, and what is wrong with it.

    Nothing is changed or held up: the relay may be running. What would take long to count is
    estimated, and shown with a `~`. Exit code 1 if something is wrong.
    """
    settings = _settings(config)
    from circleci_relay.cli.store_tables import as_data, show  # noqa: PLC0415
    from circleci_relay.store.contents import contents  # noqa: PLC0415 - it brings SQLAlchemy

    found = contents(settings.url, keep=round(settings.keep * 1_000_000), deep=deep)
    if as_json:
        emit(as_data(found))
    else:
        show(found, keep=settings.keep)
    if found.faults:
        raise Found("" if as_json else "; ".join(found.faults))


@store.command(
    "migrate",
    cls=Verb,
    short_help="Make the tables, or bring them up to date.",
    examples="""
    circleci-relay store migrate
    circleci-relay store migrate --check || echo 'there is something to do'
    """,
)
@click.option(
    "--check", "only_check", is_flag=True, help="Change nothing; exit 1 if there is work to do."
)
@config_option
@json_option
def migrate(*, config: tuple[Path, ...], only_check: bool, as_json: bool) -> None:
    """
    Make the tables, or bring them up to date.

    `serve` does so by itself when it starts; this is for whoever wants it done before, or by
    another role. On PostgreSQL the relay may be running, on SQLite it must have ended.
    """
    settings = _settings(config)
    from circleci_relay.store import admin  # noqa: PLC0415 - it brings SQLAlchemy

    found = (admin.migration_of if only_check else admin.migrate)(settings.url)
    if as_json:
        emit({**asdict(found), "due": found.due, "done": found.due and not only_check})
    elif not found.due:
        click.echo(f"{found.place}: up to date ({found.found})")
    else:
        before = "there are no tables" if found.found is None else f"the schema is {found.found}"
        verb = "would be" if only_check else "now it is"
        click.echo(f"{found.place}: {before}, {verb} {found.newest}")
    if only_check and found.due:
        raise Found("")


@store.command(
    "copy",
    cls=Verb,
    short_help="Copy everything into another database.",
    examples="""
    circleci-relay store copy --to 'postgresql://relay:${env:DB_PASSWORD}@db/relay'
    circleci-relay store copy --to 'postgresql://relay:${file:/run/secrets/db}@db/relay?sslmode=verify-full'
    circleci-relay store copy --from '${env:STORE_URL}' --to sqlite:////data/relay.db
    """,
)
@click.option(
    "--from",
    "origin",
    metavar="URL",
    help="The database to copy.  [default: `store.url` of relay.yaml]",
)
@click.option("--to", "goal", metavar="URL", required=True, help="An empty database.")
@config_option
@json_option
def copy(*, origin: str | None, goal: str, config: tuple[Path, ...], as_json: bool) -> None:
    """
    Copy everything into another database: from SQLite to PostgreSQL, or back.

    No relay may be running on either. Cut short at any instant, the same command goes on where
    it was; until all is there and found to be the same, no relay starts on the new database.
    The old one is only read. Afterwards change `store.url`.

    A URL is written as in relay.yaml: put it in single quotes, and a password not into it but
    as ${env:NAME} or ${file:/path}, for every user of this machine can read command lines.
    """
    source = _url(origin, "--from") if origin is not None else _settings(config).url
    target = _url(goal, "--to")
    from circleci_relay.cli.store_progress import progress  # noqa: PLC0415
    from circleci_relay.store.copying import copy as copy_store  # noqa: PLC0415 - SQLAlchemy

    with progress() as tell:
        compared = copy_store(source, target, tell=tell)
    equal = all(each.equal for each in compared)
    if as_json:
        emit(
            {"equal": equal, "tables": [{**asdict(each), "equal": each.equal} for each in compared]}
        )
    else:
        _show_compared(compared)
    if not equal:
        raise Found(
            "what was copied differs from what there is now; begin again, with an empty database"
        )
    if not as_json:
        click.echo("complete, and the same in both; now change store.url")


def _show_compared(compared: Sequence[Compared]) -> None:
    print_table(
        ["table", "rows", "sha256", ""],
        [
            (
                each.table,
                f"{each.target.rows:,}",
                each.target.sha256[:16],
                "same" if each.equal else f"differs: {each.source.rows:,} rows to copy",
            )
            for each in compared
        ],
        styles=["" if each.equal else "red" for each in compared],
    )


def _settings(paths: Sequence[Path]) -> StoreSettings:
    """
    Read `store` of relay.yaml; what only other parts of it need may be absent.

    So the secrets of webhooks need not be there where someone only looks into the database.
    """
    from circleci_relay.config import load  # noqa: PLC0415 - pydantic, not needed for --help

    try:
        return load(paths).config.store
    except ConfigError as error:
        ours = [fault for fault in error.faults if fault.path.partition(".")[0] == "store"]
        if ours:
            raise ConfigError(ours) from None
        return load(paths, secrets=False).config.store


def _url(text: str, option: str) -> str:
    """Read a URL of the command line: with values from elsewhere, and no password in it."""
    from circleci_relay.config.interpolate import EnvRef, expand, parse  # noqa: PLC0415
    from circleci_relay.config.store_url import read_store_url  # noqa: PLC0415 - pydantic

    try:
        parts = parse(text)
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None
    if _has_password("".join(part if isinstance(part, str) else "" for part in parts)):
        raise click.UsageError(
            f"{option}: every user of this machine can read a password there; write"
            " ${env:NAME} or ${file:/path} in its place, in single quotes"
        )

    def resolve(part: Any) -> str:
        if not isinstance(part, EnvRef):
            return Path(part.path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
        value = os.environ.get(part.name) or part.default
        if value is None:
            raise click.UsageError(f"{option}: the variable {part.name} is not set")
        return value

    try:
        return read_store_url(expand(parts, resolve))
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from None


def _has_password(url: str) -> bool:
    if "password=" in url:
        return True
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False
