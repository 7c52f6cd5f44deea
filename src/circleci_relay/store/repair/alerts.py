"""
Steps of an alert's life, each of which only one of several replicas gets to do.

A row says where it stands: begun, told of, ended, told of that. The row stays for a while when
it is over: a replica that looked before that must not take what it saw for news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from circleci_relay.model import SECOND
from circleci_relay.store.encode import text
from circleci_relay.store.log.alerts import Alert, alert_of
from circleci_relay.store.schema import alerts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from circleci_relay.model import Micros
    from circleci_relay.store.unit import Unit

_a = alerts.c
_SILENCED = "silenced"
_AGREED = 600 * SECOND


def begin(
    unit: Unit, rule: str, subject: str, *, detail: Mapping[str, Any], seen_at: Micros
) -> Alert | None:
    """
    Put down that it has begun; None where that is known already, or is over since *seen_at*.

    *seen_at* is the instant of the look that found it.
    """
    if not unit.database.alone(unit.connection, "alerts"):
        return None  # another replica is at it
    known = _locked(unit, rule, subject)
    if known is not None:
        if not _may_begin(unit, known, seen_at):
            return None
        unit.connection.execute(sa.delete(alerts).where(*_named(rule, subject)))
    # Later than any before it, or the events that tell of it would have the same ids.
    since = unit.now if known is None else max(unit.now, known.since + 1)
    unit.connection.execute(
        sa.insert(alerts),
        {
            "rule": rule,
            "subject": subject,
            "since": since,
            "detail": text(detail),
            "told": False,
            "ended_at": None,
        },
    )
    return Alert(rule=rule, subject=subject, since=since, detail=detail, told=False, ended_at=None)


def end(unit: Unit, alert: Alert, *, detail: Mapping[str, Any], seen_at: Micros) -> Alert | None:
    """Put down that it is over; None where *alert* is not how it stands, or newer than the look."""
    known = _locked(unit, alert.rule, alert.subject)
    if known is None or known.since != alert.since or known.since > seen_at:
        return None
    if known.ended_at is not None or not known.told:
        return None
    unit.connection.execute(
        sa.update(alerts)
        .where(*_named(alert.rule, alert.subject))
        .values(ended_at=unit.now, told=False, detail=text(detail))
    )
    return Alert(
        rule=alert.rule,
        subject=alert.subject,
        since=alert.since,
        detail=detail,
        told=False,
        ended_at=unit.now,
    )


def told(unit: Unit, alert: Alert) -> None:
    """Put down that the event that tells of *alert*, as it stands there, is stored."""
    ended = _a.ended_at.is_(None) if alert.ended_at is None else _a.ended_at == alert.ended_at
    unit.connection.execute(
        sa.update(alerts)
        .where(*_named(alert.rule, alert.subject), _a.since == alert.since, ended)
        .values(told=True)
    )


def silence(unit: Unit, alert: Alert) -> None:
    """End it without a word: nobody is to be told any more."""
    detail = text({**alert.detail, _SILENCED: True})
    unit.connection.execute(
        sa.update(alerts)
        .where(*_named(alert.rule, alert.subject), _a.since == alert.since)
        .values(told=True, ended_at=unit.now, detail=detail)
    )


def _may_begin(unit: Unit, known: Alert, seen_at: Micros) -> bool:
    if known.ended_at is None or not known.told or known.ended_at >= seen_at:
        return False
    # While replicas change over one after another, they disagree on who is to be told.
    return not known.detail.get(_SILENCED) or unit.now - known.ended_at >= _AGREED


def _locked(unit: Unit, rule: str, subject: str) -> Alert | None:
    query = sa.select(alerts).where(*_named(rule, subject)).with_for_update()
    row = unit.connection.execute(query).one_or_none()
    return None if row is None else alert_of(row)


def _named(rule: str, subject: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _a.rule == rule, _a.subject == subject
