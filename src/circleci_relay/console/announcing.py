"""An alert as an event: stored, delivered, retried and shown like any other."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from circleci_relay.model import ALERT, RELAY, SECOND, Choice, Event, Facts, Intake, Line

if TYPE_CHECKING:
    from circleci_relay.config.model import Config
    from circleci_relay.model import Micros
    from circleci_relay.store.log.alerts import Alert


def intake_of(alert: Alert, config: Config, *, public_id: str, now: Micros) -> Intake:
    """
    The event that tells of *alert* as it stands: that it began, or that it is over.

    Its id and its body are the same whichever replica makes it, and whenever: so it is stored
    once.
    """
    over = alert.ended_at is not None
    state = "ended" if over else "started"
    name = f"alert-{alert.rule}-{alert.subject}-{alert.since}-{state}"
    text = str(alert.detail.get("text", ""))
    link = alert.detail.get("link")
    url = config.server.external_url
    body = {
        "id": name,
        "type": ALERT,
        "happened_at": _iso(alert.since if alert.ended_at is None else alert.ended_at),
        "alert": {
            "rule": alert.rule,
            "subject": alert.subject,
            "state": state,
            "since": _iso(int(alert.detail.get("began", alert.since))),
            "text": text,
            "link": f"{str(url).rstrip('/')}{link}" if url and link else None,
        },
    }
    choice = Choice(routes=(), destinations=tellers(alert, config))
    event = Event(
        public_id=public_id,
        source=RELAY,
        id=name,
        type=ALERT,
        received_at=now,
        body=json.dumps(body).encode(),
        headers=(("content-type", "application/json"),),
        facts=Facts(
            type=ALERT,
            status="success" if over else "failed",
            project=RELAY,
            workflow=alert.rule,
            job=alert.subject,
            subject=text or None,
        ),
    )
    return Intake(
        event=event,
        line=Line(source=RELAY, project=RELAY, workflow=alert.rule, job=alert.subject, branch=""),
        good=over,
        choose=lambda _: choice,
    )


def tellers(alert: Alert, config: Config) -> tuple[str, ...]:
    """Where it goes: `notify.to`, but for a destination that would have to tell that it fails."""
    if config.notify is None:
        return ()
    return tuple(
        name
        for name in config.notify.to
        if name in config.destinations and (alert.rule, alert.subject) != ("failing", name)
    )


def _iso(instant: Micros) -> str:
    whole = datetime.fromtimestamp(instant // SECOND, UTC)
    return whole.isoformat().replace("+00:00", "Z")
