"""One attempt: a message made and sent to a destination, and what came of it as an `Outcome`."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import math
from datetime import UTC
from typing import TYPE_CHECKING

from circleci_relay.deadlines import Deadlines
from circleci_relay.delivery.compose import Composer, Surroundings
from circleci_relay.delivery.transport import Answer, Throttled, Undeliverable
from circleci_relay.delivery.transports import transport_of
from circleci_relay.errors import RenderError
from circleci_relay.model import Claim, Outcome, Result

if TYPE_CHECKING:
    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Transport
    from circleci_relay.redaction import Redact

EXCERPT_BYTES = 4096
"""How much of a response is kept."""

SPARE = 2048
"""How much more is read: a secret that begins in what is kept must be seen whole to be hidden."""

LARGE = 131_072
"""Bytes of events from which a message is made off the event loop."""

LONGEST_WAIT = 366 * 86_400.0
"""Seconds; an absurd `Retry-After` becomes this before anything is computed from it."""


class Sender:
    """
    Sends to one destination, over connections of its own.

    Nothing another destination does can take its connections away, and a proxy, a client
    certificate or a private CA is its own affair.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        clock: Clock,
        redact: Redact,
        surroundings: Surroundings | None = None,
        test: bool = False,
    ) -> None:
        self._clock = clock
        self._redact = redact
        self._composer = Composer(
            destination, clock=clock, surroundings=surroundings or Surroundings(), test=test
        )
        self._transport: Transport = transport_of(destination)
        self._timeout = destination.timeout
        self._deadlines = Deadlines()

    async def attempt(self, claim: Claim) -> Outcome:
        """
        Try *claim* once. Every way it can fail is an `Outcome`.

        Redirects are answers like any other: a destination must not send CircleCI's
        bytes, or our credentials, to wherever it likes.
        """
        clock = self._clock
        started = clock.now()
        answer = Answer()
        error: str | None = None
        final = False
        result = Result.OK
        try:
            if claim.size <= LARGE:
                message = self._composer.compose(claim)
            else:
                message = await asyncio.to_thread(self._composer.compose, claim)
            with self._deadlines.within(self._timeout):
                await self._transport.send(message, answer)
        except Exception as fault:  # noqa: BLE001 - a bug in one attempt is a failed attempt
            result, error, final = self._sorted(fault)
        status = answer.status
        if status is not None and result is not Result.INTERNAL:
            # Once the status is in, the answer is given: an endless body takes nothing back.
            result = _judge(status)
            if result is Result.OK:
                error = None
        if error is not None:
            error = self._redact(error)
        return Outcome(
            result=result,
            started_at=started,
            duration=clock.now() - started,
            status=status,
            error=error,
            excerpt=self._clean(answer.excerpt),
            retry_after=self._retry_after(answer.headers.get("retry-after")),
            final=final,
        )

    def surround(self, surroundings: Surroundings) -> None:
        """Tell of *surroundings* from the next message on; the connections stay."""
        self._composer.surroundings = surroundings

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def _sorted(self, fault: Exception) -> tuple[Result, str, bool]:
        """What *fault* means, in words, and whether no other attempt could end better."""
        match fault:
            case RenderError():
                return Result.TEMPLATE, str(fault), True
            case Undeliverable():
                return Result.CLIENT_ERROR, str(fault), True
            case Throttled():
                return Result.THROTTLED, str(fault), False
            case TimeoutError():
                return Result.TIMEOUT, "no complete answer within the timeout", False
            case _:
                return (*self._transport.explain(fault), False)

    def _retry_after(self, value: str | None) -> float | None:
        return parse_retry_after(value, wall=self._clock.wall()) if value else None

    def _clean(self, excerpt: bytearray) -> bytes:
        if not excerpt:
            return b""
        kept = self._redact(excerpt.decode("utf-8", "replace")).encode()
        if len(excerpt) >= EXCERPT_BYTES + SPARE:
            # The last secret may be cut off, and half of one is not known for one.
            kept = kept[:-SPARE]
        return kept[:EXCERPT_BYTES]


def _judge(status: int) -> Result:
    match status:
        case 429:
            return Result.THROTTLED
        case _ if 200 <= status < 300:  # noqa: PLR2004
            return Result.OK
        case _ if 300 <= status < 400:  # noqa: PLR2004
            return Result.REDIRECT
        case _ if 400 <= status < 500:  # noqa: PLR2004
            return Result.CLIENT_ERROR
        case _:
            return Result.SERVER_ERROR


def parse_retry_after(value: str, *, wall: float) -> float | None:
    """
    Return the seconds that a `Retry-After` of *value* asks for, or None if it says nothing.

    Takes seconds or a date (RFC 9110, section 10.2.3). Capped here, where hostile digits
    come in: `timedelta` and the database overflow on them.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT) if len(text) < 16 else LONGEST_WAIT  # noqa: PLR2004
    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError):
        when = email.utils.parsedate_to_datetime(text)
        seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - wall
        if math.isfinite(seconds):
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None
