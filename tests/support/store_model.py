"""What the store promises, in plain dicts: a model to hold the real one against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.model import (
    SECOND,
    Accepted,
    Backlog,
    Change,
    Micros,
    Reason,
    Result,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from circleci_relay.model import Claim, Intake, Line, Settlement

CHANGES = {
    (True, True): Change.STILL_PASSING,
    (True, False): Change.BROKEN,
    (False, True): Change.FIXED,
    (False, False): Change.STILL_BROKEN,
}


@dataclass
class Kept:
    """An event that was acknowledged."""

    public_id: str
    body: bytes
    received_at: Micros
    change: Change | None
    duplicates: int = 0
    conflicts: int = 0

    def row(self, name: str) -> dict[str, Any]:
        """What the database should hold; *name* is CircleCI's id."""
        return {
            "id": name,
            **{key: value for key, value in vars(self).items() if key != "public_id"},
        }


@dataclass
class Owed:
    """A delivery that was chosen for an event."""

    event: str  #: CircleCI's id
    destination: str
    created_at: Micros
    aged_from: Micros
    due_at: Micros | None
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
    def under_way(self) -> list[int]:
        """The number of the attempt that is counted and not on record yet, if there is one."""
        return [self.attempts] if self.token is not None else []

    def row(self) -> dict[str, Any]:
        """What the database should hold."""
        names = "state due_at attempts token created_at aged_from settled_at reason"
        return {name: getattr(self, name) for name in names.split()}

    @property
    def due(self) -> Micros:
        """When a pending one is due."""
        assert self.due_at is not None
        return self.due_at

    def end(self, state: State, reason: Reason | None, at: Micros) -> None:
        """Make it neither due nor held any more."""
        self.state, self.reason, self.settled_at = state, reason, at
        self.due_at = self.token = None


@dataclass
class Standing:
    """Where a line stands."""

    good: bool
    number: int | None


@dataclass
class Model:
    """
    A store that cannot fail, in which every method is one step of the real one's.

    Where the store may choose (between two that are due at the same instant, say), the
    model is told what was chosen and holds that it might be.
    """

    now: Micros
    events: dict[str, Kept] = field(default_factory=dict)  #: by CircleCI's id
    owed: dict[str, Owed] = field(default_factory=dict)  #: by webhook id
    lines: dict[Line, Standing] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)
    stood: dict[str, Micros] = field(default_factory=dict)  #: clocks of all ever configured
    tokens: set[int] = field(default_factory=set)  #: all ever given

    # Time

    def advance(self, span: Micros) -> None:
        """The clock of a destination that is not configured stands still meanwhile."""
        self.now += span
        for name in self.stood.keys() - self.configured:
            self.stood[name] += span

    def configure(self, names: Collection[str]) -> Mapping[str, Micros]:
        """Say which are configured from now on; for how long the clock of each has stood."""
        self.configured = set(names)
        return {name: self.stood.setdefault(name, 0) for name in names}

    # Taking in

    def accept(self, intake: Intake) -> Accepted:
        """Keep an event once, and owe it to whatever it is routed to. Raises what routing does."""
        event = intake.event
        kept = self.events.get(event.id)
        if kept is not None:
            conflict = kept.body != event.body
            kept.duplicates += 1
            kept.conflicts += conflict
            return Accepted(event=kept.public_id, duplicate=True, conflict=conflict)
        change, standing = self._compare(intake)
        choice = intake.choose(change)
        if intake.line is not None and standing is not None:
            self.lines[intake.line] = standing
        self.events[event.id] = Kept(event.public_id, event.body, event.received_at, change)
        for name in choice.destinations:
            self.owed[f"{event.public_id}-{name}"] = Owed(
                event=event.id,
                destination=name,
                created_at=self.now,
                aged_from=self.now - self.stood[name],
                due_at=self.now,
            )
        return Accepted(event=event.public_id, change=change, choice=choice)

    def _compare(self, intake: Intake) -> tuple[Change | None, Standing | None]:
        """How an event compares with the last of its line, and where it leaves the line."""
        if intake.line is None or intake.good is None:
            return None, None
        number = intake.event.facts.pipeline_number
        last = self.lines.get(intake.line)
        if last is None:
            return None, Standing(intake.good, number)
        if None not in {number, last.number} and number < last.number:  # type: ignore[operator]
            return None, last
        newest = last.number if number is None else number
        return CHANGES[last.good, intake.good], Standing(intake.good, newest)

    # Delivering

    def due(self, destination: str) -> list[Owed]:
        """What may be claimed, the longest due first."""
        due = [each for each in self._pending(destination) if each.due <= self.now]
        return sorted(due, key=lambda each: each.due)

    def _pending(self, destination: str) -> list[Owed]:
        return [
            each for each in self.owed.values() if each.pending and each.destination == destination
        ]

    def claim(
        self, destination: str, claims: Sequence[Claim], *, limit: int, lease: Micros
    ) -> Counter[str]:
        """*claims* is what the store gave; returns how many leases had lapsed."""
        first = self.due(destination)[:limit]
        given = [self.owed[claim.webhook_id] for claim in claims]
        assert [each.due_at for each in given] == [each.due_at for each in first]
        lost: Counter[str] = Counter()
        for owed, claim in zip(given, claims, strict=True):
            if owed.token is not None:
                owed.results.setdefault(owed.attempts, Result.LOST)
                lost[destination] += 1
            self._lease(owed, claim, lease)
            assert claim.destination == destination
        return lost

    def hand(
        self,
        claims: Sequence[Claim],
        new: Collection[str],
        room: Mapping[str, int],
        *,
        lease: Micros,
    ) -> set[str]:
        """
        *claims* is what lanes were handed of the *new* deliveries: as many as had room.

        Returns the destinations of those that wait.
        """
        wanted = Counter(self.owed[key].destination for key in new)
        fits = Counter({name: min(count, room.get(name, 0)) for name, count in wanted.items()})
        assert Counter(claim.destination for claim in claims) == +fits
        for claim in claims:
            assert claim.webhook_id in new
            self._lease(self.owed[claim.webhook_id], claim, lease)
        return set(wanted - fits)

    def hand_to_nobody(
        self, tokens: Mapping[str, int | None], room: Mapping[str, int], *, lease: Micros
    ) -> None:
        """*tokens* is what a process that is gone gave new deliveries, for lanes gone too."""
        wanted = Counter(self.owed[key].destination for key in tokens)
        taken = [key for key, token in tokens.items() if token is not None]
        assert Counter(self.owed[key].destination for key in taken) == +Counter(
            {name: min(count, room.get(name, 0)) for name, count in wanted.items()}
        )
        for key in taken:
            owed = self.owed[key]
            owed.token, owed.due_at, owed.attempts = tokens[key], self.now + lease, 1

    def _lease(self, owed: Owed, claim: Claim, lease: Micros) -> None:
        """Whoever holds the token holds the delivery; it counts as an attempt from here on."""
        assert owed.pending
        assert owed.due <= self.now, "handed to two"
        assert claim.token not in self.tokens
        self.tokens.add(claim.token)
        owed.token, owed.due_at = claim.token, self.now + lease
        owed.attempts += 1
        kept = self.events[owed.event]
        assert (claim.attempt, claim.lease_until) == (owed.attempts, owed.due_at)
        assert (claim.event, claim.body) == (kept.public_id, kept.body)
        assert (claim.received_at, claim.aged_from) == (kept.received_at, owed.aged_from)

    def holds(self, claim: Claim) -> bool:
        """Whether settling or releasing *claim* does anything."""
        owed = self.owed.get(claim.webhook_id)
        return owed is not None and owed.pending and owed.token == claim.token

    def settle(self, settlement: Settlement) -> bool:
        """Record an attempt, always; end or reschedule the delivery if it is held."""
        claim, decision = settlement.claim, settlement.decision
        held = self.holds(claim)
        owed = self.owed.get(claim.webhook_id)
        if owed is not None:
            owed.results[claim.attempt] = settlement.outcome.result
        if owed is None or not held:
            return False
        if decision.state is State.PENDING:
            owed.token, owed.due_at = None, self.now + round(decision.delay * SECOND)
        else:
            owed.end(decision.state, decision.reason, self.now)
        return True

    def release(self, claim: Claim) -> None:
        """Give back what was not attempted: due at once, not counted."""
        if self.holds(claim):
            owed = self.owed[claim.webhook_id]
            owed.token, owed.due_at = None, self.now
            owed.attempts -= 1

    def void_leases(self) -> None:
        """What a process that is gone had under way is due at once."""
        for each in self.owed.values():
            if each.pending and each.token is not None:
                each.due_at = min(each.due, self.now)

    # Upkeep

    def expedite(self, destination: str, due: Mapping[str, Micros | None], *, limit: int) -> int:
        """Make those that wait due now, those due next first; *due* is what the store did."""
        later = {
            key: each
            for key, each in self.owed.items()
            if each.destination == destination
            and each.pending
            and each.due > self.now
            and each.token is None
        }
        first = sorted(each.due for each in later.values())[:limit]
        chosen = [each for key, each in later.items() if due[key] == self.now]
        assert sorted(each.due for each in chosen) == first
        for each in chosen:
            each.due_at = self.now
        return len(chosen)

    def clamp(self, due: Mapping[str, Micros | None], *, ahead: Micros, limit: int) -> int:
        """Bring back *limit* a destination that are beyond; *due* is what the store did."""
        latest = self.now + ahead
        beyond = {
            key: each for key, each in self.owed.items() if each.pending and each.due > latest
        }
        chosen = [each for key, each in beyond.items() if due[key] == latest]
        wanted = Counter(each.destination for each in beyond.values())
        assert Counter(each.destination for each in chosen) == Counter(
            {name: min(limit, count) for name, count in wanted.items()}
        )
        for each in chosen:
            each.due_at = latest
        return len(chosen)

    def age_out(self, keep: Micros) -> tuple[Counter[str], int]:
        """Let go of what is older than *keep*: what expired, and how many events went."""
        expired: Counter[str] = Counter()
        pruned = 0
        for name, kept in list(self.events.items()):
            if self.now - kept.received_at <= keep:
                continue
            mine = {key: each for key, each in self.owed.items() if each.event == name}
            for each in mine.values():
                if self._expires(each, keep):
                    if each.token is not None:
                        each.results.setdefault(each.attempts, Result.LOST)
                    each.end(State.DEAD, Reason.EXPIRED, self.now)
                    expired[each.destination] += 1
            if all(self._over(each, keep) for each in mine.values()):
                pruned += 1
                del self.events[name]
                for key in mine:
                    del self.owed[key]
        return expired, pruned

    def _expires(self, each: Owed, keep: Micros) -> bool:
        under_way = each.token is not None and each.pending and each.due > self.now
        own_now = self.now - self.stood[each.destination]
        return (
            each.pending
            and not under_way
            and each.destination in self.configured
            and own_now - each.aged_from > keep
        )

    def _over(self, each: Owed, keep: Micros) -> bool:
        return each.settled_at is not None and self.now - each.settled_at > keep

    # What can be asked

    def next_due(self, destination: str) -> Micros | None:
        """When the next pending one is due, or its lease ends."""
        return min((each.due for each in self._pending(destination)), default=None)

    def backlog(self) -> Mapping[str, Backlog]:
        """What waits and what is dead, by destination."""
        found = {}
        for name in sorted({each.destination for each in self.owed.values()}):
            pending = [each.created_at for each in self._pending(name)]
            dead = sum(
                each.destination == name and each.state is State.DEAD for each in self.owed.values()
            )
            if pending or dead:
                oldest = min(pending, default=None)
                found[name] = Backlog(pending=len(pending), oldest=oldest, dead=dead)
        return found
