"""A process in which the program is imported already, and which forks: each start is the cheaper.

Run as a file it is that process. It takes requests over a socket: arguments, environment,
folder, and the files that are to be standard input, output and error and where to tell of
the end. Each is run as `python -m circleci_relay` would, in a process of its own that has
imported everything, compiled what it asks of SQLite, and done nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module

import sqlalchemy as sa

from circleci_relay.store.statements import statements_for

IMPORTED = (
    "circleci_relay.app",
    "circleci_relay.cli.serve",
    "circleci_relay.cli.send",
    "circleci_relay.cli.sink",
    "alembic.command",
    "alembic.ddl.postgresql",
    "alembic.ddl.sqlite",
    "asyncio.unix_events",
    "concurrent.futures.thread",
    "orjson",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "uvloop",
)
"""What a start needs, were it the first one; what is not installed is left out."""

LONGEST = 1 << 18
"""Bytes of a request, which holds a whole environment."""


def main() -> str:
    """
    Import, wait for requests, fork; return in the process that is to be the program.

    What it returns is the file that is to be run, or nothing for the program itself.
    """
    requests = socket.socket(fileno=int(sys.argv[1]))
    for name in IMPORTED:
        with suppress(ImportError):
            import_module(name)
    _compile()
    gc.collect()
    gc.freeze()  # or the first collection in each would copy all of it
    while True:
        text, files, _, _ = socket.recv_fds(requests, LONGEST, 4)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not text:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            *streams, tell = files
            if _begun(streams, tell):
                return _become(**json.loads(text))
        for file in files:
            os.close(file)


def _compile() -> None:
    """Compile what every store on SQLite needs, which is kept for the process: half of a start."""
    statements_for(sa.create_engine("sqlite://").dialect)


def _begun(streams: list[int], tell: int) -> bool:
    """Fork once more; the parent tells of the child's beginning and end, and ends itself."""
    pid = os.fork()
    if pid == 0:
        os.close(tell)
        for number, file in enumerate(streams):
            os.dup2(file, number)
            os.close(file)
        return True
    try:
        for number in range(3):
            os.close(streams[number])
        os.write(tell, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(tell, b"%d\n" % os.waitstatus_to_exitcode(status))
    finally:
        os._exit(0)


def _become(args: list[str], env: dict[str, str], cwd: str, file: str) -> str:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv[1:] = args
    return file


if __name__ == "__main__":
    if wanted := main():
        runpy.run_path(wanted, run_name="__main__")
    else:
        runpy.run_module("circleci_relay", run_name="__main__", alter_sys=True)
