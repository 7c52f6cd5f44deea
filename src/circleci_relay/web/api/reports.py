"""What the configuration's endpoints call, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from circleci_relay.model import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadReport:
    """What came of reading the configuration again."""

    result: Literal["reloaded", "unchanged", "failed"]
    faults: tuple[Fault, ...] = ()  #: why nothing was changed
    warnings: tuple[Fault, ...] = ()
    restart_required: tuple[str, ...] = ()  #: paths of keys that only a restart brings into force


Reload = Callable[[], Awaitable[ReloadReport]]

Describe = Callable[[], Mapping[str, Any]]
"""Returns the configuration in force, masked, with its digest: JSON's own types only."""
