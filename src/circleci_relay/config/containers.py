"""Lists that may be a single scalar, maps that may be empty or short: as pydantic annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic import GetJsonSchemaHandler as JsonHandler
    from pydantic_core import CoreSchema


class OneOrMany:
    """A list, or a scalar that stands for a list of one."""

    fewest = 1

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Wrap a scalar before the list is read."""
        return core_schema.no_info_before_validator_function(_as_list, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """Either form."""
        many = handler(schema)
        return {"anyOf": [many["items"], {**many, "minItems": self.fewest}]}


def _as_list(value: object) -> object:
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("is an empty list; wanted at least one")
        return value
    if value is None:
        raise ValueError("is empty; wanted at least one")
    if isinstance(value, dict):
        raise ValueError("is a map; wanted one value, or a list of them")  # noqa: TRY004
    return [value]


class ManyOrNone(OneOrMany):
    """A list that may be empty, or a scalar that stands for a list of one."""

    fewest = 0

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Wrap a scalar before the list is read."""
        return core_schema.no_info_before_validator_function(
            lambda value: [] if value is None or value == [] else _as_list(value), handler(source)
        )


class MaybeEmpty:
    """A map that may also be empty, as where everything in it is commented out."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take nothing for a map without keys."""
        return core_schema.no_info_before_validator_function(
            lambda value: {} if value is None else value, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """A map, or nothing."""
        return {"anyOf": [handler(schema), {"type": "null"}]}


@dataclass(frozen=True)
class Short:
    """A map, or a scalar that stands for its one key that matters."""

    key: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Make a map of a scalar."""
        return core_schema.no_info_before_validator_function(
            lambda value: {self.key: value} if isinstance(value, str) else value, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """Either form."""
        whole = handler(schema)
        short = handler.resolve_ref_schema(whole)["properties"][self.key]
        return {"anyOf": [short, whole]}
