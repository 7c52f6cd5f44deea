"""All that an operator is served, put together: services, API, page, and work beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from circleci_relay.console.alerting import Alerting
from circleci_relay.console.console import Console
from circleci_relay.console.doorstep import Doorstep
from circleci_relay.console.looking import Looking
from circleci_relay.console.names import Names
from circleci_relay.console.repairing import Repairing
from circleci_relay.console.running import Rerouting, Running
from circleci_relay.console.standing import Notes, Standing
from circleci_relay.console.trying import Trying
from circleci_relay.errors import StoreError
from circleci_relay.store.repair import audit
from circleci_relay.web.api.deliveries import delivery_endpoints
from circleci_relay.web.api.events import event_endpoints
from circleci_relay.web.api.rejects import reject_endpoints
from circleci_relay.web.api.repairs import repair_endpoints
from circleci_relay.web.api.standing import standing_endpoints
from circleci_relay.web.api.stream import stream_endpoint
from circleci_relay.web.api.trying import trying_endpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from circleci_relay.clock import Clock
    from circleci_relay.config import Config, Loaded
    from circleci_relay.delivery.dispatcher import Dispatcher
    from circleci_relay.ingest import Ingest
    from circleci_relay.live import Hub
    from circleci_relay.metrics import Metrics
    from circleci_relay.redaction import Redact
    from circleci_relay.store import Store
    from circleci_relay.upkeep import Upkeep
    from circleci_relay.web.api.endpoints import Endpoint

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Works:
    """What does the relay's work, and is asked and told about it."""

    store: Store
    dispatcher: Dispatcher
    ingest: Ingest
    upkeep: Upkeep
    hub: Hub
    clock: Clock
    metrics: Metrics
    redact: Redact


class Administration:
    """
    The operator's side of the relay.

    *loaded* returns the configuration in force, *notes* what the reloader knows of the files.
    """

    def __init__(
        self, works: Works, *, loaded: Callable[[], Loaded], notes: Callable[[], Notes]
    ) -> None:
        self._works = works
        self._loaded = loaded
        store, clock, redact = works.store, works.clock, works.redact
        choose = Rerouting(self._in_force)
        self._running = Running(
            store, works.dispatcher, clock=clock, metrics=works.metrics, choose=choose
        )
        self._alerting = Alerting(store=store, clock=clock, upkeep=works.upkeep)
        self._names = Names(store, in_force=self._in_force)
        looking = Looking(
            store=store,
            clock=clock,
            configured=self._configured,
            redact=redact,
            lanes=works.dispatcher.states,
            names=self._names,
        )
        self.console = Console(
            looking=looking,
            standing=Standing(
                store=store,
                clock=clock,
                upkeep=works.upkeep,
                alerting=self._alerting,
                loaded=loaded,
                notes=notes,
                lanes=works.dispatcher.states,
            ),
            repairing=Repairing(
                store,
                works.dispatcher,
                running=self._running,
                showing=looking.showing,
                clock=clock,
                metrics=works.metrics,
                in_force=self._in_force,
                choose=choose,
                names=self._names,
            ),
            doorstep=Doorstep(
                store=store, ingest=works.ingest, clock=clock, redact=redact, names=self._names
            ),
            trying=Trying(store, in_force=self._in_force, redact=redact),
            live=works.hub,
        )

    def configure(self, config: Config) -> None:
        """Go on with *config*."""
        self._alerting.configure(config)

    async def prepare(self) -> None:
        """Have what an operator said before take hold; lanes are opened after this."""
        await self._running.look()

    def background(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what goes on until it is cancelled."""
        return self._running.run(), self._alerting.watch()

    def endpoints(self) -> list[Endpoint]:
        """Return all of the API but what is about the configuration."""
        console, works = self.console, self._works
        return [
            *event_endpoints(console.looking),
            *delivery_endpoints(console.looking),
            *standing_endpoints(console.standing),
            *repair_endpoints(console.repairing, console.standing),
            *reject_endpoints(console.doorstep),
            *trying_endpoints(console.trying),
            stream_endpoint(
                console.live, clock=works.clock, redact=works.redact, names=self._names
            ),
        ]

    async def record(
        self, who: str, action: str, target: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """See `web.record.Record`."""
        try:
            await self._works.store.do(lambda unit: audit.note(unit, who, action, target, detail))
        except StoreError:
            log.warning("audit_not_kept", who=who, action=action, target=target)

    def _in_force(self) -> Config:
        return self._loaded().config

    def _configured(self) -> Mapping[str, bool]:
        found = self._in_force().destinations
        return {name: destination.paused for name, destination in found.items()}
