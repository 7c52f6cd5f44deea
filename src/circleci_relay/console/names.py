"""Which names there are: of what is configured, and of what was and has left something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config.faults import near
from circleci_relay.errors import Invalid
from circleci_relay.model import RELAY
from circleci_relay.store.log.names import known_destinations, known_sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from circleci_relay.config.model import Config
    from circleci_relay.store import Store


class Names:
    """Holds names in questions against those that anything can be known of."""

    def __init__(self, store: Store, *, in_force: Callable[[], Config]) -> None:
        self._store = store
        self._in_force = in_force

    async def check(
        self, *, destination: str | None = None, source: str | None = None, where: str = "query"
    ) -> None:
        """Raise `Invalid` for a name that nobody knows, with what may have been meant."""
        config = self._in_force()
        if destination is not None and destination not in config.destinations:
            stored = await self._store.look(known_destinations)
            _check("destination", destination, {*config.destinations, *stored}, where)
        if source is not None and source not in config.sources and source != RELAY:
            stored = await self._store.look(known_sources)
            _check("source", source, {*config.sources, *stored}, where)


def _check(kind: str, name: str, known: Iterable[str], where: str) -> None:
    if name not in known:
        told = f"no {kind} is called {name}{near(name, sorted(known))}"
        raise Invalid(told, where=f"{where}.{kind}")
