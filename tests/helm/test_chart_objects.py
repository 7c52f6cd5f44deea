"""Every object the chart makes of any values: valid, named, labelled, and holding together."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from support import chart_cases, kubernetes
from support.chart_cases import IN_THE_CLEAR, defaults, faults, merged
from support.helm import CHART, Object, Release, helm

if TYPE_CHECKING:
    from collections.abc import Iterator

LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
REVISION = len("-") + 10
"""What Kubernetes adds to a StatefulSet's name and then takes for a label."""


def test_every_case_renders() -> None:
    """Helm takes all of these values."""
    releases, refused = chart_cases.rendered()
    assert not refused
    assert len(releases) > 20


SINCE = "1.27"
"""Kubernetes knows `unhealthyPodEvictionPolicy` from here on; values.yaml says so."""


@pytest.mark.parametrize("version", kubernetes.VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    """Each object is valid by the schemas of that version, and of the operators."""

    def check(release: Release) -> Iterator[str]:
        for each in release.objects:
            for fault in kubernetes.faults(each, version):
                if "unhealthyPodEvictionPolicy" not in fault or version >= SINCE:
                    yield f"{_named(each)}: {fault}"

    assert faults(check) == []


def test_a_field_that_nobody_knows_is_refused() -> None:
    """The schemas would say so, those of custom resources too."""
    found = (
        *chart_cases.release("all-of-postgresql").objects,
        *chart_cases.release("pods-monitored").objects,
    )
    assert len({each["kind"] for each in found}) > 10
    for each in found:
        if "spec" in each:
            odd = {**each, "spec": {**each["spec"], "unheardOf": 1}}
            assert any("unheardOf" in fault for fault in kubernetes.faults(odd, "1.37"))


def test_lint_finds_nothing() -> None:
    """Neither for the chart as it is, nor for any of its own examples of values."""
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    assert files
    for values in (None, *(path.read_text(encoding="utf-8") for path in files)):
        assert helm().lint(values) == []


def test_names() -> None:
    """They are unique, and no longer than what is made of them may be."""

    def check(release: Release) -> Iterator[str]:
        seen = Counter((each["apiVersion"], *_place(release, each)) for each in release.objects)
        yield from (f"{key} is there twice" for key, count in seen.items() if count > 1)
        for each in release.objects:
            name = each["metadata"]["name"]
            pattern = SERVICE if each["kind"] == "Service" else SUBDOMAIN
            if not pattern.fullmatch(name):
                yield f"{_named(each)} is no name"
            if each["kind"] == "StatefulSet" and len(name) + REVISION > 63:
                yield f"{_named(each)} leaves no room for its pods' revision"
            if each["kind"] in {"Deployment", "Pod"} and len(name) > 63:
                yield f"{_named(each)} is too long"

    assert faults(check) == []


def test_labels() -> None:
    """Each object has the recommended ones, and Kubernetes takes their values."""

    def check(release: Release) -> Iterator[str]:
        wanted = {
            "app.kubernetes.io/instance": release.name,
            "app.kubernetes.io/managed-by": "Helm",
            "app.kubernetes.io/name": None,
            "app.kubernetes.io/version": None,
            "helm.sh/chart": None,
        }
        own = _extra_objects(release)
        for each in release.objects:
            labels = each["metadata"].get("labels", {})
            for key, value in wanted.items():
                if each["metadata"]["name"] not in own and labels.get(key) != (
                    value or labels.get(key, "")
                ):
                    yield f"{_named(each)}: {key} is {labels.get(key)}"
        for path, value in _leaves(release.objects, "labels", "matchLabels"):
            if not LABEL.fullmatch(value):
                yield f"{path}: {value!r} is no label"

    assert faults(check) == []


MONITORS = {"dashboard", "ServiceMonitor", "PodMonitor", "PrometheusRule"}


def test_namespaces() -> None:
    """Nothing lies elsewhere but what the values put there."""

    def check(release: Release) -> Iterator[str]:
        home = release.values.get("namespaceOverride", release.namespace)
        for each in release.objects:
            asked = {home, None}
            kind = "dashboard" if each["metadata"]["name"].endswith("dashboard") else each["kind"]
            if kind in MONITORS:
                key = kind[0].lower() + kind[1:]
                asked = {_at(release.values, "metrics", key).get("namespace", home)}
            if each["metadata"].get("namespace") not in asked:
                yield _named(each)

    assert faults(check) == []


def test_nothing_is_left_open() -> None:
    """No null, which some tools take for a deletion; no `latest`; no image without a version."""

    def check(release: Release) -> Iterator[str]:
        for path, value in _leaves(release.objects):
            if value is None:
                yield f"{path} is null"
            versioned = not path.endswith(".image") or re.search(r":[\w.-]+$", value)
            if not versioned or (".data." not in path and re.search(r"\blatest\b", str(value))):
                yield f"{path} is {value}"

    assert faults(check) == []


def test_what_is_referred_to_is_there() -> None:
    """Each name in an object is one of the release's, or one that the values gave."""

    def check(release: Release) -> Iterator[str]:
        ours = {(each["kind"], each["metadata"]["name"]) for each in release.objects}
        given = {value for _, value in _leaves([defaults(), release.values])}
        for kind, name, where in _references(release):
            if (kind, name) in ours:
                continue
            if name not in given and (kind, name) != ("ServiceAccount", "default"):
                yield f"{where}: there is no {kind} {name}"
        for kind, names in _own(release).items():
            for name in names - _extra_objects(release):
                if (kind, name) in ours:
                    yield f"{kind} {name} is the chart's, and one of the values' own"

    assert faults(check) == []


def test_secrets_lie_in_secrets_alone() -> None:
    """What the values say in the clear is in no other object, and not in the notes."""
    release = chart_cases.release("in-the-clear")
    [secret] = release.all("Secret")
    rest = [each for each in release.objects if each is not secret]
    assert IN_THE_CLEAR not in json.dumps(rest) + release.notes
    assert chart_cases.release("default").all("Secret") == []


def test_notes_say_the_next_step() -> None:
    """The notes tell the URL that CircleCI is to be given, and how to open the page."""
    ingress, plain = chart_cases.release("tls").notes, chart_cases.release("default").notes
    assert "https://relay.example.com/webhooks/circleci" in ingress
    assert "backend-protocol: HTTPS" in ingress
    assert "port-forward" in plain
    assert "8082" in plain


def test_what_the_notes_name_is_there() -> None:
    """Their commands are about objects of the release, in its namespace, by ports they have."""

    def check(release: Release) -> Iterator[str]:
        ours = {_named(each).lower() for each in release.objects}
        yield from (
            f"there is no {named}"
            for named in re.findall(
                r"\b((?:statefulset|deployment|service)/[\w.-]+)", release.notes
            )
            if named.rstrip(".") not in ours
        )
        ports = {
            (each["metadata"]["name"], str(port["port"]))
            for each in release.all("Service")
            for port in each["spec"]["ports"]
        }
        forwarded = re.findall(r"port-forward service/(\S+) \d+:(\d+)", release.notes)
        yield from (f"{each} is no port" for each in forwarded if each not in ports)
        home = release.values.get("namespaceOverride", release.namespace)
        spaces = set(re.findall(r"kubectl -n (\S+)", release.notes))
        if spaces != {home}:
            yield f"the commands are for {spaces}"
        tested = f"helm test -n {release.namespace} {release.name}\n" in release.notes
        if tested != bool(release.all("Pod")):
            yield "helm test is named where there is none, or not where there is"
        if "<no value>" in release.notes or "%!" in release.notes or "https://*" in release.notes:
            yield "something is left open"

    assert faults(check) == []


def test_the_notes_commands_find_the_configuration() -> None:
    """`circleci-relay` in the pod reads the folder that the program was started with."""
    found = chart_cases.release("default")
    variables = {each["name"]: each.get("value") for each in found.relay()["env"]}
    folder = variables.get("CIRCLECI_RELAY_CONFIG")
    for options in re.findall(r"-- circleci-relay check\b(.*)", found.notes):
        assert "/etc/circleci-relay" in (folder, options.rpartition(" ")[2])


def _own(release: Release) -> dict[str, set[str]]:
    """Return the names of what the values say is there already, by kind."""
    values = merged(defaults(), release.values)
    store, secrets = values["store"], values["secrets"]
    return {
        "ConfigMap": {values["existingConfigMap"]},
        "PersistentVolumeClaim": {store["sqlite"]["existingClaim"]},
        "Secret": {
            *secrets["files"],
            *secrets["env"],
            values["admin"]["existingSecret"],
            values["hooks"]["tls"]["existingSecret"],
            store["postgresql"]["existingSecret"],
        },
    }


def _references(release: Release) -> Iterator[tuple[str, str, str]]:
    """Yield each name by which an object refers to another, with its kind and where it stands."""
    for where, pod in release.pods():
        if "serviceAccountName" in pod:
            yield "ServiceAccount", pod["serviceAccountName"], where
        for source in _sources(pod):
            for key, kind in SOURCES.items():
                if key in source and not source[key].get("optional"):
                    asked = source[key]
                    name = asked.get("name") or asked.get("secretName") or asked.get("claimName")
                    yield kind, name, where
    for each in release.all("Ingress"):
        for tls in each["spec"].get("tls", ()):
            yield "Secret", tls["secretName"], _named(each)
    for each in release.all("HorizontalPodAutoscaler"):
        target = each["spec"]["scaleTargetRef"]
        yield target["kind"], target["name"], _named(each)
    for each in release.all("StatefulSet"):
        yield "Service", each["spec"]["serviceName"], _named(each)


def _sources(pod: Object) -> Iterator[Object]:
    """Yield all of which a pod's files and variables are made."""
    yield from ({"secret": each} for each in pod.get("imagePullSecrets", ()))
    for volume in pod.get("volumes", ()):
        yield from (volume, *volume.get("projected", {}).get("sources", ()))
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        yield from container.get("envFrom", ())
        for each in container.get("env", ()):
            yield each.get("valueFrom", {})


SOURCES = {
    "configMap": "ConfigMap",
    "configMapRef": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "persistentVolumeClaim": "PersistentVolumeClaim",
    "secret": "Secret",
    "secretRef": "Secret",
    "secretKeyRef": "Secret",
}


def _extra_objects(release: Release) -> set[str]:
    return {each["metadata"]["name"] for each in release.values.get("extraObjects", ())}


def _place(release: Release, each: Object) -> tuple[str, str, str]:
    metadata = each["metadata"]
    return each["kind"], metadata.get("namespace", release.namespace), metadata["name"]


def _named(each: Object) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


def _at(values: Any, *path: str) -> Any:
    for key in path:
        values = values.get(key, {})
    return values


def _leaves(whole: Any, *below: str, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value that is no map and no list, and its path; *below*: only under such keys."""
    if isinstance(whole, dict):
        for key, value in whole.items():
            chosen = () if key in below else below
            yield from _leaves(value, *chosen, path=f"{path}.{key}")
    elif isinstance(whole, list | tuple):
        for number, value in enumerate(whole):
            yield from _leaves(value, *below, path=f"{path}.{number}")
    elif not below:
        yield path, whole
