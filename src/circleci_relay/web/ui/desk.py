"""What every page is made with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from circleci_relay.config.masking import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from circleci_relay.console.console import Console
    from circleci_relay.web.api import Describe
    from circleci_relay.web.ui.view import View

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The services, the templates, and the names in the configuration in force."""

    console: Console
    view: View
    describe: Describe

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration in force, masked."""
        return cast("Mapping[str, Any]", self.describe()["config"])

    @property
    def destinations(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self.config.get("destinations", {}))

    @property
    def sources(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self.config.get("sources", {}))

    @property
    def paths(self) -> list[str]:
        """Where CircleCI posts to, as far as that is no secret."""
        found = (each.get("path", MASK) for each in self.config.get("sources", {}).values())
        return [path for path in found if MASK not in path]
