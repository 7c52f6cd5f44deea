"""What a store keeps, as its model has it: events, what is owed for them, where lines stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.model import Change, Micros, Quiet, Reason, Result, State

if TYPE_CHECKING:
    from circleci_relay.model import Line

CHANGES = {
    (True, True): Change.STILL_PASSING,
    (True, False): Change.BROKEN,
    (False, True): Change.FIXED,
    (False, False): Change.STILL_BROKEN,
}


@dataclass
class Standing:
    """Where a line stands."""

    good: bool
    number: int | None
    since: Micros
    streak: int = 1
    told_of: list[str] = field(default_factory=list)  #: public ids of its events since then


@dataclass(frozen=True)
class Place:
    """Where an event stands on its line."""

    change: Change | None = None
    late: bool = False  #: a later pipeline's outcome is known already
    now: Standing | None = None
    before: Standing | None = None  #: where the line stood, if the event turned it

    def history(self) -> dict[str, Any]:
        """What is kept of it with the event, but for the line's name."""
        return {
            f"{prefix}{name}": getattr(standing, name)
            for prefix, standing in (("", self.now), ("before_", self.before))
            if standing is not None
            for name in ("good", "since", "streak")
        }


@dataclass
class Kept:
    """An event that was acknowledged."""

    public_id: str
    body: bytes
    received_at: Micros
    change: Change | None
    line: Line | None
    history: dict[str, Any] | None  #: None without a line
    duplicates: int = 0
    conflicts: int = 0

    def row(self, name: str) -> dict[str, Any]:
        """What the database should hold; *name* is CircleCI's id."""
        kept = vars(self).items()
        return {
            "id": name,
            **{key: value for key, value in kept if key not in {"public_id", "line"}},
        }


@dataclass
class Owed:
    """A delivery that was chosen for an event."""

    event: str  #: CircleCI's id
    destination: str
    created_at: Micros
    aged_from: Micros
    due_at: Micros | None
    quiet: Quiet | None = None
    line: Line | None = None  #: the one it is held for
    line_good: bool | None = None  #: where that stood when it came
    mended: bool = False  #: whether that has made it needless
    leader: str | None = None  #: the webhook id of the one that is due for it, perhaps itself
    state: State = State.PENDING
    attempts: int = 0
    token: int | None = None
    settled_at: Micros | None = None
    reason: Reason | None = None
    results: dict[int, Result] = field(default_factory=dict)  #: of the attempts, by number

    @property
    def pending(self) -> bool:
        """Whether it is still to be made."""
        return self.state is State.PENDING

    @property
    def untold(self) -> bool:
        """Whether nobody has begun to tell it, so that it may still be changed."""
        return self.pending and not self.attempts

    @property
    def under_way(self) -> list[int]:
        """The number of the attempt that is counted and not on record yet, if there is one."""
        return [self.attempts] if self.token is not None else []

    @property
    def due(self) -> Micros:
        """When a pending one is due."""
        assert self.due_at is not None
        return self.due_at

    def row(self) -> dict[str, Any]:
        """What the database should hold, but for its leader."""
        names = "state due_at attempts token created_at aged_from settled_at reason"
        return {name: getattr(self, name) for name in names.split()}

    def end(self, state: State, reason: Reason | None, at: Micros) -> None:
        """Make it neither due nor held any more."""
        self.state, self.reason, self.settled_at = state, reason, at
        self.due_at = self.token = None


@dataclass
class Gathering:
    """What is told once, or together, and the last delivery that waits for it."""

    key: str
    rank: int = 0
    count: int = 1
    touched: Micros = 0
