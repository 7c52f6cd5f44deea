"""What every queue's transport has in common when something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from circleci_relay.model import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Lost(Exception):  # noqa: N818 - says what became of the connection
    """The connection ended before the broker had confirmed."""


class Refused(Exception):  # noqa: N818 - says what the broker did
    """The broker answered, and the answer was no."""

    def __init__(self, result: Result, words: str) -> None:
        super().__init__(words)
        self.result = result


_FAULTS: tuple[tuple[type[BaseException], Result, Callable[[Any], str]], ...] = (
    (Lost, Result.CONNECTION, lambda _: "the connection was lost before the message was confirmed"),
    (
        ssl.SSLCertVerificationError,
        Result.TLS,
        lambda fault: f"certificate not accepted: {fault.verify_message}",
    ),
    (ssl.SSLError, Result.TLS, lambda fault: f"TLS failed: {fault.reason or type(fault).__name__}"),
    (TimeoutError, Result.TIMEOUT, lambda _: "not confirmed within the timeout"),
    (socket.gaierror, Result.CONNECTION, lambda _: "cannot resolve the broker's name"),
    (
        OSError,
        Result.CONNECTION,
        lambda fault: f"connection failed: {fault.strerror or type(fault).__name__}",
    ),
    (BaseException, Result.INTERNAL, lambda fault: f"{type(fault).__name__} in the relay"),
)
"""What may go wrong, the most particular first."""


def of_network(fault: BaseException) -> tuple[Result, str]:
    """Sort what a connection raises; what is no such thing is a fault of the relay's own."""
    if isinstance(fault, Refused):
        return fault.result, str(fault)
    return next(
        (result, words(fault)) for kind, result, words in _FAULTS if isinstance(fault, kind)
    )


@contextlib.contextmanager
def strange_answers(broker: str) -> Iterator[None]:
    """Tell what a library stumbles over in an answer from a fault of the relay's own."""
    try:
        yield
    except OSError:
        raise  # a certificate that is not accepted is a ValueError, too
    except (ValueError, TypeError, AttributeError, LookupError, asyncio.LimitOverrunError):
        raise Refused(Result.PROTOCOL, f"not a valid answer of {broker}") from None


@contextlib.contextmanager
def only_own_cancellation() -> Iterator[None]:
    """
    Turn a cancellation that nobody asked this task for into a lost connection.

    A library that ends its own tasks may hand their end on to whoever waits for them; and
    one that swallows a cancellation must not make a task outlive its deadline.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError:
        if task is None or task.cancelling() > before:
            raise
        raise Lost from None
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
