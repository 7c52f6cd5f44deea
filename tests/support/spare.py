"""Databases for tests, emptied rather than made anew: that takes a tenth of the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from support.postgres import name_in

if TYPE_CHECKING:
    from support.postgres import Postgres

_TABLES = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"

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
        self._server.terminate_backends(url)
        if self._server.query(url, _SHAPE) != self._shape:
            self._server.drop(url)
            return
        again = [
            f"DELETE FROM public.{name}; INSERT INTO public.{name} TABLE kept.kept_{name};"  # noqa: S608
            for name in self._tables
        ]
        try:
            self._server.query(
                url, f"BEGIN; SET LOCAL lock_timeout = '5s'; {' '.join(again)} COMMIT"
            )
        except psycopg.Error:
            self._server.drop(url)
        else:
            self._spare.append(url)
