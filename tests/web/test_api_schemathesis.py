"""The program against its own documentation: whatever openapi.json allows or forbids."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import aiohttp

from support.faults import FULL
from support.program import an_event, circleci, running, write_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

from support.program import Program

OPERATOR, VIEWER = "operator-token-1234", "viewer-token-123456"

EXAMPLES = 30 if FULL else 2
"""Requests made up at random for each endpoint."""

PHASES = "examples,coverage,fuzzing" if FULL else "examples,fuzzing"
"""The second is some 1,800 requests at each limit there is: ten seconds."""

LEFT_OUT = "ignored_auth"
"""Wrong tokens are slowed, and this check sends some to each endpoint; asked below instead."""


async def described(program: Program) -> dict[str, Any]:
    """Return the document, as a viewer gets it."""
    url = program.url("admin", "/api/v1/openapi.json")
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {VIEWER}"}) as session,
        session.get(url) as response,
    ):
        document: dict[str, Any] = await response.json()
        return document


SETTINGS = "\n".join(
    f"""
[[operations]]
include-path = "/api/v1/{path}"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"""
    for path in (
        # A place to go on from that was never given, well-formed as it may be.
        *("audit", "events", "jobs"),
        # The same, or a name that nobody knows.
        *("dead", "deliveries", "rejects"),
        # What depends on two fields at once, or is a configuration with faults.
        *("backtest", "cancellations", "explain", "rechecks", "replays"),
    )
)
"""Where a 422 may answer what fits the schema."""


def streams(document: dict[str, Any]) -> list[str]:
    """Return the paths that answer for as long as somebody listens; their own tests do."""
    return [
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    ]


async def schemathesis(
    program: Program, folder: Path, *, without: Sequence[str]
) -> tuple[int, str]:
    """Run it as people do, but on the paths *without*; return its exit status and output."""
    settings = folder / "schemathesis.toml"
    settings.write_text(SETTINGS)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        *("--config-file", str(settings)),
        "run",
        program.url("admin", "/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {OPERATOR}"),
        *("--max-examples", str(EXAMPLES)),
        *("--phases", PHASES),
        *("--exclude-checks", LEFT_OUT),
        *("--request-timeout", "5"),
        *(word for path in without for word in ("--exclude-path", path)),
        "--generation-deterministic",
        "--continue-on-failure",
        "--no-color",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            told, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, told.decode()


async def statuses(program: Program, document: dict[str, Any], token: str | None) -> dict[str, int]:
    """Ask every endpoint with *token*, and nothing it wants; return the statuses."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    found = {}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path, methods in document["paths"].items():
            for method in methods:
                url = program.url("admin", path.replace("{", "").replace("}", ""))
                async with session.request(method, url) as response:
                    found[f"{method} {path}"] = response.status
    return found


async def counted_as_viewer(program: Program) -> list[int]:
    """Ask for a dry run and for a job, of either kind, as a viewer; return the statuses."""
    headers = {"authorization": f"Bearer {VIEWER}"}
    found = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in ("replays", "cancellations"):
            for dry_run in (True, False):
                given = {"select": {"destination": "chat"}, "dry_run": dry_run}
                url = program.url("admin", f"/api/v1/{path}")
                async with session.post(url, json=given) as response:
                    found.append(response.status)
    return found


async def test_the_program_does_as_documented(tmp_path: Path) -> None:
    """No request is a 500 or answered otherwise than the document says; tokens are needed."""
    config = write_config(
        tmp_path,
        server={
            "admin_tokens": {
                "op": {"token": OPERATOR, "role": "operator"},
                "look": {"token": VIEWER, "role": "viewer"},
            }
        },
        destinations={"chat": {"url": "http://127.0.0.1:9/"}},
        routes={"all": {"to": ["chat"]}},
    )
    async with running(config) as program, circleci(program) as sender:
        for number in range(3):
            assert (await sender.post(an_event(number)))[0] == 202
        document = await described(program)
        status, told = await schemathesis(program, tmp_path, without=streams(document))
        assert status == 0, told
        assert not program.logged("request_failed")

        assert set((await statuses(program, document, None)).values()) == {401}
        changes = {
            f"{method} {path}"
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            if "Takes an operator." in operation.get("description", "")
        }
        as_viewer = await statuses(program, document, VIEWER)
        assert {name for name, status in as_viewer.items() if status == 403} == changes
        assert "post /api/v1/reload" in changes
        assert await counted_as_viewer(program) == [200, 403, 200, 403]
