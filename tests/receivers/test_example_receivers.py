"""The receivers of examples/receivers, in Python and Node, fed by the real relay."""

from __future__ import annotations

import asyncio
import base64
import hmac
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import playwright
import pytest

from circleci_relay.circleci import samples, signature
from support.program import SECRET, an_event, circleci, running, write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from support.program import Program

EXAMPLES = Path(__file__).parents[2] / "examples" / "receivers"
KEYS = [f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"n", b"o")]
"""The new secret and the old one: the relay signs with both, a receiver knows the old one."""
SAMPLE = samples.load("gh_oauth_workflow_success")
TROUBLE = """
CREATE TRIGGER trouble BEFORE INSERT ON workflows WHEN NEW.status = 'failed'
BEGIN SELECT RAISE(ABORT, 'trouble'); END
"""


@dataclass
class Taker:
    """A receiver under way: where it listens, and what it holds."""

    name: str
    url: str
    database: Path

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run *statement* in its database."""
        with closing(sqlite3.connect(self.database)) as database, database:
            return database.execute(statement).fetchall()


def node() -> str | None:
    """Return a Node that has node:sqlite: Playwright's own, or what is on the PATH."""
    bundled = Path(playwright.__file__).parent / "driver" / "node"
    for found in (str(bundled) if bundled.exists() else None, shutil.which("node")):
        asked = [found or "false", "-e", "require('node:sqlite')"]
        if found and subprocess.run(asked, check=False, capture_output=True).returncode == 0:  # noqa: S603
            return found
    return None


@asynccontextmanager
async def receiving(name: str, folder: Path, *command: str) -> AsyncIterator[Taker]:
    """Run a receiver as its head says, for as long as the block lasts."""
    database = folder / f"{name}.db"
    settings = {
        "CIRCLECI_WEBHOOK_SECRETS": f"not-this-one {SECRET}",
        "RELAY_SIGNING_SECRETS": KEYS[1],
        "DATABASE": str(database),
        "PORT": "0",
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            said = await process.stdout.readline()
        yield Taker(name, said.decode().split()[-1], database)
    finally:
        process.kill()
        await process.wait()


def config(folder: Path, takers: list[Taker]) -> Path:
    """Write a relay.yaml with two destinations at each receiver, one for each signature."""
    sign = {"scheme": "standard-webhooks", "secrets": KEYS}
    destinations: dict[str, Any] = {}
    for taker in takers:
        destinations[taker.name] = {"url": f"{taker.url}/circleci"}
        destinations[f"{taker.name}-signed"] = {"url": f"{taker.url}/signed", "sign": sign}
    return write_config(
        folder,
        defaults={"retry": {"initial": "100ms", "max_interval": "100ms"}, "breaker": None},
        destinations=destinations,
        routes={"everything": {"to": list(destinations)}},
    )


async def replay(session: aiohttp.ClientSession, program: Program, event: str) -> None:
    """Deliver *event* once more to all it went to, under the ids it had."""
    url = program.url("admin", f"/api/v1/events/{event}/replay")
    async with session.post(url, json={}) as response:
        assert response.status == 200, await response.text()


def signed(body: bytes, key: str, *, age: float = 0) -> dict[str, str]:
    """Return the headers of Standard Webhooks for *body*, as of *age* seconds ago."""
    stamp = str(int(time.time() - age))
    message = f"msg-1.{stamp}.".encode() + body
    mark = base64.b64encode(hmac.digest(base64.b64decode(key[6:]), message, "sha256")).decode()
    return {"webhook-id": "msg-1", "webhook-timestamp": stamp, "webhook-signature": f"v1,{mark}"}


async def answers(session: aiohttp.ClientSession, taker: Taker) -> dict[str, int]:
    """Say what *taker* answers to whatever did not come from the relay like this."""
    body = an_event(99)
    right = {"circleci-signature": signature.sign(body, SECRET.encode())}
    tries: dict[str, tuple[str, bytes, dict[str, str]]] = {
        "unsigned": ("/circleci", body, {}),
        "another secret": ("/circleci", body, {"circleci-signature": "v1=" + 64 * "0"}),
        "not ascii": ("/circleci", body, {"circleci-signature": "v1=\xe4"}),
        "another body": ("/circleci", body + b" ", right),
        "unsigned, too": ("/signed", body, {}),
        "another key": ("/signed", body, signed(body, KEYS[0])),
        "too old": ("/signed", body, signed(body, KEYS[1], age=301)),
        "from to-morrow": ("/signed", body, signed(body, KEYS[1], age=-400)),
        "no event": ("/signed", b"[]", signed(b"[]", KEYS[1])),
        "too large": ("/signed", bytes(1 << 20) + b"!", {}),
        "elsewhere": ("/", body, right),
        "a test": ("/signed", body, signed(body, KEYS[1]) | {"relay-test": "true"}),
    }
    found = {}
    for name, (path, sent, headers) in tries.items():
        async with session.post(
            taker.url + path, data=io.BytesIO(sent), headers=headers
        ) as response:
            found[name] = response.status
    return found


EXPECTED = {
    "unsigned": 401,
    "another secret": 401,
    "not ascii": 401,
    "another body": 401,
    "unsigned, too": 401,
    "another key": 401,
    "too old": 401,
    "from to-morrow": 401,
    "no event": 400,
    "too large": 413,
    "elsewhere": 404,
    "a test": 200,
}


def a_workflow(number: int, name: str, status: str, minute: int) -> bytes:
    """Return a workflow's end at a quarter past nine and *minute*."""
    return an_event(
        number,
        workflow={"id": name, "name": "build", "status": status},
        happened_at=f"2026-03-02T09:{15 + minute}:44.931204Z",
    )


async def test_examples_verify_take_once_and_are_told_again(tmp_path: Path) -> None:
    """Signed events are taken once each; what failed comes again; a forger gets a 401."""
    engine = node()
    if engine is None:
        pytest.skip("no Node with node:sqlite is here (22.13 or newer)")
    python = (sys.executable, str(EXAMPLES / "python" / "receiver.py"))
    async with (
        receiving("python", tmp_path, *python) as one,
        receiving("node", tmp_path, engine, str(EXAMPLES / "node" / "receiver.mjs")) as other,
        running(config(tmp_path, [one, other])) as program,
        circleci(program) as sender,
    ):
        takers = [one, other]
        for taker in takers:
            taker.ask(TROUBLE)
        _, first = await sender.post(SAMPLE)
        for body in (
            a_workflow(1, "late", "success", 9),
            a_workflow(2, "late", "canceled", 1),
            a_workflow(3, "red", "failed", 2),
        ):
            assert (await sender.post(body))[0] == 202
        await program.log("attempt", 8, status=500)  # twice at each of four
        for taker in takers:
            taker.ask("DROP TRIGGER trouble")
        await program.log("attempt", 16, result="ok")
        await replay(sender.session, program, first["event"])
        await program.log("attempt", 20, result="ok")
        for taker in takers:
            assert await answers(sender.session, taker) == EXPECTED, taker.name
        for taker in takers:
            # Four events by two ways, each once; of two events of one workflow the later one.
            [(keys,)] = taker.ask("SELECT count(*) FROM taken")
            assert keys == 8, taker.name
            found = dict(taker.ask("SELECT id, status FROM workflows"))
            assert found == {
                json.loads(SAMPLE)["workflow"]["id"]: "success",
                "late": "success",
                "red": "failed",
            }, taker.name
