"""The relays that are measured, each as one or more processes to start."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import processes
from bench.databases import POSTGRESQL, SQLITE
from bench.wire import PATH, SECRET

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator
    from pathlib import Path

CONCURRENCY = 32  #: attempts under way at once, per destination


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is measured: a program, its database, how many of it."""

    key: str  #: for files and scripts
    name: str  #: for people
    database: str | None = None
    replicas: int = 1


NAIVE = Subject(key="naive", name="naive")
RELAY = Subject(key="sqlite", name="relay", database=SQLITE)
POSTGRES = Subject(key="postgresql", name="relay, PostgreSQL", database=POSTGRESQL)
REPLICAS = Subject(
    key="postgresql-2", name="two relays, PostgreSQL", database=POSTGRESQL, replicas=2
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A relay that runs."""

    process: asyncio.subprocess.Process
    port: int  #: where it takes webhooks
    log: Path
    ready: float  #: seconds from its start until it said that it is ready


@asynccontextmanager
async def start(
    subject: Subject,
    *,
    url: str,
    place: Path,
    fan_out: int,
    receiver: int,
    paused: bool = False,
    wrap: tuple[str, ...] = (),
) -> AsyncIterator[list[Replica]]:
    """
    The *subject* on the database at *url*, each of its replicas ready.

    It has *fan_out* destinations at the *receiver*'s port.
    """
    target = f"http://127.0.0.1:{receiver}"
    async with AsyncExitStack() as stack:
        replicas = []
        for number in range(subject.replicas):
            port, ops, admin = processes.free_ports(3)
            log = place / f"{subject.key}-{number}.log"
            if subject.database is None:
                arguments = ["-m", "bench.naive", f"--port={port}", f"--receiver={target}"]
                arguments.append(f"--fan-out={fan_out}")
                health = (port, PATH)
            else:
                settings = configuration(
                    fan_out, url=url, target=target, ports=(port, ops, admin), paused=paused
                )
                config = place / f"relay-{number}.yaml"
                config.write_text(json.dumps(settings, indent=1))
                arguments = [*wrap, "-m", "circleci_relay", "serve", "-c", str(config)]
                health = (ops, "/readyz")
            began = time.monotonic()
            process = await stack.enter_async_context(processes.python(*arguments, log=log))
            await processes.ready(process, *health, log=log)
            ready = time.monotonic() - began
            replicas.append(Replica(process=process, port=port, log=log, ready=ready))
        yield replicas


def configuration(
    fan_out: int, *, url: str, target: str, ports: tuple[int, int, int], paused: bool
) -> dict[str, object]:
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
        "store": {"url": url},
        "sources": {"circleci": {"path": PATH, "secrets": [SECRET]}},
        "destinations": {
            name: {"url": f"{target}/{name}", "concurrency": CONCURRENCY, "paused": paused}
            for name in names
        },
        "routes": {
            "everything": {"to": names},
            "main-is-red": {"match": red, "to": names[:1]},
        }
        if names
        else {},
    }
