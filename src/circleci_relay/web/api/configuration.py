"""The configuration in force, and reading it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import structlog

from circleci_relay.console.shapes import ConfigFault
from circleci_relay.errors import ConfigError
from circleci_relay.web.api.endpoints import Endpoint, Request
from circleci_relay.web.api.shapes import Told
from circleci_relay.web.record import Record, unrecorded

if TYPE_CHECKING:
    from circleci_relay.web.api.reports import Describe, Reload

log = structlog.get_logger()


class Configuration(Told):
    """The configuration in force."""

    digest: str
    """Of the files as they were read; two relays with the same one are configured alike."""
    config: dict[str, Any]
    """Destinations and routes, without secrets."""
    restart_required: tuple[str, ...]
    """Keys whose change waits for a restart."""


class Reloaded(Told):
    """What came of reading the configuration again."""

    result: Literal["reloaded", "unchanged"]
    warnings: tuple[ConfigFault, ...]
    restart_required: tuple[str, ...]
    """Keys whose change waits for a restart."""


def config_endpoints(
    *, describe: Describe, reload: Reload, record: Record = unrecorded
) -> list[Endpoint]:
    """Return the endpoints that show and reload the configuration."""

    async def show(_request: Request) -> Configuration:
        return Configuration.model_validate(describe())

    async def read_again(request: Request) -> Reloaded:
        log.info("reload_requested", by=request.caller.name)
        report = await reload()
        await record(request.caller.name, "reload", "relay.yaml", {"result": report.result})
        if report.result == "failed":
            raise ConfigError(report.faults)
        return Reloaded(
            result=report.result,
            warnings=tuple(map(ConfigFault.of, report.warnings)),
            restart_required=report.restart_required,
        )

    return [
        Endpoint(
            method="GET",
            path="/config",
            summary="The configuration in force, without secrets.",
            tag="configuration",
            handler=show,
            changes=False,
            answers={200: Configuration},
        ),
        Endpoint(
            method="POST",
            path="/reload",
            summary="Read the configuration again and put it to use, whole or not at all.",
            tag="configuration",
            handler=read_again,
            changes=True,
            answers={200: Reloaded},
        ),
    ]
