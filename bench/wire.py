"""What all the processes of a run agree on."""

from __future__ import annotations

SECRET = "bench-signing-secret"  # noqa: S105 - of this benchmark only
PATH = "/webhooks/circleci"

MARK = b"-3000-8000-bec400000000"
"""How every event id ends; before it stand `DIGITS` characters, the event's number in disguise."""
DIGITS = 13

#: Numbers are multiplied by this, so that ids come in no order, as CircleCI's own do: an
#: index over them is then as costly as in life. Odd, so that it can be undone; below 2^42,
#: so that a database's 64 bits hold the product for the first two million events.
TURN = 0x1D8A_F491_4F7
SPACE = 1 << 48
_BACK = pow(TURN, -1, SPACE)


def event_id(number: int) -> bytes:
    """The id of event *number*, as long as one of CircleCI's own."""
    turned = number * TURN % SPACE
    return b"%08x-%04x" % (turned >> 16, turned & 0xFFFF) + MARK


def event_number(digits: bytes) -> int:
    """The number of the event whose id begins with *digits*."""
    return int(digits.replace(b"-", b""), 16) * _BACK % SPACE
