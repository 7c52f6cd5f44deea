"""The real Prometheus: started on a loopback port, ended for sure; and promtool."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

_TOOLS = Path(__file__).parents[2] / ".tools"
_LISTENS = re.compile(r'msg="?Listening on"? address=(127\.0\.0\.1:[0-9]+)')

# Whatever becomes of us, our end of its standard input is closed: then it goes too.
_KEEPER = '"$@" </dev/null & read -r _; kill -9 $! 2>&-; wait $!'

PATIENCE = 30.0
"""Seconds for what it does by and by."""


def find(program: str) -> str | None:
    """Return where `prometheus` or `promtool` is; `scripts/prometheus` fetches both."""
    return shutil.which(program) or shutil.which(program, path=str(_TOOLS))


class Prometheus:
    """One that runs while the block of `prometheus` does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def ask(self, path: str, **query: str) -> Any:
        """Return the `data` of its answer; fail on any error."""
        async with self._session.get(f"{self.url}/api/v1/{path}", params=query) as response:
            said = json.loads(await response.read())
        assert said["status"] == "success", (query, said)
        return said["data"]

    async def values(self, expr: str) -> list[float]:
        """Return what *expr* comes to now, without what is no number."""
        data = await self.ask("query", query=expr)
        found = [float(each["value"][1]) for each in data["result"]]
        return [each for each in found if not math.isnan(each)]

    async def until_answered(self, exprs: set[str]) -> None:
        """Wait until each of *exprs* has a value."""
        left = set(exprs)
        try:
            async with asyncio.timeout(PATIENCE):
                while left:
                    left -= {each for each in sorted(left) if await self.values(each)}
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError("without data:\n" + "\n".join(sorted(left))) from None


@asynccontextmanager
async def prometheus(
    program: str, config: Path, session: aiohttp.ClientSession
) -> AsyncIterator[Prometheus]:
    """Run *program* with *config*, its data beside that, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _KEEPER, "keeper", program),
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    said: list[str] = []
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(PATIENCE):
            while "Server is ready" not in "".join(said[-1:]):
                line = await process.stderr.readline()
                assert line, "".join(said)
                said.append(line.decode())
        found = _LISTENS.search("".join(said))
        assert found, "".join(said)
        reading = asyncio.create_task(_drain(process.stderr))
        yield Prometheus(session, f"http://{found[1]}")
    finally:
        process.stdin.close()
        await process.wait()
        if reading is not None:
            await reading


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
