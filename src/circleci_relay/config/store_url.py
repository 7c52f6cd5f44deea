"""Where the store is: URLs of SQLite and PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path

from circleci_relay.config.fields import REFERENCE, Reads
from circleci_relay.config.tree import Scalar

_SQLITE = r"sqlite:///[^?#]+([?]max_page_count=[1-9][0-9]{0,9})?"


def store_url() -> Reads:
    """Where the store is; SQLite in this version."""
    return Reads(
        discreet=True,
        parse=read_store_url,
        wanted="a URL such as sqlite:///relay.db or postgresql://user:password@host/database",
        standin="sqlite:///unknown.db",
        schema={
            "type": "string",
            "pattern": f"^({_SQLITE}|postgres(ql)?://.+|.*{REFERENCE}.*)$",
        },
    )


_PORTED = re.compile(r"([^:\[\]]*|\[[^\]]*\])(:[0-9]{0,5})?")


def _hosts(rest: str) -> list[str]:
    """The hosts that a URL of PostgreSQL names, each with its port."""
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    return authority.rpartition("@")[2].split(",")


def _encoded(rest: str) -> bool:
    """
    Whether the @ of a URL of PostgreSQL stands where its user and password end, if there is one.

    Else libpq, which looks for it no further than the first /, takes a part of the password
    for a host, a port or a database, which are no secrets.
    """
    place, _, query = rest.partition("?")
    authority, slash, database = place.partition("/")
    user, at, _ = authority.rpartition("@")
    return (
        "@" not in user
        and "@" not in database
        and not re.search("%(?![0-9A-Fa-f]{2})", user)
        and ("@" not in query or bool(at or slash))
        and not any("@" in piece.partition("=")[0] for piece in query.split("&"))
    )


def _refuse_misread(rest: str) -> None:
    if not rest.strip("/"):
        raise ValueError("names no database; wanted postgresql://user:password@host/database")
    if not _encoded(rest):
        raise ValueError(
            "has a user or password that is not percent-encoded; write @ as %40, / as %2F,"
            " ? as %3F and % as %25 there, or give the password by PGPASSWORD or passfile"
        )
    if not all(map(_PORTED.fullmatch, _hosts(rest))):
        raise ValueError("names a port that is none; wanted postgresql://user@host:5432/database")


def read_store_url(text: str) -> str:
    """Read a URL of a store; what is said of one that will not do repeats nothing of it."""
    scheme, separator, rest = text.partition("://")
    if scheme in {"postgresql", "postgres"} and separator:
        _refuse_misread(rest)
        return str(text)
    if scheme.startswith(("postgresql+", "postgres+")):
        raise ValueError("names a driver, which the relay chooses; wanted postgresql://…")
    if scheme != "sqlite" or not separator:
        raise ValueError(
            "is no store; wanted sqlite:///PATH, such as sqlite:///relay.db, or"
            " postgresql://user:password@host/database"
        )
    path = rest.removeprefix("/")
    if path and not rest.startswith("/"):
        raise ValueError("names a host; write three slashes, as in sqlite:///relay.db")
    path, mark, options = path.partition("?")
    if mark and not re.fullmatch(r"max_page_count=[1-9][0-9]{0,9}", options):
        raise ValueError("has an unknown option; wanted only a path, or ?max_page_count=N")
    if "#" in path or "\0" in path:
        raise ValueError("holds #; wanted only a path: sqlite:///relay.db")
    if path in {"", ":memory:"}:
        raise ValueError("names no file, and memory outlives no crash; wanted sqlite:///PATH")
    base = text.base if isinstance(text, Scalar) else Path()
    return f"sqlite:///{base / path}{mark}{options}"
