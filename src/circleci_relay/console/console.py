"""Everything an operator can ask and do, in one place; the API and the page are given it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from circleci_relay.console.doorstep import Doorstep
    from circleci_relay.console.looking import Looking
    from circleci_relay.console.repairing import Repairing
    from circleci_relay.console.standing import Standing
    from circleci_relay.console.trying import Trying
    from circleci_relay.live import Hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """The services, each for one kind of question."""

    looking: Looking  #: events, deliveries, dead letters, the audit log
    standing: Standing  #: how things stand: destinations, charts, routes, alerts
    repairing: Repairing  #: replay, cancel, pause, resume, retry, bulk jobs
    doorstep: Doorstep  #: what was turned away, and checking it again
    trying: Trying  #: backtests and verdicts; nothing is sent or changed
    live: Hub  #: what comes in and goes out at this moment
