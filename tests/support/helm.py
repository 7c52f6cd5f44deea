"""The chart as Helm renders it: objects by kind and name."""

from __future__ import annotations

import atexit
import functools
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "circleci-relay"

Object = dict[str, Any]
Values = dict[str, Any]

WORKLOADS = ("Deployment", "StatefulSet")


class Refused(Exception):  # noqa: N818 - it is what Helm says
    """Helm renders nothing of these values, and says why."""


class _Strict(yaml.CSafeLoader):
    """Refuses what Kubernetes would take the last of without a word, and makes no dates."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - as PyYAML has it
        keys = Counter(str(key.value) for key, _ in node.value)
        if twice := [key for key, count in keys.items() if count > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_Strict.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
# Go reads 1e3 as a number, PyYAML as a text.
_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


@dataclass(frozen=True)
class Release:
    """What Helm would hand to Kubernetes, and what it would say."""

    name: str
    namespace: str
    values: Values  #: what was given; the chart's own are not among them
    objects: tuple[Object, ...]
    notes: str

    def all(self, *kinds: str) -> list[Object]:
        """Return the objects of these *kinds*, in the order rendered."""
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, ending: str = "") -> Object:
        """Return the one object of *kind* whose name ends so."""
        found = [each for each in self.all(kind) if each["metadata"]["name"].endswith(ending)]
        names = [each["metadata"]["name"] for each in self.all(kind)]
        assert len(found) == 1, f"{kind}: {names}"
        return found[0]

    def workload(self) -> Object:
        """Return the Deployment or StatefulSet."""
        [found] = self.all(*WORKLOADS)
        return found

    def template(self) -> Object:
        """Return the pods' template."""
        template: Object = self.workload()["spec"]["template"]
        return template

    def relay(self) -> Object:
        """Return the container that the program runs in."""
        container: Object = self.template()["spec"]["containers"][0]
        return container

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Yield the specification of each pod there will be, with a name for it."""
        for each in self.objects:
            named = f"{each['kind']}/{each['metadata']['name']}"
            if each["kind"] in WORKLOADS:
                yield named, each["spec"]["template"]["spec"]
            elif each["kind"] == "Pod":
                yield named, each["spec"]

    def port(self, listener: str) -> int:
        """Return the number of the container's port of that name."""
        [number] = [
            each["containerPort"] for each in self.relay()["ports"] if each["name"] == listener
        ]
        return int(number)

    def files(self) -> dict[str, str]:
        """Return what the pod finds in /etc/circleci-relay, out of ConfigMaps of the release."""
        [place] = [
            each["name"]
            for each in self.relay()["volumeMounts"]
            if each["mountPath"] == "/etc/circleci-relay"
        ]
        [volume] = [each for each in self.template()["spec"]["volumes"] if each["name"] == place]
        sources = volume.get("projected", {}).get("sources") or [volume]
        found: dict[str, str] = {}
        for source in sources:
            asked = source["configMap"]
            for each in self.all("ConfigMap"):
                if each["metadata"]["name"] == asked["name"]:
                    found |= _chosen(each["data"], asked.get("items"))
        return found


def _chosen(data: Mapping[str, str], items: list[dict[str, str]] | None) -> dict[str, str]:
    if items is None:
        return dict(data)
    return {each["path"]: data[each["key"]] for each in items}


class Helm:
    """The engine, running in a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [sys.executable, "-P", str(Path(__file__).with_name("helm_engine.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        atexit.register(self.close)

    def close(self) -> None:
        """Let it end."""
        atexit.unregister(self.close)
        self._process.communicate()

    def render(
        self,
        values: Values | str | None = None,
        *,
        name: str = "relay",
        namespace: str = "ci",
        upgrade: bool = False,
        chart: Path = CHART,
    ) -> Release:
        """Render *chart* with *values*, a map or the text of a file; `Refused` if it will not."""
        given = {} if values is None else values
        answer = self._ask(
            "render", given, chart=str(chart), name=name, namespace=namespace, upgrade=upgrade
        )
        objects: list[Object] = []
        notes = ""
        for path, text in sorted(answer["files"].items()):
            if path.endswith("NOTES.txt"):
                notes = text
            elif not Path(path).name.startswith("_"):
                objects += (each for each in yaml.load_all(text, _Strict) if each)
        known = yaml.safe_load(given) if isinstance(given, str) else given
        return Release(name, namespace, known or {}, tuple(objects), notes)

    def lint(self, values: Values | str | None = None) -> list[str]:
        """Return what `helm lint --strict` has to say."""
        given = {} if values is None else values
        report = self._ask("lint", given, chart=str(CHART), name="", namespace="ci", upgrade=False)[
            "lint"
        ]
        told = [f"{each['path']}: {each['error']}" for each in report["messages"]]
        return told + list(report["errors"])

    def _ask(self, do: str, values: Values | str, **release: str | bool) -> Any:
        request = {"do": do, "values": values, **release}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"Helm's engine ended with {self._process.wait()}"
        answer = json.loads(line)
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer


@functools.cache
def helm() -> Helm:
    """Return the engine, started for whoever asks first; there is not one for every machine."""
    if find_spec("helm_python") is None:
        pytest.skip("Helm's engine is not here")
    return Helm()
