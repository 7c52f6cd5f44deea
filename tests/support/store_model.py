"""What the store promises, in plain dicts: a model to hold the real one against."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.model import SECOND, Backlog, Micros, Reason, Result, State
from support.store_intake_model import Intaking

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from circleci_relay.model import Claim, Settlement
    from support.store_records import Owed

DAY = 86_400 * SECOND


@dataclass
class Model(Intaking):
    """
    A store that cannot fail, in which every method is one step of the real one's.

    Where the store may choose (between two that are due at the same instant, say), the
    model is told what was chosen and holds that it might be.
    """

    # Delivering

    def due(self, destination: str) -> list[Owed]:
        """What may be claimed, the longest due first."""
        due = [each for each in self._timed(destination) if each.due <= self.now]
        return sorted(due, key=lambda each: each.due)

    def _pending(self, destination: str) -> list[Owed]:
        return [
            each for each in self.owed.values() if each.pending and each.destination == destination
        ]

    def _timed(self, destination: str) -> list[Owed]:
        """Those that are due themselves, now or later."""
        return [each for each in self._pending(destination) if each.due_at is not None]

    def _others(self, leader: str) -> list[Owed]:
        """What is told together with *leader*, in the order it came."""
        mine = [each for key, each in self.owed.items() if each.leader == leader and key != leader]
        return [each for each in mine if each.pending]

    def claim(
        self,
        destination: str,
        claims: Sequence[Claim],
        gone: Callable[[], Collection[str]],
        *,
        limit: int,
        lease: Micros,
    ) -> Counter[str]:
        """
        *claims* is what the store gave; returns how many leases had lapsed.

        *gone* are those that have been cancelled, some of them by this.
        """
        due = self.due(destination)
        needless: list[Owed] = []
        if any(each.mended and each.untold for each in due):
            ended = [self.owed[key] for key in gone()]
            needless = [each for each in ended if each in due and each.mended and each.untold]
        given = [self.owed[claim.webhook_id] for claim in claims]
        assert not any(each.mended and each.untold for each in given), "told needlessly"
        looked_at = sorted(each.due for each in (*given, *needless))
        assert looked_at == [each.due for each in due[:limit]]
        assert [each.due for each in given] == sorted(each.due for each in given)
        for each in needless:
            self._supersede(each)
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
        new: AbstractSet[str],
        room: Mapping[str, int],
        *,
        lease: Micros,
    ) -> set[str]:
        """
        *claims* is what lanes were handed of the *new* deliveries: as many as had room.

        Returns the destinations of those that wait.
        """
        quiet = {key for key in new if self.owed[key].quiet is not None}
        wanted, fits = self._wanted(new - quiet, room)
        assert Counter(claim.destination for claim in claims) == +fits
        for claim in claims:
            assert claim.webhook_id in new - quiet
            self._lease(self.owed[claim.webhook_id], claim, lease)
        return set(wanted - fits)

    def expected(self, new: AbstractSet[str]) -> dict[str, Micros]:
        """When the first of the *new* ones that wait is due, by destination."""
        found: dict[str, Micros] = {}
        for owed in [self.owed[key] for key in new if self.owed[key].quiet is not None]:
            if owed.pending and owed.due_at is not None:
                name = owed.destination
                found[name] = min(owed.due_at, found.get(name, owed.due_at))
        return found

    def hand_to_nobody(
        self, tokens: Mapping[str, int | None], room: Mapping[str, int], *, lease: Micros
    ) -> None:
        """*tokens* is what a process that is gone gave new deliveries, for lanes gone too."""
        _, fits = self._wanted([key for key in tokens if self.owed[key].quiet is None], room)
        taken = [key for key, token in tokens.items() if token is not None]
        assert Counter(self.owed[key].destination for key in taken) == +fits
        for key in taken:
            owed = self.owed[key]
            assert owed.quiet is None
            owed.token, owed.due_at, owed.attempts = tokens[key], self.now + lease, 1

    def _wanted(
        self, keys: Iterable[str], room: Mapping[str, int]
    ) -> tuple[Counter[str], Counter[str]]:
        """How many deliveries each lane could be handed, and how many it has room for."""
        wanted = Counter(self.owed[key].destination for key in keys)
        fits = {name: min(count, room.get(name, 0)) for name, count in wanted.items()}
        return wanted, Counter(fits)

    def _lease(self, owed: Owed, claim: Claim, lease: Micros) -> None:
        """Whoever holds the token holds the delivery; it counts as an attempt from here on."""
        assert owed.pending
        assert owed.due <= self.now, "handed to two"
        assert claim.token not in self.tokens
        self.tokens.add(claim.token)
        owed.token, owed.due_at = claim.token, self.now + lease
        owed.attempts += 1
        assert (claim.attempt, claim.lease_until) == (owed.attempts, owed.due_at)
        assert claim.aged_from == owed.aged_from
        told = [owed, *(self._others(claim.webhook_id) if owed.leader else ())]
        kept = [self.events[each.event] for each in told]
        assert [each.event for each in claim.told] == [each.public_id for each in kept]
        assert [each.body for each in claim.told] == [each.body for each in kept]
        assert [each.received_at for each in claim.told] == [each.received_at for each in kept]

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
            return True
        for each in (owed, *self._others(claim.webhook_id)):
            each.end(decision.state, decision.reason, self.now)
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
        """
        Make those that failed due now, those due next first; *due* is what the store did.

        What was never attempted waits for something else than the destination.
        """
        later = {
            key: each
            for key, each in self.owed.items()
            if each in self._timed(destination)
            and each.due > self.now
            and each.token is None
            and each.attempts
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
            key: each
            for key, each in self.owed.items()
            if each.due_at is not None and each.due_at > latest
        }
        chosen = [each for key, each in beyond.items() if due[key] == latest]
        wanted = Counter(each.destination for each in beyond.values())
        assert Counter(each.destination for each in chosen) == Counter(
            {name: min(limit, count) for name, count in wanted.items()}
        )
        for each in chosen:
            each.due_at = latest
        return len(chosen)

    def unlead(self) -> int:
        """Make due on their own those whose leader came to an end without them."""
        left = [
            each
            for each in self.owed.values()
            if each.leader is not None
            and each.pending
            and not (each.leader in self.owed and self.owed[each.leader].pending)
        ]
        for each in left:
            each.due_at, each.leader = self.now, None
        return len(left)

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
        self.gatherings = {
            what: each for what, each in self.gatherings.items() if each.touched >= self.now - DAY
        }
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
        return min((each.due for each in self._timed(destination)), default=None)

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
