"""What the tests of all presets share: the payloads to try each of them on."""

from __future__ import annotations

from typing import Any

import pytest

from support import presets


@pytest.fixture(scope="session")
def payloads() -> dict[str, Any]:
    """Every packaged sample, hostile payload and bare payload, by a name to tell it by."""
    made = {payload["id"]: payload for payload in (*presets.hostile(), *presets.bare())}
    return {name: name for name in presets.SAMPLES} | made
