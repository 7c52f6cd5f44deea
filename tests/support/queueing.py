"""Destinations that are queues, and messages to them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

from circleci_relay.config.model import Destination
from circleci_relay.delivery.transport import Answer, Message, Undeliverable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from circleci_relay.config.model import ClientTLS
    from circleci_relay.delivery.transport import Transport
    from circleci_relay.model import Result

PATIENCE = 60.0
"""Seconds after which a test that hangs fails."""


def destination(
    url: str, *, tls: ClientTLS | None = None, timeout: float = 5.0, **section: Any
) -> Destination:
    """Return one as a file would describe it."""
    settings: dict[str, Any] = {"url": url, "timeout": f"{timeout}s", "tls": tls, **section}
    return Destination.model_validate(settings).named("bus")


def message(
    number: int | str, address: Mapping[str, str] | None = None, *, body: bytes | None = None
) -> Message:
    """Return one whose id is told by *number*, with headers as HTTP has them."""
    return Message(
        url="",
        headers={
            "content-type": "application/json",
            "circleci-event-type": "workflow-completed",
            "webhook-id": f"msg_{number}",
            "webhook-timestamp": "1700000000",
            "relay-attempt": "1",
            "x-name": "caf\xe9",
        },
        body=b'{"n": "%s"}' % str(number).encode() if body is None else body,
        address=address or {},
    )


@contextlib.asynccontextmanager
async def opened(transport: Transport) -> AsyncIterator[Transport]:
    """Close *transport* at the end, whatever happens."""
    try:
        async with asyncio.timeout(PATIENCE):
            yield transport
    finally:
        await transport.close()


async def send(transport: Transport, *messages: Message) -> None:
    """Send all at once, each with an end, as lanes do."""
    async with asyncio.TaskGroup() as group:
        for each in messages:
            group.create_task(transport.send(each, Answer()))


async def failing(
    transport: Transport, sent: Message, *, within: float = 5.0
) -> tuple[Result, str]:
    """Send what must fail, within a time as a lane gives it; what the transport says of it."""
    try:
        async with asyncio.timeout(within):
            await transport.send(sent, Answer())
    except Undeliverable:
        raise
    except Exception as fault:  # noqa: BLE001 - what comes is what is asked about
        return transport.explain(fault)
    raise AssertionError("it was taken")


async def insist(transport: Transport, sent: Message, *, within: float = 2.0) -> int:
    """Send until it is taken, as the relay does; how many times it took."""
    for turn in range(1, 200):
        try:
            async with asyncio.timeout(within):
                await transport.send(sent, Answer())
        except Exception as fault:  # noqa: BLE001 - every failure is tried again
            transport.explain(fault)
            await asyncio.sleep(0.05)  # the pause before a retry
        else:
            return turn
    raise AssertionError("never taken")


async def cut_short(
    transport: Transport, good: Callable[[int], Message], bad: Callable[[int], Message]
) -> set[str]:
    """
    Send 400 messages, each cut short after a random while, at whatever it waits for then.

    Every second is *bad*: one that must never be confirmed. Returns the ids of the good ones
    that were.
    """
    chance = random.Random(7)  # noqa: S311 - no secret
    confirmed: set[str] = set()

    async def keep_sending(first: int) -> None:
        for number in range(first, 400, 16):
            sent = good(number) if number % 2 else bad(number)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(0.1 * chance.random() ** 3):
                    await transport.send(sent, Answer())
                confirmed.add(sent.headers["webhook-id"])

    async with asyncio.TaskGroup() as group:
        for first in range(16):
            group.create_task(keep_sending(first))
    wrong = confirmed & {bad(number).headers["webhook-id"] for number in range(0, 400, 2)}
    assert not wrong, f"confirmed, though never taken: {wrong}"
    return confirmed
