"""What was turned away at the door; nothing in it is to be trusted."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from circleci_relay.console.shapes.base import Page, Shape


class Reject(Shape):
    """Something that was turned away at the door. Nothing in it is to be trusted."""

    id: str
    untrusted: Literal[True] = True
    source: str
    secret: str | None
    """What the path's last segment named."""
    received_at: datetime
    last_at: datetime
    count: int
    reason: Literal["unauthorized", "malformed", "too_large"]
    detail: str
    project: str | None
    webhook: str | None
    type: str | None
    circleci_id: str | None
    """What it claims."""
    size: int
    whole: bool
    """Whether all of its body was kept: only then can it be checked again."""
    event: str | None
    """The event that a recheck made of it."""


class RejectWhole(Reject):
    """One reject with all that was kept."""

    headers: list[tuple[str, str]]
    body: str


class Rejects(Page):
    """Rejects, newest first."""

    items: list[Reject]


class Rechecked(Shape):
    """What became of rejects that were checked again."""

    checked: int
    taken: int
    """Events that were taken in; duplicates of known ones included."""
    still: dict[str, int]
    """Those still turned away, by reason; and `incomplete`: too little of the body was kept."""
    events: list[str]
    """The ids of the first hundred taken in."""
    next: str | None
    """More are left than one call takes: call again with it as `before`."""
