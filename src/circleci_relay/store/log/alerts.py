"""What an operator was told, or is about to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.store.encode import parse
from circleci_relay.store.schema import alerts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from circleci_relay.model import Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that is wrong, or was."""

    rule: str
    subject: str
    since: Micros  #: when it was put down: with rule and subject, its name
    detail: Mapping[str, Any]
    told: bool  #: of how it stands: that it began, or, with `ended_at`, that it is over
    ended_at: Micros | None


def alerts_of(connection: sa.Connection) -> list[Alert]:
    """All alerts, by rule and subject; those that are over for a while included."""
    query = sa.select(alerts).order_by(alerts.c.rule, alerts.c.subject)
    return [alert_of(row) for row in connection.execute(query)]


def alert_of(row: sa.Row[Any]) -> Alert:
    """A row as a record."""
    detail = parse(row.detail)
    return Alert(
        rule=row.rule,
        subject=row.subject,
        since=row.since,
        detail=detail if isinstance(detail, dict) else {},
        told=bool(row.told),
        ended_at=row.ended_at,
    )
