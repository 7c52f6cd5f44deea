"""The real program on a clock that is stepped when told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from support.program import Program
from support.starting import PIPE, start

SERVE = Path(__file__).with_name("stepped_clock.py")


@dataclass(eq=False)
class Stepped(Program):
    """`circleci-relay serve`, whose clock `step` moves."""

    @classmethod
    async def begin(cls, config: Path, *, ahead: float = 0.0) -> Stepped:
        """Start it, its clock *ahead* seconds from the first, and wait until it takes hooks."""
        process = await start(
            str(config), str(ahead), stdin=PIPE, stderr=PIPE, limit=1 << 24, file=SERVE
        )
        program = cls(process)
        program.reading = asyncio.create_task(program._read())
        await program.ready()
        return program

    def step(self, seconds: float) -> None:
        """Move its clock on by *seconds*."""
        stdin = self.process.stdin
        assert stdin is not None
        stdin.write(f"{seconds}\n".encode())
