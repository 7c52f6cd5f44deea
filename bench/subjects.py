"""The two relays that are measured, each as a process to start."""

from __future__ import annotations

import json
import sqlite3
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.wire import PATH, SECRET

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

NAIVE, RELAY = "naive", "relay"
CONCURRENCY = 32  #: attempts under way at once, per destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A relay that runs."""

    process: asyncio.subprocess.Process
    port: int  #: where it takes webhooks
    log: Path


@asynccontextmanager
async def start(
    name: str, *, place: Path, fan_out: int, receiver: int, wrap: tuple[str, ...] = ()
) -> AsyncIterator[Subject]:
    """The relay *name*, ready, with *fan_out* destinations at the *receiver*'s port."""
    port, ops, admin = processes.free_ports(3)
    log = place / f"{name}.log"
    target = f"http://127.0.0.1:{receiver}"
    if name == NAIVE:
        arguments = ["-m", "bench.naive", f"--port={port}", f"--receiver={target}"]
        arguments.append(f"--fan-out={fan_out}")
        health = (port, PATH)
    else:
        settings = configuration(fan_out, target=target, ports=(port, ops, admin))
        (place / "relay.yaml").write_text(json.dumps(settings, indent=1))
        arguments = [*wrap, "-m", "circleci_relay", "serve", "-c", str(place / "relay.yaml")]
        health = (ops, "/readyz")
    async with processes.python(*arguments, log=log) as process:
        await processes.ready(process, *health, log=log)
        yield Subject(process=process, port=port, log=log)


def configuration(fan_out: int, *, target: str, ports: tuple[int, int, int]) -> dict[str, object]:
    """
    A relay.yaml with everything on; JSON is YAML.

    The second route chooses nothing that the first has not chosen: it is there so that
    matching costs what it costs with a real file.
    """
    names = [f"d{number}" for number in range(fan_out)]
    listen, ops, admin = (f"127.0.0.1:{port}" for port in ports)
    red = {
        "type": "workflow-completed",
        "status": ["failed", "error"],
        "branch": ["main", r"/release-\d+/"],
        "not": {"workflow": "nightly-*"},
    }
    return {
        "server": {"listen": listen, "ops": ops, "admin": admin},
        "store": {"url": "sqlite:///relay.db"},
        "sources": {"circleci": {"path": PATH, "secrets": [SECRET]}},
        "destinations": {
            name: {"url": f"{target}/{name}", "concurrency": CONCURRENCY} for name in names
        },
        "routes": {
            "everything": {"to": names},
            "main-is-red": {"match": red, "to": names[:1]},
        }
        if names
        else {},
    }


def stored(place: Path) -> int:
    """How many events the relay that ran in *place* has in its store."""
    with closing(sqlite3.connect(f"file:{place / 'relay.db'}?mode=ro", uri=True)) as connection:
        [count] = connection.execute("SELECT count(*) FROM events").fetchone()
    return int(count)
