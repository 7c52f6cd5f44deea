"""One event loop for every process of the benchmark: uvloop where it is installed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_run: Callable[[Coroutine[object, object, None]], None] = asyncio.run
NAME = "asyncio"
try:
    import uvloop
except ImportError:  # the `fast` extra is not installed
    pass
else:
    _run = uvloop.run
    NAME = "uvloop"


def run(main: Coroutine[object, object, None]) -> None:
    """Run *main* to its end on the fastest loop there is."""
    _run(main)
