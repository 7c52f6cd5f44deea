"""Warnings: what is valid, and can never match or work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from circleci_relay.config.discretion import sayable
from circleci_relay.config.faults import near
from circleci_relay.config.match_hints import of_route, only_good
from circleci_relay.config.quiet import LABELS
from circleci_relay.config.tree import Map, locate, value_at
from circleci_relay.matching import view_of
from circleci_relay.model import Facts
from circleci_relay.routing import Subject, compile_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.config.model import Config, Destination, RouteSettings
    from circleci_relay.matching import View
    from circleci_relay.model import Fault
    from circleci_relay.routing import Match

_READERS = (
    (r"hooks\.slack(-gov)?\.com", "Slack", "slack"),
    (r"(.*\.)?discord(app)?\.com", "Discord", "discord"),
    (r".*\.webhook\.office\.com|outlook\.office(365)?\.com", "Teams", "msteams"),
    (r".*\.logic\.azure\.com|.*\.api\.powerplatform\.com", "Teams", "msteams"),
    (r"chat\.googleapis\.com", "Google Chat", "google-chat"),
    (r"events(\.eu)?\.pagerduty\.com", "PagerDuty", "pagerduty"),
    (r"api(\.eu)?\.opsgenie\.com", "Opsgenie", "opsgenie"),
    (r"alert\.victorops\.com", "Splunk On-Call", None),
    (r"api\.telegram\.org", "Telegram", None),
)


class _Reader(NamedTuple):
    """A chat or pager."""

    name: str
    preset: str | None


def reader_of(url: str) -> _Reader | None:
    """The chat or pager behind *url*, where it is a known one."""
    host = (urlsplit(url).hostname or "").lower()
    return next((_Reader(*known) for hosts, *known in _READERS if re.fullmatch(hosts, host)), None)


def warnings(config: Config, root: Map) -> Iterator[Fault]:
    """Everything worth a second look."""
    hints = _Hints(config, root)
    yield from hints.sources()
    yield from hints.destinations()
    yield from hints.routes()
    yield from hints.notify()


class _Hints:
    """One look over a configuration without faults."""

    def __init__(self, config: Config, root: Map) -> None:
        self._config, self._root = config, root
        self._enabled = [route for route in config.routes.values() if route.enabled]
        self._labels = {label for labels in config.projects.values() for label in labels}

    def _at(self, message: str, *path: str | int) -> Fault:
        spot, rest = locate(self._root, path)
        return spot.fault(message, rest)

    def sources(self) -> Iterator[Fault]:
        """Sources whose events go nowhere, and secrets that look mistaken."""
        if not self._config.routes:
            yield self._at(
                "there is no route: events are stored, and sent nowhere; add one", "routes"
            )
        wanted = [_sources_of(route) for route in self._enabled]
        for name, source in self._config.sources.items():
            view = _view(name)
            if self._config.routes and not any(each.judge(view)[0] for each in wanted):
                yield self._at(
                    "no route takes its events: they are stored, and sent nowhere; add a route",
                    "sources",
                    name,
                )
            for secret in source.secrets:
                if secret.value != secret.value.strip():
                    known = sayable(secret.name)
                    called = f"the secret {secret.name}" if known else "one of the secrets"
                    yield self._at(
                        f"{called} begins or ends with a space or line break, "
                        "which counts; take it away unless CircleCI has it too",
                        "sources",
                        name,
                        "secrets",
                    )

    def destinations(self) -> Iterator[Fault]:
        """Destinations that nothing reaches, or that cannot make sense of what does."""
        notified = self._config.notify.to if self._config.notify else ()
        reached = {*notified, *(name for route in self._enabled for name in route.to)}
        for name, destination in self._config.destinations.items():
            if self._config.routes and name not in reached:
                yield self._at(
                    "no enabled route sends to it; add one, or take the destination out",
                    "destinations",
                    name,
                )
            if destination.body is None and (reader := _reader(destination)):
                remedy = f"{{preset: {reader.preset}}}" if reader.preset else "{template: ...}"
                yield self._at(
                    f"{reader.name} does not understand CircleCI's own body, and nothing else is "
                    f"sent; say body: {remedy}",
                    *self._said(name, "url"),
                )
            yield from self._labels_asked(name, destination)
            body = destination.body
            if destination.group is not None and body is not None and not body.counts:
                yield self._at(
                    "the body names neither events nor count, so of several events it tells only "
                    "the last",
                    *self._said(name, "group"),
                )
            for index, key in enumerate(destination.group.by if destination.group else ()):
                if key.startswith(LABELS) and key.removeprefix(LABELS) not in self._labels:
                    yield self._at(
                        f"no project has this label{near(key.removeprefix(LABELS), self._labels)}",
                        *self._said(name, "group"),
                        "by",
                        index,
                    )
            if destination.tls is not None and not destination.tls.verify:
                yield self._at(
                    "the certificate is not checked: anyone on the way can read and forge; "
                    "set tls.ca to a private authority instead",
                    *self._said(name, "tls", "verify"),
                )

    def _said(self, name: str, *key: str) -> tuple[str, ...]:
        """Where a setting stands: with the destination, or among the defaults."""
        parent = value_at(self._root, ("destinations", name, *key[:-1]))
        own = isinstance(parent, Map) and key[-1] in parent
        return ("destinations", name, *key) if own else ("defaults", *key)

    def routes(self) -> Iterator[Fault]:
        """Routes that can never match, or match more than was meant."""
        for name, route in self._config.routes.items():
            match = route.match or {}
            # The tree's own texts know whether a variable is in them.
            for path, message in of_route(value_at(self._root, ("routes", name, "match")) or {}):
                yield self._at(message, "routes", name, "match", *path)
            yield from self._source_names(name, match)
            yield from self._label_names(name, match)
            yield from self._left_over(name, route)
            if route.hold is not None and only_good(match):
                yield self._at(
                    "what it takes is good news, which no later event makes needless; "
                    "take hold out",
                    "routes",
                    name,
                    "hold",
                )
            if route.hold is not None:
                yield from self._held_and_grouped(name, route)
            if "type" not in match and "job" not in match:
                yield from self._to_reader(name, route)

    def notify(self) -> Iterator[Fault]:
        """Notices that nobody gets."""
        notify = self._config.notify
        if notify is None:
            return
        if notify.silent:
            yield self._at("every rule is off, and nothing is told; switch one on", "notify")
        for index, name in enumerate(notify.to):
            # Absent only where a stand-in for a variable takes the name's place.
            destination = self._config.destinations.get(name)
            if destination is None:
                continue
            at = ("notify", "to", index)
            if destination.paused:
                yield self._at(f"{name} is paused, and keeps what it is told back", *at)
            if destination.recipe is not None and destination.recipe.url.labels:
                yield self._at(
                    f"the URL of {name} is made of a project's labels, and what the relay tells "
                    "of itself has no project; name another",
                    *at,
                )

    def _labels_asked(self, name: str, destination: Destination) -> Iterator[Fault]:
        """Labels that a template names and no project has."""
        recipe = destination.recipe
        if recipe is None:
            return
        parts: dict[tuple[str, ...], frozenset[str]] = {("url",): recipe.url.labels_asked}
        for header, text in recipe.headers.items():
            parts["headers", header] = text.labels_asked
        for key, text in recipe.address.items():
            parts[destination.section or "", key] = text.labels_asked
        parts["body",] = recipe.labels_asked.difference(*parts.values())
        for part, labels in parts.items():
            for label in sorted(labels - self._labels):
                yield self._at(
                    f"no project has the label {label}{near(label, self._labels)}",
                    *self._said(name, *part),
                )

    def _held_and_grouped(self, name: str, route: RouteSettings) -> Iterator[Fault]:
        for to in route.to:
            destination = self._config.destinations.get(to)
            if destination is not None and destination.group is not None:
                yield self._at(
                    f"{to} has a group, and what is held is told alone; take one of them out",
                    "routes",
                    name,
                    "hold",
                )

    def _source_names(self, name: str, match: dict[str, Any]) -> Iterator[Fault]:
        if "source" not in match:
            return
        one = compile_match({"source": match["source"]})
        if not any(one.judge(_view(source))[0] for source in self._config.sources):
            said = match["source"]
            hint = near(said, self._config.sources) if isinstance(said, str) else ""
            known = f"; the sources are {', '.join(self._config.sources)}"
            yield self._at(
                f"no source is called so{hint or known}", "routes", name, "match", "source"
            )

    def _label_names(self, name: str, match: dict[str, Any]) -> Iterator[Fault]:
        refused = match.get("not") or {}
        for at, labels in (((), match.get("labels")), (("not",), refused.get("labels"))):
            for label in labels or {}:
                if label not in self._labels:
                    yield self._at(
                        f"no project has this label{near(label, self._labels)}",
                        *("routes", name, "match", *at, "labels", label),
                    )

    def _left_over(self, name: str, route: RouteSettings) -> Iterator[Fault]:
        """An `otherwise` that another route leaves nothing to."""
        if not route.otherwise or not route.enabled or _wants_pings(route):
            return
        for other in self._enabled:
            if not other.otherwise and not other.match:
                yield self._at(
                    f"the route {other.name} takes every event, and leaves none to this one; "
                    "take otherwise out, or give that one a match",
                    "routes",
                    name,
                    "otherwise",
                )
                return

    def _to_reader(self, name: str, route: RouteSettings) -> Iterator[Fault]:
        for index, to in enumerate(route.to):
            # Absent only where a stand-in for a variable takes the name's place.
            destination = self._config.destinations.get(to)
            if destination and (reader := _reader(destination)):
                yield self._at(
                    f"{reader.name} would get every job and then its workflow too; "
                    "add type: workflow-completed to match",
                    "routes",
                    name,
                    "to",
                    index,
                )


def _reader(destination: Destination) -> _Reader | None:
    return reader_of(destination.display)


def _wants_pings(route: RouteSettings) -> bool:
    return compile_match(route.match or {}).takes_ping


def _sources_of(route: RouteSettings) -> Match:
    """What *route* says of sources, and nothing else of it."""
    match = route.match or {}
    one: dict[str, Any] = {"source": match["source"]} if "source" in match else {}
    refused = match.get("not") or {}
    if "source" in refused:
        one["not"] = {"source": refused["source"]}
    return compile_match(one)


def _view(source: str) -> View:
    """Any event that comes by *source*."""
    return view_of(Subject(Facts(type="workflow-completed"), source, {}), None)
