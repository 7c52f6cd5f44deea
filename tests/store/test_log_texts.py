"""Patterns for texts in stored JSON: they may find too much, and never too little."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from circleci_relay.store.log.texts import ESCAPE, folded, holds, like, patterns

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_no_text_is_missed(before: str, wanted: str, after: str) -> None:
    """Whichever library wrote it, and whatever case SQLite and Python do not agree on."""
    value = before + wanted + after
    with closing(sqlite3.connect(":memory:")) as connection:
        for stored in (
            json.dumps({"branch": value}, separators=(",", ":")),
            orjson.dumps({"branch": value}).decode(),
        ):
            assert any(
                connection.execute(f"SELECT ? LIKE ? ESCAPE '{ESCAPE}'", [stored, each]).fetchone()[
                    0
                ]
                for each in patterns(wanted)
            )
    assert holds(folded(wanted), [value]) or wanted not in value


@pytest.mark.parametrize(
    ("wanted", "value"), [("MAIN", "main"), ("é", "É"), ("straße", "STRAßE"), ("a", "bAr")]
)
def test_case_does_not_count(wanted: str, value: str) -> None:
    """Where a letter has one other."""
    assert holds(folded(wanted), [value])


def test_what_folds_into_ascii_stays_as_it_is() -> None:
    """A database finds no k in a Kelvin sign, so neither does anybody else."""
    assert not holds(folded("k"), ["\u212a"])
    assert holds(folded("\u212a"), ["\u212a"])
    assert not holds(folded("fi"), ["\ufb01"])


def test_special_characters_are_meant_as_they_are() -> None:
    """What LIKE reads as its own is escaped; what JSON can write otherwise is left open."""
    assert patterns("50%_!") == {"%50!%!_!!%"}
    assert patterns('a"b\\c\0') == {"%a%b%c%"}
    assert patterns("é") == {"%"}
    assert patterns("日") == {"%日%", "%\\u65e5%"}
    assert patterns("x", before='"branch":"', after='"') == {'%"branch":"x"%'}


def test_case_is_asked_of_each_database_in_its_own_way() -> None:
    """Of PostgreSQL without a locale: in Turkish, an I has no i."""
    column: sa.ColumnElement[str] = sa.column("facts", sa.Text)
    either = like("postgresql", column, ["%A%"], any_case=True)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    told = str(either.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    assert told == "lower(facts COLLATE \"C\") LIKE '%%a%%' ESCAPE '!'"
    either = like("sqlite", column, ["%A%"], any_case=True)
    told = str(either.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
    assert told == "facts LIKE '%A%' ESCAPE '!'"
