"""A source's secrets: as a list, as a map of names, or as a directory of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

from circleci_relay.circleci.signature import Secret
from circleci_relay.config import values
from circleci_relay.config.discretion import shown
from circleci_relay.config.fields import ValueFaults, read_path
from circleci_relay.config.files import ALL_FILES, FileError, Files
from circleci_relay.config.tree import Scalar, kind

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler
    from pydantic import GetJsonSchemaHandler as JsonHandler
    from pydantic_core import CoreSchema

NEXT = ".next"
"""NAME.next stands beside NAME while a secret is being changed."""

_WANTED = "wanted a list of secrets, a map of names, or {dir: PATH}"


@dataclass(frozen=True, slots=True)
class SecretSet:
    """What a source says of its secrets, its directory not yet read."""

    secrets: tuple[Secret, ...] = field(default=(), repr=False)
    directory: Path | None = None
    names: bool = False  #: each has a name of its own


class SecretsField:
    """`secrets` in any of its forms."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read any of the forms."""
        return core_schema.no_info_plain_validator_function(parse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """Any of the forms."""
        text = {"type": ["string", "number"], "minLength": 1}
        one_or_many = {"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]}
        segment = f"^{values.SEGMENT.pattern}$"
        return {
            "anyOf": [
                *one_or_many["anyOf"],
                {
                    "type": "object",
                    "required": ["dir"],
                    "properties": {"dir": {"type": "string", "minLength": 1}},
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": segment, "not": {"const": "dir"}},
                    "additionalProperties": one_or_many,
                },
            ]
        }


def parse(value: object) -> SecretSet:
    """Read any of the forms; messages never repeat a secret."""
    if isinstance(value, SecretSet):
        return value
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list):
        return _from_list(value)
    if not isinstance(value, dict):
        raise ValueError(f"is {kind(value)}; {_WANTED}")  # noqa: TRY004
    if "dir" in value:
        if len(value) > 1:
            raise ValueError("dir stands alone: name every secret here, or put all into files")
        try:
            return SecretSet(directory=read_path(value["dir"]), names=True)
        except ValueError as error:
            raise ValueFaults([(("dir",), str(error))]) from None
    return _from_map(value)


def _from_list(items: list[Any]) -> SecretSet:
    if not items:
        raise ValueError(f"is an empty list; {_WANTED}")
    faults: list[tuple[tuple[str | int, ...], str]] = []
    found = []
    for index, item in enumerate(items):
        try:
            number = str(index + 1)
            found.append(Secret(name=number, group=number, value=_value(item)))
        except ValueError as error:
            faults.append(((index,), str(error)))
    if faults:
        raise ValueFaults(faults)
    return SecretSet(tuple(found))


def _from_map(named: dict[str, Any]) -> SecretSet:
    if not named:
        raise ValueError(f"is an empty map; {_WANTED}")
    faults: list[tuple[tuple[str | int, ...], str]] = []
    found = []
    for name, value in named.items():
        if complaint := bad_name(name):
            faults.append(((name,), f"{shown(name)} {complaint}"))
            continue
        many = isinstance(value, list)
        if many and not value:
            faults.append(((name,), "is an empty list; wanted a secret, or a list of them"))
        for index, item in enumerate(value if many else [value]):
            try:
                called = str(name) if index == 0 else f"{name}.{index + 1}"
                found.append(Secret(name=called, group=group_of(str(name)), value=_value(item)))
            except ValueError as error:
                faults.append(((name, index) if many else (name,), str(error)))
    if faults:
        raise ValueFaults(faults)
    return SecretSet(tuple(found), names=True)


def _value(item: object) -> bytes:
    if not isinstance(item, str):
        raise ValueError(f"is {kind(item)}; wanted a secret")  # noqa: TRY004
    if isinstance(item, Scalar) and item.unknown:
        return b"unknown"
    return values.secret(str(item)).encode("utf-8", "surrogateescape")


def group_of(name: str) -> str:
    """The path segment that *name* answers to."""
    return name.removesuffix(NEXT)


def bad_name(name: str) -> str | None:
    """What keeps *name* from being a path segment."""
    if group_of(name) and values.SEGMENT.fullmatch(name) and name not in {".", ".."}:
        return None
    return "cannot be a path segment; wanted a name of letters, digits, and any of . _ ~ -"


def read_directory(directory: Path, files: Files) -> tuple[list[Secret], list[str]]:
    """
    The secrets in *directory*, one file each, and what is wrong there.

    Hidden files are left out: Kubernetes keeps its own bookkeeping in them.
    """
    try:
        paths = files.list_dir(directory, ALL_FILES)
    except FileError as error:
        return [], [f"this directory {error}"]
    secrets, wrong = [], []
    for path in paths:
        if complaint := bad_name(path.name):
            wrong.append(f"{_file(path)} {complaint}")
            continue
        try:
            value = files.read_value(path)
        except FileError as error:
            wrong.append(f"{_file(path)} {error}")
            continue
        if not value.strip():
            wrong.append(f"{_file(path)} is empty; put a secret into it")
            continue
        secrets.append(Secret(name=path.name, group=group_of(path.name), value=value))
    if not paths:
        wrong.append("this directory holds no file; put one in for each secret")
    return secrets, wrong


def _file(path: Path) -> str:
    return f"the file {shown(path.name, 'of some name')}"


def unknown() -> Secret:
    """What stands for the secrets of a directory that need not be there."""
    return Secret(name="unknown", group="unknown", value=b"unknown")
