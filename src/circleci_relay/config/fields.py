"""
The kinds of values that relay.yaml's keys take, as pydantic types.

Each reads text (see `values`) and describes itself to the JSON Schema. Where a variable or
file is absent and need not be there (`check --no-secrets`), a stand-in takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic import GetJsonSchemaHandler as JsonHandler
from pydantic_core import CoreSchema, core_schema

from circleci_relay.config import values
from circleci_relay.config.discretion import shown
from circleci_relay.config.tree import Scalar, kind

if TYPE_CHECKING:
    from collections.abc import Callable

REFERENCE = r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?|file:[^}]+)\}"
"""What the schema takes anywhere a number or the like is wanted."""


class ValueFaults(ValueError):  # noqa: N818 - plural: it carries all that was found
    """Several things wrong inside one value, each at its own path below it."""

    def __init__(self, faults: list[tuple[tuple[str | int, ...], str]]) -> None:
        super().__init__("; ".join(message for _, message in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reads:
    """A scalar read with *parse*, and how the JSON Schema describes it."""

    parse: Callable[[str], Any]
    wanted: str  #: what belongs there, for messages
    standin: Any  #: what a value that need not be known counts as
    schema: dict[str, Any]
    discreet: bool = False  #: the parser's messages never repeat what they were given

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Take the place of whatever pydantic would do with the type."""
        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """What an editor is told."""
        return dict(self.schema)

    def _read(self, value: object) -> Any:
        if isinstance(value, Scalar) and value.unknown:
            return self.standin
        if isinstance(value, str):
            try:
                return self.parse(value)
            except ValueError:
                if self.discreet or not getattr(value, "expanded", False):
                    raise
            # A secret's variable may have come to the wrong place.
            raise ValueError(f"does not hold, once its ${{...}} is filled in, {self.wanted}")
        if isinstance(value, type(self.standin)):
            return value  # made in code, not read from a file
        if isinstance(value, int) and not isinstance(value, bool):
            return self.parse(str(value))
        raise ValueError(f"is {kind(value)}; wanted {self.wanted}")


def _text(pattern: str, example: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern}|.*{REFERENCE}.*)$", "examples": [example]}


def _numeric(kind_: str, **limits: float) -> dict[str, Any]:
    digits = r"[-+]?\d+" if kind_ == "integer" else r"[-+]?\d+(\.\d+)?"
    return {
        "anyOf": [
            {"type": kind_, **limits},
            {"type": "string", "pattern": f"^({digits}|.*{REFERENCE}.*)$"},
        ]
    }


# Scalars are taken as written, so an unquoted number or truth value is text too.
AS_WRITTEN: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
RATE = r"\d{1,9}(\.\d{1,6})?/(s|m|h)"
_DURATION = r"\d{1,12}(\.\d{1,6})?(ms|s|m|h|d)"


def duration(low: float, high: float, said: str) -> Reads:
    """A duration within bounds, which *said* tells."""
    return Reads(
        parse=values.between(values.duration, low, high, said),
        wanted="a duration such as 30s",
        standin=float(min(max(1.0, low), high)),
        schema=_text(_DURATION, "30s"),
    )


def integer(low: int, high: int) -> Reads:
    """A whole number within bounds."""
    return Reads(
        parse=values.between(values.integer, low, high, f"a whole number from {low} to {high}"),
        wanted="a whole number",
        standin=low,
        schema=_numeric("integer", minimum=low, maximum=high),
    )


def number(low: float, high: float) -> Reads:
    """A number within bounds."""
    return Reads(
        parse=values.between(values.number, low, high, f"a number from {low:g} to {high:g}"),
        wanted="a number",
        standin=float(low),
        schema=_numeric("number", minimum=low, maximum=high),
    )


def size(low: int, high: int, said: str) -> Reads:
    """A size in bytes within bounds."""
    return Reads(
        parse=values.between(values.size, low, high, said),
        wanted="a size such as 1MiB",
        standin=low,
        schema=_text(r"\d{1,12}(B|KiB|MiB|GiB)", "1MiB"),
    )


def rate() -> Reads:
    """A rate, per second."""
    return Reads(
        parse=values.rate,
        wanted="a rate such as 20/s",
        standin=1.0,
        schema=_text(RATE, "20/s"),
    )


def choice(*allowed: str) -> Reads:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in allowed:
            rest = "is none of" if len(allowed) > 1 else "is not known here; wanted"
            raise ValueError(f"{shown(text)} {rest} {', '.join(allowed)}")
        return text

    return Reads(
        parse=parse,
        wanted=f"one of {', '.join(allowed)}",
        standin=allowed[0],
        schema={"type": "string", "pattern": f"^({'|'.join(allowed)}|.*{REFERENCE}.*)$"},
    )


Flag = Annotated[
    bool,
    Reads(
        parse=values.boolean,
        wanted="true or false",
        standin=True,
        schema={
            "anyOf": [
                {"type": "boolean"},
                {"type": "string", "pattern": f"^([Tt]rue|TRUE|[Ff]alse|FALSE|.*{REFERENCE}.*)$"},
            ]
        },
    ),
]

Listen = Annotated[
    values.Address,
    Reads(
        parse=values.address,
        wanted="HOST:PORT",
        standin=values.Address("127.0.0.1", 0),
        schema={
            "type": "string",
            "pattern": rf"^((\[[0-9A-Fa-f:.]+\]|[^:\[\]]*):\d{{1,5}}|.*{REFERENCE}.*)$",
            "examples": ["0.0.0.0:8080", "127.0.0.1:8080", "[::1]:8080", ":8080"],
        },
    ),
]

HostName = Annotated[
    str,
    Reads(
        parse=values.host_name,
        wanted="a host name",
        standin="unknown.invalid",
        schema=_text(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", "relay-admin.ci.svc"),
    ),
]

SourcePath = Annotated[
    str,
    Reads(
        parse=values.source_path,
        wanted="a path such as /webhooks/circleci",
        standin="/unknown",
        schema={
            "type": "string",
            "pattern": r"^((/[A-Za-z0-9._~-]+)+(/\{secret\})?" + f"|.*{REFERENCE}.*)$",
            "examples": ["/webhooks/circleci", "/webhooks/projects/{secret}"],
        },
    ),
]

_URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^(https?://[^/?#@\s]+([/?][^#\s]*)?|.*{REFERENCE}.*)$",
}

WebUrl = Annotated[
    str,
    Reads(
        discreet=True,
        parse=values.web_url,
        wanted="an http or https URL",
        standin="https://unknown.invalid/",
        schema=_URL_SCHEMA,
    ),
]


def secretly(parse: Callable[[str], str], made: type[SecretStr]) -> Callable[[str], SecretStr]:
    """*parse*, what it returns kept from being shown."""
    return lambda text: made(parse(text))


Token = Annotated[
    SecretStr,
    Reads(
        discreet=True,
        parse=secretly(values.token, SecretStr),
        wanted="a token of 16 characters or more",
        standin=SecretStr("unknown-unknown-unknown"),
        schema={"type": "string", "minLength": 1},
    ),
]

UNKNOWN_SECRET = SecretStr("unknown")

SigningSecret = Annotated[
    SecretStr,
    Reads(
        discreet=True,
        parse=secretly(values.secret, SecretStr),
        wanted="a secret",
        standin=UNKNOWN_SECRET,
        schema={"type": ["string", "number"], "minLength": 1},
    ),
]


@dataclass(frozen=True)
class PathField:
    """A path; a relative one begins where its file stands."""

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read text, resolve, ask nothing of the file system."""
        return core_schema.no_info_plain_validator_function(read_path)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: JsonHandler
    ) -> dict[str, Any]:
        """Any text."""
        return {"type": "string", "minLength": 1}


def read_path(value: object) -> Path:
    """A path; a relative one begins where its file stands."""
    if isinstance(value, Path):
        return value
    if isinstance(value, Scalar):
        if value.unknown:
            return UNKNOWN_PATH
        if not value or "\0" in value:
            raise ValueError("is empty; wanted a path")
        return value.base / value
    if isinstance(value, str) and value:
        return Path(value)
    raise ValueError(f"is {kind(value)}; wanted a path")


UNKNOWN_PATH = Path("/nonexistent/unknown")
FilePath = Annotated[Path, PathField()]


NAME = Reads(
    parse=values.name,
    wanted="a name",
    standin="unknown",
    schema={"type": ["string", "number"], "pattern": f"^({values.NAME.pattern}|.*{REFERENCE}.*)$"},
)

HEADER = Reads(
    parse=values.header_name,
    wanted="a header's name",
    standin="unknown",
    schema={"type": "string", "pattern": values.HEADER_PATTERN},
)
