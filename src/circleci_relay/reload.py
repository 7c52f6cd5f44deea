"""Taking up a changed configuration while everything runs."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Literal

import structlog

from circleci_relay import config as configuration
from circleci_relay.console.standing import Notes
from circleci_relay.errors import ConfigError, StartupError, StoreError
from circleci_relay.model import Fault
from circleci_relay.web.api import ReloadReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from circleci_relay.clock import Clock
    from circleci_relay.config import Config, Loaded
    from circleci_relay.metrics import Metrics

log = structlog.get_logger()

LOOK = 1.0
"""
Seconds between two looks at the files.

Looking serves where notification does not: a Secret's symlink swap, a network mount, a
node whose inotify watches are used up.
"""

AGAIN = 10.0
"""Seconds between two tries while the files are faulty."""

RETRY = "retry"


class Reloader:
    """
    Reads the files again and applies them whole, or not at all.

    *apply* puts a configuration to use; it raises `StartupError` before changing anything
    where a file it names will not do. *seen* is the files' fingerprint from before they
    were loaded: what changes while the program starts is a change.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        loaded: Loaded,
        *,
        seen: str,
        apply: Callable[[Loaded], Awaitable[None]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._paths = tuple(paths)
        self._loaded = loaded
        self._started = loaded.config
        self._apply = apply
        self._clock = clock
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._faults: tuple[Fault, ...] = ()
        self.restart_required: tuple[str, ...] = ()  #: keys whose change waits for a restart
        self._seen = seen
        self._applied = True
        metrics.set_config(loaded.digest, now=clock.now())

    @property
    def loaded(self) -> Loaded:
        """What is in force."""
        return self._loaded

    def notes(self) -> Notes:
        """What an operator should know of the files."""
        return Notes(restart_required=self.restart_required, faults=self._faults)

    async def reload(self, cause: str) -> ReloadReport:
        """Read the files again and apply them; *cause* is for the log."""
        async with self._lock:
            report = await self._reload()
            known, self._faults = self._faults, report.faults
            if report.result != "failed":
                self.restart_required = report.restart_required
        if cause == RETRY and report.faults == known:
            return report
        self._metrics.config_reloads_total.labels(report.result).inc()
        self._metrics.config_last_reload_successful.set(report.result != "failed")
        self._metrics.config_restart_required.set(bool(self.restart_required))
        _tell(report, cause)
        return report

    async def watch(self) -> None:
        """Reload whenever a file that was read changes, for ever."""
        since = self._clock.monotonic()
        while True:
            await self._clock.sleep(LOOK)
            if await self._changed():
                await self.reload("file")
            elif self._faults and self._clock.monotonic() - since >= AGAIN:
                # What was missing may be there by now, and is in no list of files read.
                await self.reload(RETRY)
            else:
                continue
            since = self._clock.monotonic()

    async def _changed(self) -> bool:
        """Whether a file has changed, once they have come to rest: writers take them in turn."""
        last, seen = self._seen, await self._fingerprint(self._loaded)
        if seen == last:
            return False
        while seen != last:
            await self._clock.sleep(LOOK / 4)
            last, seen = seen, await self._fingerprint(self._loaded)
        return True

    async def _fingerprint(self, loaded: Loaded) -> str:
        return await asyncio.to_thread(configuration.fingerprint, loaded.files)

    async def _reload(self) -> ReloadReport:
        before = await self._fingerprint(self._loaded)
        while True:
            try:
                loaded = await asyncio.to_thread(configuration.load, self._paths)
            except ConfigError as fault:
                self._seen = before
                return ReloadReport(result="failed", faults=fault.faults)
            except Exception as fault:  # noqa: BLE001 - a file must not end what is running
                # Without its words: they may repeat secrets that nobody knows of yet.
                place = traceback.extract_tb(fault.__traceback__)[-1]
                log.error(  # noqa: TRY400 - for the same reason
                    "config_reader_failed",
                    error=type(fault).__name__,
                    at=f"{place.name}:{place.lineno}",
                )
                self._seen = before
                words = StartupError(f"cannot be read: {type(fault).__name__} in the relay")
                return ReloadReport(result="failed", faults=(self._as_fault(words),))
            seen = await self._fingerprint(loaded)
            after = await self._fingerprint(self._loaded)
            if after == before:
                break
            before = after  # changed while it was read
        self._seen = before
        restart = needs_restart(self._started, loaded.config)
        if loaded.digest == self._loaded.digest and self._applied:
            result: Literal["unchanged", "reloaded"] = "unchanged"
        else:
            # Until it is through, it is not known what holds: the next one is applied anyway.
            self._applied = False
            try:
                await self._apply(loaded)
            except (StartupError, StoreError) as fault:
                return ReloadReport(result="failed", faults=(self._as_fault(fault),))
            self._applied = True
            result = "reloaded"
            self._metrics.set_config(loaded.digest, now=self._clock.now())
        self._loaded, self._seen = loaded, seen
        return ReloadReport(result=result, warnings=loaded.warnings, restart_required=restart)

    def _as_fault(self, fault: Exception) -> Fault:
        return Fault(file=str(self._paths[0]), line=0, column=0, path="", message=str(fault))


def needs_restart(running: Config, wanted: Config) -> tuple[str, ...]:
    """Return the keys that *wanted* changes and that only a restart brings into force."""
    pairs = {
        "server.listen": (running.server.listen, wanted.server.listen),
        "server.ops": (running.server.ops, wanted.server.ops),
        "server.admin": (running.server.admin, wanted.server.admin),
        "store.url": (running.store.url, wanted.store.url),
    }
    return tuple(key for key, (now, then) in pairs.items() if now != then)


def _tell(report: ReloadReport, cause: str) -> None:
    for fault in report.faults:
        log.error("config_fault", fault=str(fault))
    for warning in report.warnings:
        log.warning("config_warning", warning=str(warning))
    if report.result == "failed":
        log.error("config_reload_failed", cause=cause, faults=len(report.faults))
    else:
        log.info(
            "config_reloaded" if report.result == "reloaded" else "config_unchanged", cause=cause
        )
    if report.restart_required:
        log.warning("config_restart_required", keys=report.restart_required)
