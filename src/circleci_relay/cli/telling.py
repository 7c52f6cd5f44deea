"""One marked message to a destination, by the path that the relay's own take; behind `send`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from circleci_relay.circleci import payload as circleci
from circleci_relay.cli.claims import claim_of
from circleci_relay.clock import SystemClock
from circleci_relay.delivery.compose import Surroundings
from circleci_relay.delivery.sender import Sender
from circleci_relay.errors import Malformed
from circleci_relay.model import SECOND, Outcome, Result
from circleci_relay.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.config import Config, Destination
    from circleci_relay.model import Told

SUBJECT: Final = "Test message from circleci-relay"
"""What stands for the commit's subject."""
SAMPLE: Final = "gh_oauth_workflow_failed"
"""What is sent where nothing else is named: it shows the most."""

_SUBJECTS: Final = frozenset({"subject", "commit_title", "commit_message"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one message."""

    webhook_id: str
    outcome: Outcome

    @property
    def ok(self) -> bool:
        """Whether the destination took it."""
        return self.outcome.result is Result.OK

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.outcome.duration / SECOND

    @property
    def answer(self) -> str:
        """The answer's first bytes, without secrets."""
        return self.outcome.excerpt.decode(errors="replace")


async def tell(destination: Destination, told: Sequence[Told], config: Config) -> Tried:
    """
    Send *destination* a message that tells of *told*, in one attempt.

    It is marked as a test and carries no signature of CircleCI's, who did not send it.
    """
    claim = claim_of(told, destination.name)
    sender = Sender(
        destination,
        clock=SystemClock(),
        redact=Redaction(config.secret_values),
        surroundings=Surroundings(
            external_url=config.server.external_url, labels=config.table.labels
        ),
        test=True,
    )
    try:
        outcome = await sender.attempt(claim)
    finally:
        await sender.close()
    return Tried(webhook_id=claim.webhook_id, outcome=outcome)


def as_test(body: bytes, event_id: str) -> bytes:
    """*body* under *event_id*, its commit's subject replaced; raises `Malformed`."""
    payload = dict(circleci.parse(body))
    payload["id"] = event_id
    pipeline = payload.get("pipeline")
    try:
        if isinstance(pipeline, dict):
            _rename(pipeline.get("vcs"))
            _rename(pipeline.get("trigger_parameters"))
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    # What is half a character stays so, in the one way that JSON has of writing it.
    return text.encode(errors="backslashreplace")


def _rename(part: object) -> None:
    """Replace every subject in *part*: each code host has it in another place."""
    if not isinstance(part, dict):
        return
    for name, value in part.items():
        if name in _SUBJECTS and isinstance(value, str):
            part[name] = SUBJECT
        else:
            _rename(value)
