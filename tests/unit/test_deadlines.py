"""Deadlines: one timer for many blocks, each ended in time and none before."""

from __future__ import annotations

import asyncio

import pytest

from circleci_relay.deadlines import Deadlines


async def test_a_block_that_takes_too_long_ends() -> None:
    """It raises TimeoutError, and the task may go on."""
    deadlines = Deadlines()
    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_is_left_in_time_is_let_be() -> None:
    """Its deadline passes without effect, however often others come and go meanwhile."""
    deadlines = Deadlines()
    with deadlines.within(0.01):
        pass
    with pytest.raises(TimeoutError), deadlines.within(0.02):
        await asyncio.Event().wait()


async def test_the_earliest_ends_first_whenever_it_began() -> None:
    """A later block may have less time than those before it."""
    deadlines, ended = Deadlines(), []

    async def wait(name: str, seconds: float) -> None:
        try:
            with deadlines.within(seconds):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, seconds in (("long", 0.06), ("short", 0.0), ("middle", 0.03)):
            tasks.create_task(wait(name, seconds))
    assert ended == ["short", "middle", "long"]


async def test_one_inside_the_other() -> None:
    """The outer one ends what is inside the inner one, and the error is the outer one's."""
    deadlines, ended = Deadlines(), []

    async def inside() -> None:
        try:
            with deadlines.within(60):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.append("inner")

    with pytest.raises(TimeoutError), deadlines.within(0.01):
        await inside()
    assert ended == []


async def test_a_task_that_is_cancelled_is_cancelled() -> None:
    """Whoever else cancels the task is not taken for the deadline, even at the same time."""
    deadlines, inside = Deadlines(), asyncio.Event()

    async def wait() -> None:
        with deadlines.within(60):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    both = asyncio.create_task(_cancelled_with_its_deadline(deadlines))
    with pytest.raises(asyncio.CancelledError):
        await both


async def _cancelled_with_its_deadline(deadlines: Deadlines) -> None:
    task = asyncio.current_task()
    assert task is not None
    with deadlines.within(60) as deadline:
        task.cancel()
        deadlines.leave(deadline)
        deadline.come()
        await asyncio.Event().wait()


async def test_an_error_inside_stays_what_it_is() -> None:
    """Only the cancellation of the deadline's own becomes a TimeoutError."""
    with pytest.raises(ValueError, match="mine"), Deadlines().within(60):
        raise ValueError("mine")
