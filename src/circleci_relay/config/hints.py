"""Warnings: what is valid, and can never match or work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from circleci_relay.config.discretion import sayable
from circleci_relay.config.faults import near
from circleci_relay.config.match_hints import of_route
from circleci_relay.config.tree import Map, locate, value_at
from circleci_relay.matching import view_of
from circleci_relay.model import Facts
from circleci_relay.routing import Subject, compile_match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.config.model import Config, Destination, RouteSettings
    from circleci_relay.model import Fault

_READERS = (
    (r"hooks\.slack(-gov)?\.com", "Slack"),
    (r"(.*\.)?discord(app)?\.com", "Discord"),
    (r".*\.webhook\.office\.com|outlook\.office(365)?\.com", "Teams"),
    (r".*\.logic\.azure\.com|.*\.api\.powerplatform\.com", "Teams"),
    (r"chat\.googleapis\.com", "Google Chat"),
    (r"events(\.eu)?\.pagerduty\.com", "PagerDuty"),
    (r"api(\.eu)?\.opsgenie\.com", "Opsgenie"),
    (r"alert\.victorops\.com", "Splunk On-Call"),
    (r"api\.telegram\.org", "Telegram"),
)


def reader_of(url: str) -> str | None:
    """The chat or pager behind *url*, where it is a known one."""
    host = (urlsplit(url).hostname or "").lower()
    return next((name for hosts, name in _READERS if re.fullmatch(hosts, host)), None)


def warnings(config: Config, root: Map) -> Iterator[Fault]:
    """Everything worth a second look."""
    hints = _Hints(config, root)
    yield from hints.sources()
    yield from hints.destinations()
    yield from hints.routes()


class _Hints:
    """One look over a configuration without faults."""

    def __init__(self, config: Config, root: Map) -> None:
        self._config, self._root = config, root
        self._enabled = [route for route in config.routes.values() if route.enabled]

    def _at(self, message: str, *path: str | int) -> Fault:
        spot, rest = locate(self._root, path)
        return spot.fault(message, rest)

    def sources(self) -> Iterator[Fault]:
        """Sources whose events go nowhere, and secrets that look mistaken."""
        if not self._config.routes:
            yield self._at(
                "there is no route: events are stored, and sent nowhere; add one", "routes"
            )
        for name, source in self._config.sources.items():
            if self._config.routes and not any(_takes(each, name) for each in self._enabled):
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
        reached = {name for route in self._enabled for name in route.to}
        for name, destination in self._config.destinations.items():
            if self._config.routes and name not in reached:
                yield self._at(
                    "no enabled route sends to it; add one, or take the destination out",
                    "destinations",
                    name,
                )
            if reader := _reader(destination):
                yield self._at(
                    f"{reader} does not understand CircleCI's own body, and nothing else is sent; "
                    "put something in between that translates it",
                    *self._said(name, "url"),
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
            if "type" not in match and "job" not in match:
                yield from self._to_reader(name, route)

    def _source_names(self, name: str, match: dict[str, Any]) -> Iterator[Fault]:
        if "source" not in match:
            return
        one = {"source": match["source"]}
        if not any(_holds(one, source) for source in self._config.sources):
            said = match["source"]
            hint = near(said, self._config.sources) if isinstance(said, str) else ""
            known = f"; the sources are {', '.join(self._config.sources)}"
            yield self._at(
                f"no source is called so{hint or known}", "routes", name, "match", "source"
            )

    def _to_reader(self, name: str, route: RouteSettings) -> Iterator[Fault]:
        for index, to in enumerate(route.to):
            # Absent only where a stand-in for a variable takes the name's place.
            destination = self._config.destinations.get(to)
            if destination and (reader := _reader(destination)):
                yield self._at(
                    f"{reader} would get every job and then its workflow too; "
                    "add type: workflow-completed to match",
                    "routes",
                    name,
                    "to",
                    index,
                )


def _reader(destination: Destination) -> str | None:
    return reader_of(destination.url.get_secret_value())


def _takes(route: RouteSettings, source: str) -> bool:
    match = route.match or {}
    one: dict[str, Any] = {"source": match["source"]} if "source" in match else {}
    refused = match.get("not") or {}
    if "source" in refused:
        one["not"] = {"source": refused["source"]}
    return _holds(one, source)


def _holds(one: dict[str, Any], source: str) -> bool:
    view = view_of(Subject(Facts(type="workflow-completed"), source, {}), None)
    return compile_match(one).judge(view)[0]
