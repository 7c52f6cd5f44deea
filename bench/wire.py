"""What all the processes of a run agree on."""

from __future__ import annotations

SECRET = "bench-signing-secret"  # noqa: S105 - of this benchmark only
PATH = "/webhooks/circleci"

MARK = b"bec40000-0000-3000-8000-"
"""How every event id begins; `DIGITS` hexadecimal digits follow, the event's number."""
DIGITS = 12


def event_id(number: int) -> bytes:
    """The id of event *number*, as long as one of CircleCI's own."""
    return MARK + b"%012x" % number
