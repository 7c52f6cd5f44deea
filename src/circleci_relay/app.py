"""The composition root: builds every part, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from circleci_relay import __version__, config, logs, signals
from circleci_relay.administration import Administration, Works
from circleci_relay.clock import SystemClock
from circleci_relay.delivery.compose import Surroundings
from circleci_relay.delivery.dispatcher import Dispatcher
from circleci_relay.delivery.tally import Tally
from circleci_relay.doorstep import Doorkeeper
from circleci_relay.errors import RelayError, StartupError
from circleci_relay.flush import Flush
from circleci_relay.ingest import Ingest
from circleci_relay.live import Hub
from circleci_relay.metrics import Metrics
from circleci_relay.redaction import Redaction
from circleci_relay.reload import Reloader
from circleci_relay.store import Store
from circleci_relay.upkeep import Upkeep
from circleci_relay.web.server import Duties, Listeners
from circleci_relay.web.ui.pages import page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from circleci_relay.clock import Clock
    from circleci_relay.config import Loaded

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):  # an extra; asyncio's own does the same, slower
    from uvloop import new_event_loop

log = structlog.get_logger()

STORE_PATIENCE = 60.0
"""Seconds a database on the network may be away at start; then whoever supervises hears of it."""


class Relay:
    """The whole program, built; `start` and `stop` read in the order things happen."""

    def __init__(
        self, paths: Sequence[Path], loaded: Loaded, *, seen: str, clock: Clock, redact: Redaction
    ) -> None:
        self._paths = tuple(paths)
        self._loaded = loaded
        self._seen = seen  # the files' fingerprint, for what changes while it starts
        self._clock = clock
        self._redact = redact
        self._metrics = Metrics()
        self._hub = Hub()
        self._dispatcher = Dispatcher(clock=clock, metrics=self._metrics, redact=redact)
        self._background: list[asyncio.Task[None]] = []
        self._listeners: Listeners | None = None
        self._serving = False

    async def run(self) -> None:
        """Serve until told to stop. A part that dies takes the whole program with it."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            signals.obey(
                stopping,
                reload=lambda: tasks.create_task(self._reload_on_signal()),
                clock=self._clock,
            )
            store = await self._open_store(stopping)
            if store is None:
                return
            self._store = store
            tasks.create_task(store.run())
            self._dispatcher.begin(store, tasks)
            try:
                await self._start(tasks)
                await stopping.wait()
                await self._stop()
            except RelayError:
                await self._dispatcher.stop(0.0)
                await store.close()
                raise
            finally:
                await self._dispatcher.disconnect()

    async def _open_store(self, stopping: asyncio.Event) -> Store | None:
        """Open the store; None if told to stop while another process still has it."""
        opening = asyncio.ensure_future(
            Store.open(
                self._loaded.config.store.url,
                clock=self._clock,
                lanes=self._dispatcher,
                watch=Tally(self._metrics, self._hub),
                on_wait=lambda words: log.warning("store_waiting", reason=words),
                patience=STORE_PATIENCE,
            )
        )
        told = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({opening, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            opening.cancel()
            told.cancel()
            await asyncio.gather(opening, told, return_exceptions=True)
        return None if opening.cancelled() else opening.result()

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        """Take in, then deliver what is pending: a port in use costs no attempt."""
        loaded, clock, metrics = self._loaded, self._clock, self._metrics
        self._doorkeeper = Doorkeeper(store=self._store, clock=clock, redact=self._redact)
        self._ingest = Ingest(
            store=self._store,
            metrics=metrics,
            clock=clock,
            doorkeeper=self._doorkeeper,
            hub=self._hub,
        )
        self._upkeep = Upkeep(store=self._store, clock=clock, metrics=metrics)
        metrics.ready.set_function(lambda: float(not self._unready()))
        self._reloader = Reloader(
            self._paths, loaded, seen=self._seen, apply=self._apply, clock=clock, metrics=metrics
        )
        self._administration = self._administer()
        await self._administration.prepare()
        duties = Duties(
            intake=self._ingest,
            metrics=metrics,
            clock=clock,
            readiness=self._unready,
            reload=partial(self._reloader.reload, "api"),
            describe=self._describe,
            endpoints=self._administration.endpoints(),
            page=await asyncio.to_thread(
                page, self._administration.console, describe=self._describe
            ),
            record=self._administration.record,
        )
        async with self._prepared(loaded) as use:
            self._take_up(loaded)  # whoever posts finds the source at its path
            self._listeners = await Listeners.open(loaded.config.server, duties)
            use()
        self._watching = tasks.create_task(self._reloader.watch())
        for work in (
            self._upkeep.gauge(),
            self._upkeep.age_out(),
            self._doorkeeper.run(),
            *self._administration.background(),
        ):
            self._background.append(tasks.create_task(work))
        self._serving = True
        _spare_collector()
        for warning in loaded.warnings:
            log.warning("config_warning", warning=str(warning))
        listeners = self._listeners
        log.info(
            "started",
            version=__version__,
            listen=_place(listeners.hooks_address),
            ops=_place(listeners.ops_address),
            admin=_place(listeners.admin_address),
        )

    def _administer(self) -> Administration:
        works = Works(
            store=self._store,
            dispatcher=self._dispatcher,
            ingest=self._ingest,
            upkeep=self._upkeep,
            hub=self._hub,
            clock=self._clock,
            metrics=self._metrics,
            redact=self._redact,
        )
        return Administration(works, loaded=lambda: self._loaded, notes=self._reloader.notes)

    async def _apply(self, loaded: Loaded) -> None:
        """Put a changed configuration to use, whole or not at all."""
        if self._listeners is not None:
            await self._listeners.configure(loaded.config.server)
        async with self._prepared(loaded) as use:
            if not self._serving:
                raise StartupError("the relay is stopping")
            use()

    @asynccontextmanager
    async def _prepared(self, loaded: Loaded) -> AsyncIterator[Callable[[], None]]:
        """Do what may fail, and yield what then puts all lanes to use; undone if that fails."""
        wanted = loaded.config
        surroundings = Surroundings(
            external_url=wanted.server.external_url, labels=wanted.table.labels
        )
        senders = self._dispatcher.prepare(wanted.destinations)
        try:
            stopped = await self._store.take_up(
                tuple(wanted.destinations), digest=loaded.digest, routes=wanted.masked()
            )

            def use() -> None:
                self._take_up(loaded)
                self._dispatcher.configure(wanted.destinations, senders, stopped, surroundings)

            yield use
        except BaseException:
            for sender in senders.values():
                await sender.close()
            raise

    def _take_up(self, loaded: Loaded) -> None:
        wanted = loaded.config
        # The old ones too: attempts under way still carry them.
        self._redact.know(self._redact.known | wanted.secret_values)
        self._metrics.declare(
            sources={
                name: [secret.name for secret in source.secrets]
                for name, source in wanted.sources.items()
            },
            routes=wanted.routes,
            destinations=wanted.destinations,
        )
        self._upkeep.configure(wanted)
        self._ingest.configure(wanted)
        self._doorkeeper.configure(wanted)
        self._administration.configure(wanted)
        self._loaded = loaded

    async def _stop(self) -> None:
        """
        Take in through `linger`, deliver through `flush`, let attempts end within `drain`, close.

        All that goes on beside the flow goes on until then, but taking up configurations.
        """
        shutdown = self._loaded.config.server.shutdown
        log.info(
            "stopping", linger_s=shutdown.linger, flush_s=shutdown.flush, drain_s=shutdown.drain
        )
        self._serving = False
        self._watching.cancel()
        await self._clock.sleep(shutdown.linger)
        if self._listeners is not None:
            await self._listeners.close_hooks()
        if shutdown.flush:
            flush = Flush(
                store=self._store,
                dispatcher=self._dispatcher,
                upkeep=self._upkeep,
                clock=self._clock,
            )
            await flush.run(shutdown.flush)
        for task in self._background:
            task.cancel()
        self._hub.close()
        await self._doorkeeper.close()
        await self._dispatcher.stop(shutdown.drain)
        await self._store.close()
        if self._listeners is not None:
            await self._listeners.close()
        log.info("stopped")

    def _unready(self) -> tuple[str, ...]:
        """Return why no hooks should be sent here now."""
        reasons = []
        if not self._serving:
            reasons.append("stopping")
        if not self._store.available.is_set():
            reasons.append("the store cannot be written")
        return tuple(reasons)

    def _describe(self) -> dict[str, Any]:
        loaded = self._loaded
        return {
            "digest": loaded.digest,
            "config": loaded.config.masked(),
            "restart_required": self._reloader.restart_required,
        }

    async def _reload_on_signal(self) -> None:
        if self._serving:
            await self._reloader.reload("SIGHUP")


def run(
    paths: Sequence[Path],
    *,
    log_level: str = "info",
    log_format: str = "auto",
    clock: Clock | None = None,
) -> int:
    """
    Run the relay on *paths* until it is told to stop; return the exit status.

    *clock* is the machine's where none is given.

    Raises `ConfigError` where the files are faulty.
    """
    loaded = config.load(paths)
    seen = config.fingerprint(loaded.files)
    redact = Redaction(loaded.config.secret_values)
    logs.configure(level=log_level, format=log_format, redact=lambda: redact.known)
    relay = Relay(paths, loaded, seen=seen, clock=clock or SystemClock(), redact=redact)
    status = 0
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(relay.run())
    except* RelayError as faults:
        # Expected: a port in use, a database that must not be touched. Anything else is
        # a bug, and goes out with its traceback.
        for fault in _leaves(faults):
            sys.stderr.write(f"circleci-relay: {redact(str(fault))}\n")
        status = 1
    return status


def _spare_collector() -> None:
    """
    Let the garbage collector pass by what start-up made, and look less often at the rest.

    Walking a heap of modules and models for every 700 objects took a quarter of the
    processor time under load; nothing on the hot path makes cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _place(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for fault in group.exceptions:
        found += _leaves(fault) if isinstance(fault, BaseExceptionGroup) else [fault]
    return found
