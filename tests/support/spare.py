"""Databases for tests, emptied rather than made anew: that takes a tenth of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from support.postgres import name_in

if TYPE_CHECKING:
    from support.postgres import Postgres

_TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"

_ALONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

_SHAPE = """
SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace) AS relations,
    (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace) AS functions,
    (SELECT count(*) FROM pg_trigger) AS triggers,
    (SELECT count(*) FROM pg_db_role_setting) AS settings
"""


class Spare:
    """Copies of one database, as many as were ever in use at once."""

    def __init__(self, server: Postgres, template: str) -> None:
        """Keep what is in *template*, so that its copies can be put back to that."""
        self._server = server
        self._template = name_in(template)
        self._spare: list[str] = []
        server.query(template, "CREATE SCHEMA kept")
        self._tables = [row["name"] for row in server.query(template, _TABLES)]
        for name in self._tables:
            server.query(template, f"CREATE TABLE kept.kept_{name} AS TABLE public.{name}")
        self._shape = server.query(template, _SHAPE)

    def take(self) -> str:
        """Return the URL of one that holds what the template does."""
        if self._spare:
            return self._spare.pop()
        return self._server.database(template=self._template)

    def give_back(self, url: str) -> None:
        """Put it back to what it was; one that was changed beyond its rows is thrown away."""
        if self._put_back(url):
            self._spare.append(url)
        else:
            self._server.drop(url)

    def _put_back(self, url: str) -> bool:
        again = [
            f"DELETE FROM public.{name}; INSERT INTO public.{name} TABLE kept.kept_{name};"  # noqa: S608
            for name in self._tables
        ]
        # One connection for all of it: to make one takes longer than any of its statements.
        with self._server.connection(url) as server:
            server.execute(_ALONE)
            if server.execute(_SHAPE).fetchall() != self._shape:
                return False
            try:
                whole = f"BEGIN; SET LOCAL lock_timeout = '5s'; {' '.join(again)} COMMIT"
                server.execute(whole.encode())
            except psycopg.Error:
                return False
        return True
