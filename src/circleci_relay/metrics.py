"""Every series the relay exposes: declared once, born at zero, cheap to count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from circleci_relay import __version__
from circleci_relay.model import SECOND, Result, State
from circleci_relay.series import (
    BY_NAME,
    DELIVERY_RESULTS,
    EVENT_RESULTS,
    OTHER,
    REFUSALS,
    RELOAD_RESULTS,
    SERIES,
    TYPELESS,
    TYPES,
    documented,
    type_label,
)

__all__ = ["DestinationSeries", "Metrics", "SourceSeries", "documented", "type_label"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics import MetricWrapperBase

    from circleci_relay.model import Backlog, Micros


class SourceSeries:
    """One source's series, looked up once."""

    __slots__ = ("_events", "ack_duration", "last_event", "unmatched")

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._events: dict[tuple[str, str], Counter] = {
            (kind, result): metrics.events_total.labels(name, kind, result)
            for kind in TYPES
            for result in EVENT_RESULTS
            if kind == OTHER or result not in TYPELESS
        }
        self.ack_duration: Histogram = metrics.ack_duration_seconds.labels(name)
        self.last_event: Gauge = metrics.source_last_event_timestamp_seconds.labels(name)
        self.unmatched: Counter = metrics.events_unmatched_total.labels(name)

    def count(self, result: str, event_type: str | None = None) -> None:
        """Count one event; the type is left out where it was never learnt."""
        key = (event_type or OTHER, result)
        counter = self._events.get(key)
        if counter is None:
            counter = self._events[OTHER, result]
        counter.inc()


class DestinationSeries:
    """One destination's series, looked up once."""

    __slots__ = (
        "attempt_duration",
        "attempts",
        "breaker_open",
        "deliveries",
        "delivery_duration",
        "paused",
    )

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.attempts: dict[Result, Counter] = {
            result: metrics.attempts_total.labels(name, result) for result in Result
        }
        self.deliveries: dict[State, Counter] = {
            state: metrics.deliveries_total.labels(name, state) for state in DELIVERY_RESULTS
        }
        self.attempt_duration: Histogram = metrics.attempt_duration_seconds.labels(name)
        self.delivery_duration: Histogram = metrics.delivery_duration_seconds.labels(name)
        self.breaker_open: Gauge = metrics.breaker_open.labels(name)
        self.paused: Gauge = metrics.destination_paused.labels(name)


class Metrics:
    """
    The series, in a registry of their own; an attribute each, named without the prefix.

    Hot paths take a `SourceSeries` or `DestinationSeries` once and count on its members:
    these stay the same objects for as long as their name is declared.
    """

    def __init__(self, *, process: bool = True) -> None:
        # Else the library adds a `_created` series for each of ours.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=True)
        self._by_name: dict[str, MetricWrapperBase] = {}
        self.events_total = self._counter("events_total")
        self.requests_refused_total = self._counter("requests_refused_total")
        self.events_unmatched_total = self._counter("events_unmatched_total")
        self.route_matches_total = self._counter("route_matches_total")
        self.ack_duration_seconds = self._histogram("ack_duration_seconds")
        self.source_last_event_timestamp_seconds = self._gauge(
            "source_last_event_timestamp_seconds"
        )
        self.secret_last_used_timestamp_seconds = self._gauge("secret_last_used_timestamp_seconds")
        self.deliveries_total = self._counter("deliveries_total")
        self.attempts_total = self._counter("attempts_total")
        self.attempt_duration_seconds = self._histogram("attempt_duration_seconds")
        self.delivery_duration_seconds = self._histogram("delivery_duration_seconds")
        self.deliveries_pending = self._gauge("deliveries_pending")
        self.deliveries_dead = self._gauge("deliveries_dead")
        self.oldest_pending_seconds = self._gauge("oldest_pending_seconds")
        self.breaker_open = self._gauge("breaker_open")
        self.destination_paused = self._gauge("destination_paused")
        self.settles_fenced_total = self._counter("settles_fenced_total")
        self.leases_lost_total = self._counter("leases_lost_total")
        self.store_commit_duration_seconds = self._histogram("store_commit_duration_seconds")
        self.store_commit_items = self._histogram("store_commit_items")
        self.store_size_bytes = self._gauge("store_size_bytes")
        self.store_filled_ratio = self._gauge("store_filled_ratio")
        self.ready = self._gauge("ready")
        self.config_last_reload_successful = self._gauge("config_last_reload_successful")
        self.config_last_reload_success_timestamp_seconds = self._gauge(
            "config_last_reload_success_timestamp_seconds"
        )
        self.config_reloads_total = self._counter("config_reloads_total")
        self.config_restart_required = self._gauge("config_restart_required")
        self.config_info = self._gauge("config_info")
        self.build_info = self._gauge("build_info")

        self._sources: dict[str, SourceSeries] = {}
        self._secrets: dict[tuple[str, str], Gauge] = {}
        self._routes: dict[str, Counter] = {}
        self._destinations: dict[str, DestinationSeries] = {}
        self._backlogs: set[str] = set()
        self.build_info.labels(__version__).set(1)
        for result in RELOAD_RESULTS:
            self.config_reloads_total.labels(result)
        for reason in REFUSALS:
            self.requests_refused_total.labels(reason)
        if process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def declare(
        self,
        *,
        sources: Mapping[str, Iterable[str]],
        routes: Iterable[str],
        destinations: Iterable[str],
    ) -> None:
        """
        Bring every series of these names to life, and drop those of names that are gone.

        *sources* maps each name to the names of its secrets. What still waits at a
        destination that is gone stays visible until a count says that nothing does.
        """
        wanted = {(source, secret) for source, names in sources.items() for secret in names}
        routes, destinations = set(routes), set(destinations)
        for source in self._sources.keys() - sources.keys():
            self._drop("source", source)
            del self._sources[source]
        for gone in self._secrets.keys() - wanted:
            self.secret_last_used_timestamp_seconds.remove(*gone)
            del self._secrets[gone]
        for route in self._routes.keys() - routes:
            self._drop("route", route)
            del self._routes[route]
        for destination in self._destinations.keys() - destinations:
            self._drop("destination", destination, keep_backlog=True)
            del self._destinations[destination]

        for source in sources:
            self.source(source)
        for source, secret in wanted:
            self.secret(source, secret)
        for route in routes:
            self.route(route)
        for destination in destinations:
            self.destination(destination)
            if destination not in self._backlogs:
                self.set_backlog(destination, pending=0, oldest_seconds=0, dead=0)

    def source(self, name: str) -> SourceSeries:
        """Return the series of source *name*."""
        series = self._sources.get(name)
        if series is None:
            series = self._sources[name] = SourceSeries(self, name)
        return series

    def secret(self, source: str, secret: str) -> Gauge:
        """Return when *secret* was last used."""
        gauge = self._secrets.get((source, secret))
        if gauge is None:
            gauge = self.secret_last_used_timestamp_seconds.labels(source, secret)
            self._secrets[source, secret] = gauge
        return gauge

    def route(self, name: str) -> Counter:
        """Return the matches of route *name*."""
        counter = self._routes.get(name)
        if counter is None:
            counter = self._routes[name] = self.route_matches_total.labels(name)
        return counter

    def destination(self, name: str) -> DestinationSeries:
        """Return the series of destination *name*."""
        series = self._destinations.get(name)
        if series is None:
            series = self._destinations[name] = DestinationSeries(self, name)
        return series

    def set_backlog(
        self, destination: str, *, pending: int, oldest_seconds: float, dead: int
    ) -> None:
        """Say what waits at *destination*; one that is gone and owed nothing is dropped."""
        if not (pending or dead or destination in self._destinations):
            for gauge in self._backlog_gauges:
                gauge.remove(destination)
            self._backlogs.discard(destination)
            return
        self._backlogs.add(destination)
        self.deliveries_pending.labels(destination).set(pending)
        self.oldest_pending_seconds.labels(destination).set(max(0.0, oldest_seconds))
        self.deliveries_dead.labels(destination).set(dead)

    def set_backlogs(self, backlogs: Mapping[str, Backlog], *, now: Micros) -> None:
        """Say what waits everywhere, as the store counted it; nothing waits where it is silent."""
        for destination in self._backlogs | self._destinations.keys() | backlogs.keys():
            backlog = backlogs.get(destination)
            if backlog is None:
                self.set_backlog(destination, pending=0, oldest_seconds=0, dead=0)
                continue
            age = 0.0 if backlog.oldest is None else (now - backlog.oldest) / SECOND
            self.set_backlog(
                destination, pending=backlog.pending, oldest_seconds=age, dead=backlog.dead
            )

    def set_config(self, digest: str, *, now: Micros) -> None:
        """Say which configuration is in force, since *now*."""
        self.config_info.clear()
        self.config_info.labels(digest).set(1)
        self.config_last_reload_successful.set(1)
        self.config_last_reload_success_timestamp_seconds.set(now / SECOND)

    def refused(self, reason: str) -> None:
        """Count a request that no source judged; *reason* is one of `REFUSALS`."""
        self.requests_refused_total.labels(reason).inc()

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type; safe in any thread."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    @property
    def _backlog_gauges(self) -> tuple[Gauge, ...]:
        return self.deliveries_pending, self.oldest_pending_seconds, self.deliveries_dead

    def _drop(self, label: str, value: str, *, keep_backlog: bool = False) -> None:
        for series in SERIES:
            metric = self._by_name[series.name]
            if label in series.labels and not (keep_backlog and metric in self._backlog_gauges):
                metric.remove_by_labels({label: value})

    def _counter(self, name: str) -> Counter:
        series = BY_NAME[name]
        made = Counter(series.full_name, series.help, series.labels, registry=self.registry)
        self._by_name[name] = made
        return made

    def _gauge(self, name: str) -> Gauge:
        series = BY_NAME[name]
        made = Gauge(series.full_name, series.help, series.labels, registry=self.registry)
        self._by_name[name] = made
        return made

    def _histogram(self, name: str) -> Histogram:
        series = BY_NAME[name]
        made = Histogram(
            series.full_name,
            series.help,
            series.labels,
            buckets=series.buckets,
            registry=self.registry,
        )
        self._by_name[name] = made
        return made
