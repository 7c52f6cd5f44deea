"""A store and its model, to which the same is done, and which must remain the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from circleci_relay.clock import ManualClock
from circleci_relay.errors import StoreError, StoreUnavailable
from circleci_relay.model import SECOND, Claim, Settlement, State
from circleci_relay.store import Store
from support.store_model import Model
from support.storing import FOREVER, LEASE, RecordingLanes, RecordingWatch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

    from circleci_relay.model import Intake, Micros
    from support.store_draws import Ask
    from support.store_ground import Found, Ground


@dataclass
class Replica:
    """A store that is open, and what whoever opened it has in hand."""

    store: Store
    lanes: RecordingLanes
    watch: RecordingWatch
    running: asyncio.Task[None]
    hands: list[Claim] = field(default_factory=list)
    past: list[Settlement] = field(default_factory=list)

    def take(self, pick: int) -> list[Claim]:
        """Take one of the claims in hand, if there is any."""
        return [self.hands.pop(pick % len(self.hands))] if self.hands else []


@dataclass(frozen=True, kw_only=True)
class Work:
    """What goes into one transaction, which does it in this order."""

    settlements: Sequence[Settlement] = ()
    releases: Sequence[Claim] = ()
    intakes: Sequence[Intake] = ()
    room: Mapping[str, int] = field(default_factory=dict)  #: in the lanes
    asks: Sequence[Ask] = ()


class Twins:
    """
    The real store, opened once or several times on the same ground, and the model.

    It runs in a loop of its own, one call after another.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.clock = ManualClock()
        self.model = Model(self.clock.now())
        self.replicas: list[Replica] = []
        self._runner = asyncio.Runner()
        self._ended: dict[str, str] = {}  # webhook ids that came to an end, and which
        ground.clear()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run *work* to its end; the stores run along."""
        return self._runner.run(work)

    def one(self, who: int) -> Replica:
        """One of the replicas."""
        return self.replicas[who % len(self.replicas)]

    # Beginning and ending

    def open(self, configured: Sequence[str]) -> Replica:
        """Open one more."""
        replica: Replica = self.do(self._open())
        if self.ground.voids:
            self.model.void_leases()
        self.replicas.append(replica)
        assert self.do(replica.store.reconcile(configured)) == self.model.configure(configured)
        return replica

    async def _open(self) -> Replica:
        lanes, watch = RecordingLanes(), RecordingWatch()
        store = await Store.open(self.ground.url, clock=self.clock, lanes=lanes, watch=watch)
        return Replica(store, lanes, watch, asyncio.create_task(store.run()))

    def stop(self, replica: Replica, work: Work) -> None:
        """Stop one in good order: what it owes is written first."""

        async def stop() -> None:
            for each in work.settlements:
                replica.store.settle(each)
            replica.store.release(work.releases)
            await replica.store.close()
            await replica.running

        self.replicas.remove(replica)
        self.do(stop())
        self._settled(replica, work.settlements)
        for claim in work.releases:
            self.model.release(claim)

    def crash(self, replica: Replica, work: Work, *, turns: int) -> None:
        """
        End one *turns* turns of the loop after *work* was handed in; nobody hears of any.

        All of the work is stored, or nothing. Only new events may be in it, and what is
        settled with them.
        """
        self.replicas.remove(replica)
        self.do(self._cut_short(replica, work, turns))
        assert not replica.watch.held
        assert not replica.watch.fenced
        found = self.ground.look()
        stored = [each.event.public_id in found.events for each in work.intakes]
        assert len(set(stored)) <= 1, "half a batch"
        if any(stored):
            for each in work.settlements:
                self.model.settle(each)
            before = set(self.model.owed)
            for intake in work.intakes:
                self.model.accept(intake)
            tokens = {
                key: found.deliveries[key]["token"] for key in self.model.owed.keys() - before
            }
            self.model.hand_to_nobody(tokens, work.room, lease=LEASE)

    async def _cut_short(self, replica: Replica, work: Work, turns: int) -> None:
        replica.lanes.room = dict(work.room)
        for each in work.settlements:
            replica.store.settle(each)
        accepts = [
            asyncio.create_task(replica.store.accept(each, deadline=FOREVER))
            for each in work.intakes
        ]
        for _ in range(turns):
            await asyncio.sleep(0)
        replica.running.cancel()
        await asyncio.wait([replica.running])
        await replica.store.close()
        for answer in await asyncio.gather(*accepts, return_exceptions=True):
            assert isinstance(answer, StoreUnavailable)

    def close(self) -> None:
        """Close everything."""
        for replica in list(self.replicas):
            self.stop(replica, Work())
        self._runner.close()

    # Taking in and delivering

    def batch(self, replica: Replica, work: Work) -> None:
        """Do *work* in one transaction, and hold every answer against the model's."""
        lanes, watch = replica.lanes, replica.watch
        lanes.room, lanes.handed, lanes.woken = dict(work.room), [], Counter()
        lanes.expected.clear()
        watch.losses.clear()
        watch.needless.clear()
        self.model.superseded.clear()
        accepted, claimed = self.do(self._submit(replica.store, work))
        self._settled(replica, work.settlements)
        for claim in work.releases:
            self.model.release(claim)
        self._accepted(replica, work, accepted)
        lost: Counter[str] = Counter()
        for ask, claims in zip(work.asks, claimed, strict=True):
            lost += self.model.claim(
                ask.destination, claims, self._cancelled, limit=ask.limit, lease=ask.lease
            )
            replica.hands += claims
        assert watch.losses == lost
        assert watch.needless == self.model.superseded

    async def _submit(self, store: Store, work: Work) -> tuple[list[Any], list[Any]]:
        for each in work.settlements:
            store.settle(each)
        store.release(work.releases)
        accepts = [store.accept(each, deadline=FOREVER) for each in work.intakes]
        claims = [store.claim(a.destination, limit=a.limit, lease=a.lease) for a in work.asks]
        answers = await asyncio.gather(*accepts, *claims, return_exceptions=True)
        await store.flush()
        return answers[: len(accepts)], answers[len(accepts) :]

    def _settled(self, replica: Replica, settlements: Sequence[Settlement]) -> None:
        held: list[Settlement] = []
        fenced: list[Settlement] = []
        for each in settlements:
            (held if self.model.settle(each) else fenced).append(each)
        watch = replica.watch
        assert (_ids(watch.held), _ids(watch.fenced)) == (_ids(held), _ids(fenced))
        watch.held, watch.fenced = [], []

    def _accepted(self, replica: Replica, work: Work, answers: Sequence[Any]) -> None:
        before = set(self.model.owed)
        for intake, answer in zip(work.intakes, answers, strict=True):
            try:
                expected = self.model.accept(intake)
            except LookupError:
                assert isinstance(answer, StoreError)
            else:
                assert answer == expected
        new = self.model.owed.keys() - before
        handed = replica.lanes.handed
        assert replica.lanes.woken.keys() == self.model.hand(handed, new, work.room, lease=LEASE)
        for name, due in self.model.expected(new).items():
            # Or at once, where one of them filled a group that was begun before.
            assert replica.lanes.expected[name] in {due, self.model.now}
        assert not replica.lanes.standing
        replica.hands += handed

    # Time and upkeep

    def wait(self, seconds: int = 0, *, micros: Micros = 0) -> None:
        """Let time pass: leases lapse, retries come due, things grow old."""
        span = seconds * SECOND + micros
        self.clock.advance(span / SECOND)
        self.model.advance(span)
        assert self.clock.now() == self.model.now

    def configure(self, names: Sequence[str], digest: str | None) -> None:
        """Say to all replicas which destinations are configured."""
        stood = self.model.configure(names)
        for store in [replica.store for replica in self.replicas]:
            if digest is None:
                assert self.do(store.reconcile(names)) == stood
            else:
                assert self.do(store.take_up(names, digest=digest, routes={})) == stood

    def ask(self, store: Store, names: Iterable[str]) -> None:
        """Ask what waits."""
        assert self.do(store.backlog()) == self.model.backlog()
        for name in names:
            assert self.do(store.next_due(name)) == self.model.next_due(name)

    def _cancelled(self) -> set[str]:
        found = self.ground.look().deliveries
        return {key for key, row in found.items() if row["state"] == State.CANCELLED}

    def expedite(self, store: Store, name: str, *, limit: int) -> None:
        """Make what waits due now."""
        count = self.do(store.expedite(name, limit=limit))
        assert count == self.model.expedite(name, self._due(), limit=limit)

    def clamp(self, store: Store, *, ahead: Micros, limit: int) -> None:
        """Bring back what is due too far ahead."""
        count = self.do(store.clamp(ahead=ahead, limit=limit))
        assert count == self.model.clamp(self._due(), ahead=ahead, limit=limit)

    def _due(self) -> dict[str, Micros | None]:
        return {key: row["due_at"] for key, row in self.ground.look().deliveries.items()}

    def age_out(self, store: Store, *, keep: Micros, limit: int) -> None:
        """Walk once through all that is old, in steps."""
        expired: Counter[str] = Counter()
        pruned, cursor, more = 0, None, True
        while more:
            step = self.do(store.age_out(keep=keep, cursor=cursor, limit=limit))
            expired.update(step.expired)
            pruned += step.pruned
            cursor = step.cursor
            more = cursor is not None
        assert (expired, pruned) == self.model.age_out(keep)
        assert self.do(store.unlead()) == self.model.unlead()

    # What always holds

    def compare(self) -> None:
        """Look into the database itself."""
        found = self.ground.look()
        self._compare_lines(found)
        assert found.events == {
            kept.public_id: kept.row(name) for name, kept in self.model.events.items()
        }
        owed = self.model.owed
        assert found.deliveries == {
            key: {**each.row(), "leader": each.leader if each.leader in owed else None}
            for key, each in owed.items()
        }
        self._compare_attempts(found)
        self._compare_ends(found)

    def _compare_lines(self, found: Found) -> None:
        """What stands for a line is the same for all its events, and for no other's."""
        named = set()
        for kept in self.model.events.values():
            history = found.events[kept.public_id]["history"]
            if history is not None:
                named.add((kept.line, history.pop("line")))
        assert len(named) == len(dict(named)) == len({name for _, name in named})

    def _compare_attempts(self, found: Found) -> None:
        """Each is on record, and counted once; one that is under way is counted."""
        for key, owed in self.model.owed.items():
            results = found.attempts.get(key, {})
            assert results == owed.results
            assert sorted({*results, *owed.under_way}) == list(range(1, owed.attempts + 1))

    def _compare_ends(self, found: Found) -> None:
        """What was delivered or dead stays so for as long as it is there."""
        states = {key: row["state"] for key, row in found.deliveries.items()}
        assert all(states.get(key, end) == end for key, end in self._ended.items())
        self._ended = {key: state for key, state in states.items() if state != State.PENDING}


def _ids(settlements: Iterable[Settlement]) -> list[int]:
    return sorted(map(id, settlements))
