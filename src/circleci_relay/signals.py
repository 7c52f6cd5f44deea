"""What the process does when it is told to stop, to stop at once, or to read its files again."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.clock import Clock

log = structlog.get_logger()

ECHO = 0.3
"""
Seconds within which a second signal is the first once more.

`timeout`, a shell and make pass a signal on that the whole process group has had already.
"""


def obey(stopping: asyncio.Event, *, reload: Callable[[], object], clock: Clock) -> None:
    """
    Set *stopping* at SIGTERM and SIGINT, end the process at the second; *reload* at SIGHUP.

    Needs the running loop of the main thread.
    """
    first = 0.0

    def stop(number: signal.Signals) -> None:
        nonlocal first
        if not stopping.is_set():
            first = clock.monotonic()
            stopping.set()
        elif clock.monotonic() - first > ECHO:
            # The store is safe against this by design; there is nothing to tidy.
            log.warning("stopped_at_once", signal=number.name)
            os._exit(128 + number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
