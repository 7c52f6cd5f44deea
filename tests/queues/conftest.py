"""What tests of queues may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.moto_server import MotoServer, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """Amazon's services as moto plays them, started for whoever asks first."""
    if lacking := missing():
        pytest.skip(lacking)
    with MotoServer() as server:
        yield server
