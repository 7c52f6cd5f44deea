"""values.yaml, its schema and the page about both say the same."""

from __future__ import annotations

import json
import re
import runpy
import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import yaml

from circleci_relay import __version__
from support.chart_cases import defaults, merged
from support.helm import CHART, ROOT
from support.kubernetes import VERSIONS
from support.kubernetes import faults as kubernetes_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
HELMS_OWN = {"global", "enabled"}
"""What a chart that is part of another is given by Helm, and by its parent's `condition`."""

PAGE = runpy.run_path(str(ROOT / "scripts" / "pages"), run_name="pages")["chart"]


def _named(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the path of each property; what many share, such as a probe, is one thing."""
    for name, each in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from _named(each, f"{path}{name}.")


def _objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each part of the schema that names properties, and where it is."""
    if isinstance(schema, dict):
        if "properties" in schema and "type" in schema:
            yield path, schema
        for key, each in schema.items():
            if key not in {"allOf", "if", "then", "else"}:
                yield from _objects(each, f"{path}.{key}")
    elif isinstance(schema, list):
        for number, each in enumerate(schema):
            yield from _objects(each, f"{path}.{number}")


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    """It is valid itself, and so are the chart's own values."""
    jsonschema_rs.meta.validate(SCHEMA)
    found = jsonschema_rs.validator_for(SCHEMA).iter_errors(defaults())
    assert [error.message for error in found] == []


def test_every_value_is_in_the_schema_and_every_property_has_a_value() -> None:
    """No setting is known to one and not to the other."""
    found = {each.name for each in _values()}
    assert found == set(_named(SCHEMA)) - HELMS_OWN


def test_every_value_is_described() -> None:
    """In values.yaml, or in the schema, so that the page has a word on each."""
    assert [each.name for each in _values() if not each.said] == []


def test_unknown_keys_are_refused_everywhere() -> None:
    """Each part of the schema that names what it takes, takes nothing else."""
    for path, each in _objects(SCHEMA):
        assert each.get("additionalProperties") is False, path


def test_the_page_shows_every_value() -> None:
    """Each has its place on the page, under the first part of its name."""
    text = PAGE.pages()["chart.md"]
    for each in _values():
        assert f"`{each.name}`" in text or f"## {each.name}\n" in text, each.name


def _values() -> list[Any]:
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    return list(PAGE.values(text, SCHEMA))


def test_the_chart_is_of_the_version_of_the_program() -> None:
    """`appVersion`, which names the image, is the package's version; and so is the chart's own."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


BLOCK = re.compile(r"^( *)```yaml[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
VALUES = re.compile(r"# values(\.yaml| of the chart)")


def test_the_pages_say_what_helm_and_kubernetes_take() -> None:
    """Each block of values in a document is valid by the schema, each object by Kubernetes'."""
    validator = jsonschema_rs.validator_for(SCHEMA)
    faults, seen = [], Counter[str]()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for _, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            found = yaml.safe_load(textwrap.dedent(block))
            if not isinstance(found, dict):
                continue
            told: list[str] = []
            if "apiVersion" in found:
                told = [each for version in VERSIONS for each in kubernetes_faults(found, version)]
                seen["objects"] += 1
            elif VALUES.match(block.lstrip()) or found.keys() <= {"metrics", "httpRoute"}:
                whole = merged(defaults(), found)
                told = [error.message for error in validator.iter_errors(whole)]
                seen["values"] += 1
            faults += [f"{page.name}: {fault}" for fault in told]
    assert faults == []
    assert seen["objects"] >= 2
    assert seen["values"] >= 8
