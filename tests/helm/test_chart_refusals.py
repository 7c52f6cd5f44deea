"""Values that cannot work are refused, by a message that says what to do."""

from __future__ import annotations

import re

import pytest

from circleci_relay.config import values as settings
from support.chart_cases import (
    ADMIN,
    HTTP_ROUTE,
    INGRESS,
    MONITORING,
    POSTGRESQL,
    RELAY_YAML,
    merged,
)
from support.helm import Refused, Values, helm

REFUSED: tuple[tuple[str, Values, tuple[str, ...]], ...] = (
    ("two of SQLite", {"replicas": 2}, ("replicas", "store.type: postgresql")),
    (
        "SQLite scaled",
        {"autoscaling": {"enabled": True}},
        ("autoscaling", "store.type: postgresql"),
    ),
    ("config as a map", {"config": {"sources": {}}}, ("config", "--set-file")),
    ("no config", {"config": ""}, ("config",)),
    ("an unknown key", {"replicaCount": 2}, ("replicaCount",)),
    ("an unknown key below", {"store": {"sqlite": {"sise": "1Gi"}}}, ("sise",)),
    ("an unknown store", {"store": {"type": "mysql"}}, ("type", "sqlite", "postgresql")),
    (
        "admin without a Secret",
        {"admin": {"enabled": True, "tokens": {"a": {}}}},
        ("existingSecret", "tokens"),
    ),
    (
        "admin without tokens",
        {"admin": {"enabled": True, "existingSecret": "a"}},
        ("tokens", "role"),
    ),
    ("an unknown role", merged(ADMIN, {"admin": {"tokens": {"a": {"role": "root"}}}}), ("viewer",)),
    ("no database", {"store": {"type": "postgresql"}}, ("existingSecret", "URL")),
    ("a bad duration", {"shutdown": {"drain": "20 seconds"}}, ("drain", "30s")),
    ("a number as duration", {"store": {"keep": 14}}, ("keep", "string")),
    ("a long flush", {"shutdown": {"flush": "2h"}}, ("shutdown.flush", "60m")),
    ("ingress of nothing", {"ingress": {"enabled": True}}, ("ingress", "hosts")),
    ("a route of nothing", {"httpRoute": {"enabled": True}}, ("httpRoute", "parentRefs")),
    (
        "scraped twice",
        merged(MONITORING, {"metrics": {"podMonitor": {"enabled": True}}}),
        ("serviceMonitor", "twice"),
    ),
    ("a name too long", {"fullnameOverride": "f" * 53}, ("fullnameOverride",)),
    ("no name at all", {"fullnameOverride": "Relay!"}, ("fullnameOverride",)),
    (
        "said twice",
        {"config": f"{RELAY_YAML}store: {{url: sqlite:///x.db}}\n"},
        ("store.url", "config"),
    ),
    (
        "listening elsewhere",
        {"configFiles": {"a.yaml": "server: {ops: 0.0.0.0:9}\n"}},
        ("a.yaml", "server.ops"),
    ),
    ("the chart's own file", {"configFiles": {"chart.yaml": "routes: {}\n"}}, ("chart.yaml",)),
    ("relay.yaml again", {"configFiles": {"relay.yaml": "routes: {}\n"}}, ("relay.yaml",)),
    ("a file nobody reads", {"configFiles": {"team-a.yml": "routes: {}\n"}}, ("team-a.yml",)),
    ("kept too briefly", {"store": {"keep": "1s"}}, ("store.keep",)),
    ("kept for ever", {"store": {"keep": "99999d"}}, ("store.keep", "3650d")),
    ("no URL", {"admin": {"externalUrl": "https://a.example.com/#b"}}, ("admin.externalUrl",)),
    (
        "fewest above most",
        merged(POSTGRESQL, {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}),
        ("minReplicas",),
    ),
    (
        "its own ConfigMap as another's",
        {"existingConfigMap": "relay-circleci-relay"},
        ("existingConfigMap", "fullnameOverride"),
    ),
    ("a log level", {"logLevel": "loud"}, ("logLevel", "debug")),
)


@pytest.mark.parametrize(
    ("values", "words"), [pytest.param(each, said, id=name) for name, each, said in REFUSED]
)
def test_refused(values: Values, words: tuple[str, ...]) -> None:
    """Helm renders nothing, and names what is wrong and what would be right."""
    with pytest.raises(Refused) as caught:
        helm().render(values)
    told = str(caught.value)
    # By the schema a path is told with a slash, as in JSON.
    assert [word for word in words if word not in told and word not in told.replace("/", ".")] == []


NEEDED: tuple[tuple[Values, tuple[str, ...]], ...] = (
    ({}, ("store", "type")),
    ({}, ("store", "keep")),
    ({}, ("store", "sqlite", "accessModes")),
    ({}, ("shutdown", "linger")),
    ({}, ("probes", "liveness")),
    ({}, ("image", "repository")),
    (POSTGRESQL, ("store", "postgresql", "existingSecret")),
    (ADMIN, ("admin", "tokens")),
    (ADMIN, ("admin", "existingSecret")),
    (INGRESS, ("ingress", "hosts")),
    (INGRESS, ("ingress", "paths")),
    (HTTP_ROUTE, ("httpRoute", "parentRefs")),
)


def test_what_is_needed_cannot_be_taken_away() -> None:
    """In Helm null takes a default away; where nothing works without it, that is refused."""
    for base, path in NEEDED:
        without: Values = {path[-1]: None}
        for key in reversed(path[:-1]):
            without = {key: without}
        with pytest.raises(Refused, match=path[-1]):
            helm().render(merged(base, without))


def test_a_name_that_no_service_may_have() -> None:
    """A release whose name begins with a digit is told how it can be called what it is."""
    with pytest.raises(Refused, match="fullnameOverride"):
        helm().render(name="7-up")


DURATIONS = ("0s", "250ms", "1.5m", "59s", "0.5h", "1d", "5", "5 s", "-5s", "s", "1e3s", "5S", "")


def test_durations_are_the_programs() -> None:
    """The chart takes a duration where the program does; nothing stands for none at all."""
    for text in DURATIONS:
        try:
            known = settings.duration(text) <= 3600
        except ValueError:
            known = False
        try:
            helm().render({"shutdown": {"flush": text}})
            taken = True
        except Refused:
            taken = False
        assert taken == (known or not text), text


def test_several_replicas_of_postgresql_are_taken() -> None:
    """What SQLite cannot do, PostgreSQL can."""
    found = helm().render(merged(POSTGRESQL, {"replicas": 5}))
    assert found.one("Deployment")["spec"]["replicas"] == 5
    assert re.search(r"deployment/relay", found.notes)
