"""What every shape of a request or an answer has in common."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from circleci_relay.config.base import Strict
from circleci_relay.console.given import LARGEST, LONGEST, Given

__all__ = ["LARGEST", "LONGEST", "PRINTABLE", "Given", "Schemas", "Told"]

PRINTABLE = r"^[^\u0000]*$"
"""What the documentation says of every text: PostgreSQL takes no NUL, so nobody does."""


class Told(Strict):
    """What goes out."""


class Schemas(GenerateJsonSchema):
    """Documents the bounds that `Given` sets."""

    def str_schema(self, schema: Any) -> JsonSchemaValue:
        """Say how long a text may be, where its model bounds all of them."""
        found = super().str_schema(schema)
        if self._config.str_max_length is not None:
            found.setdefault("maxLength", self._config.str_max_length)
            if "pattern" not in found:
                found["pattern"] = PRINTABLE
        return found

    def int_schema(self, schema: Any) -> JsonSchemaValue:
        """Say how large an integer may be, where its model bounds all texts."""
        found = super().int_schema(schema)
        if self._config.str_max_length is not None:
            if not {"minimum", "exclusiveMinimum"} & found.keys():
                found["minimum"] = -LARGEST
            if not {"maximum", "exclusiveMaximum"} & found.keys():
                found["maximum"] = LARGEST
        return found
