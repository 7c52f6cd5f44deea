"""The JSON Schema takes all of the good and none of the structurally bad."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from circleci_relay.config import json_schema

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ACCEPTED = "# schema: accepts"
"""Stands in a bad file whose structure is right; only its meaning is wrong."""


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema, as editors read it."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML has it


for tag, pattern in (
    ("null", r"^(~|null|Null|NULL|)$"),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$"),
    ("merge", r"^<<$"),
    ("int", r"^[-+]?[0-9]+$"),
    ("float", r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), None)


@cache
def read(path: Path) -> Any:
    """The file as an editor sees it."""
    return yaml.load(path.read_text("utf-8-sig"), Loader=CoreLoader)  # noqa: S506 - it is safe


VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def valid(document: Any) -> bool:
    """Whether the schema takes *document*."""
    return bool(VALIDATOR.is_valid(document))


@cache
def files(folder: str) -> tuple[Path, ...]:
    """The files that may be YAML; which of them are is not asked before a test is run."""
    # A validator without bounds of its own walks all of the bomb's billion.
    found = sorted((HERE / folder).glob("*.yaml"))
    return tuple(path for path in found if path.stem != "yaml-alias-bomb")


@cache
def is_readable(path: Path) -> bool:
    """Whether it is YAML at all."""
    try:
        read(path)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError):
        return False
    return True


def readable(folder: str) -> list[Path]:
    """The files that are YAML at all."""
    return [path for path in files(folder) if is_readable(path)]


def test_the_schema_is_one() -> None:
    """It is a valid schema of its own dialect."""
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    "path", [*files("good"), *files("warned")], ids=lambda path: str(path.stem)
)
def test_what_loads_is_valid(path: Path) -> None:
    """No file that loads is marked in an editor."""
    VALIDATOR.validate(read(path))


def test_the_example_is_valid() -> None:
    """The example says where its schema is, and must not contradict it."""
    VALIDATOR.validate(read(ROOT / "relay.yaml.example"))


@pytest.mark.parametrize("path", files("bad"), ids=lambda path: str(path.stem))
def test_what_is_structurally_bad_is_not(path: Path) -> None:
    """A bad file is refused, unless it says that only its meaning is wrong, or is no YAML."""
    if is_readable(path):
        assert valid(read(path)) == (ACCEPTED in path.read_text())


def test_most_of_the_corpus_is_judged() -> None:
    """The two tests above are not empty."""
    assert len(readable("bad")) > 100
    refused = [path for path in readable("bad") if ACCEPTED not in path.read_text()]
    assert len(refused) > 60


def test_every_key_is_described() -> None:
    """An editor has a sentence for each key."""
    for name, definition in json_schema()["$defs"].items():
        for key, schema in definition.get("properties", {}).items():
            assert schema.get("description"), f"{name}.{key}"
