"""Objects held against the schemas of several versions of Kubernetes, unknown fields refused."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSIONS = ("1.25", "1.28", "1.31", "1.34", "1.37")

_BUILT_IN = Path(str(resources.files("kubernetes_validate"))) / "kubernetes-json-schema"
_CUSTOM = Path(__file__).parents[1] / "helm" / "schemas"


def faults(object_: Mapping[str, Any], version: str) -> Iterator[str]:
    """Yield what that *version* would refuse in *object_*, and where."""
    validator = _validator(version, object_["apiVersion"], object_["kind"])
    if validator is None:
        yield f"{object_['kind']} of {object_['apiVersion']} is not in Kubernetes {version}"
        return
    for error in validator.iter_errors(object_):
        yield f"{version}: {'.'.join(map(str, error.instance_path))}: {error.message}"


@functools.cache
def _validator(version: str, api: str, kind: str) -> jsonschema_rs.Draft202012Validator | None:
    custom = _CUSTOM / f"{kind.lower()}.json"
    if custom.exists():
        schema = json.loads(custom.read_text(encoding="utf-8"))
        assert schema["properties"]["apiVersion"]["const"] == api
        return jsonschema_rs.Draft202012Validator(schema)
    # networking.k8s.io/v1 is networking-v1 there.
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api)
    file = _folder(version) / f"{kind.lower()}-{short}.json"
    if not file.exists():
        return None
    schema = json.loads(file.read_text(encoding="utf-8")) | {"$id": "file:///api/object.json"}
    return jsonschema_rs.Draft202012Validator(schema, registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    text = (_folder(version) / "_definitions.json").read_text(encoding="utf-8")
    return jsonschema_rs.Registry([("file:///api/_definitions.json", json.loads(text))])


def _folder(version: str) -> Path:
    return _BUILT_IN / f"v{version}.0-local-strict"
