"""The store under random use, held against a simple model at every step, on both databases."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import hypothesis
import hypothesis.strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from support.faults import FULL, SEED, scaled
from support.store_draws import (
    NAMES,
    Ask,
    Draft,
    Ending,
    asks,
    configurations,
    drafts,
    endings,
    picks,
    rooms,
    spans,
)
from support.store_ground import PostgresqlGround, SqliteGround
from support.store_twins import Twins, Work
from support.storing import HOUR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from circleci_relay.model import Claim, Intake, Settlement
    from support.store_ground import Ground
    from support.store_twins import Replica

RARELY = 2
"""Steps between what costs much, or leaves little to look at."""

several = st.lists(drafts, min_size=1, max_size=5)
takes = st.lists(picks, max_size=2)


class StoreMachine(RuleBasedStateMachine):
    """All that can be done to a store."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins(self.ground)
        self.steps = 0  #: since something rare was done

    @initialize()
    def begin(self) -> None:
        """Open as many as there may be."""
        for _ in range(self.ground.replicas):
            self.twins.open(NAMES)

    # Taking in and delivering

    @rule(seconds=spans, who=picks, coming=several, room=rooms)
    def take_in(self, seconds: int, who: int, coming: list[Draft], room: dict[str, int]) -> None:
        """Take in several at once, the same id perhaps among them twice."""
        self.twins.wait(seconds)
        self.twins.batch(self.twins.one(who), Work(intakes=self._arrived(coming), room=room))

    @rule(seconds=spans, who=picks, ending=endings, taken=takes, wanted=asks)
    def deliver(
        self, seconds: int, who: int, ending: list[Ending], taken: list[int], wanted: list[Ask]
    ) -> None:
        """
        Take in hand what is due, end attempts, give back what was not attempted.

        Also what another has in hand by now, and what was settled before: the fate of a
        commit may have been unknown.
        """
        self.twins.wait(seconds)
        replica = self.twins.one(who)
        again = [replica.past[pick % len(replica.past)] for pick in taken if replica.past]
        settlements = [*again, *self._ended(replica, ending)]
        releases = self._taken(replica, taken) * 2
        work = Work(settlements=settlements, releases=releases, asks=wanted)
        self.twins.batch(replica, work)

    @rule(who=picks, ending=endings, taken=takes, coming=several, room=rooms, wanted=asks)
    def work(
        self,
        who: int,
        ending: list[Ending],
        taken: list[int],
        coming: list[Draft],
        room: dict[str, int],
        wanted: list[Ask],
    ) -> None:
        """Do all that at once."""
        replica = self.twins.one(who)
        work = Work(
            settlements=self._ended(replica, ending),
            releases=self._taken(replica, taken),
            intakes=self._arrived(coming),
            room=room,
            asks=wanted,
        )
        self.twins.batch(replica, work)

    def _arrived(self, coming: Sequence[Draft]) -> list[Intake]:
        return [self._arrives(draft) for draft in coming]

    def _arrives(self, draft: Draft) -> Intake:
        self.twins.wait(micros=1)  # no two arrive at the same instant
        return draft.intake(self.twins.model.configured, self.twins.model.now)

    def _ended(self, replica: Replica, ending: Sequence[Ending]) -> list[Settlement]:
        settlements = [
            end.settlement(claim, self.twins.model.now)
            for end in ending
            for claim in replica.take(end.pick)
        ]
        replica.past += settlements
        return settlements

    def _taken(self, replica: Replica, taken: Sequence[int]) -> list[Claim]:
        return [claim for pick in taken for claim in replica.take(pick)]

    # Configuration and upkeep

    @rule(seconds=spans, names=configurations, digest=st.sampled_from([None, "first", "second"]))
    def reload(self, seconds: int, names: tuple[str, ...], digest: str | None) -> None:
        """Let destinations come and go."""
        self.twins.wait(seconds)
        self.twins.configure(names, digest)

    @rule(who=picks, clamped=st.integers(0, 2), expedited=st.integers(0, 3))
    def tend(self, who: int, clamped: int, expedited: int) -> None:
        """Look what waits, bring back what is due absurdly late, have some made at once."""
        store = self.twins.one(who).store
        self.twins.ask(store, NAMES)
        if clamped:
            self.twins.clamp(store, ahead=HOUR, limit=clamped)
        for name in NAMES if expedited else ():
            self.twins.expedite(store, name, limit=expedited)

    @precondition(lambda self: self.steps > RARELY)
    @rule(
        seconds=st.sampled_from([0, 3600, 36_001]),
        who=picks,
        wanted=asks,
        keep=st.sampled_from([HOUR, 10 * HOUR]),
        limit=st.integers(1, 5),
    )
    def age_out(self, seconds: int, who: int, wanted: list[Ask], keep: int, limit: int) -> None:
        """Let go of what is old, some of it just taken in hand."""
        self.steps = 0
        self.twins.wait(seconds)
        self.twins.batch(self.twins.one(who), Work(asks=wanted))
        self.twins.age_out(self.twins.one(who).store, keep=keep, limit=limit)

    # Ending

    @precondition(lambda self: self.steps > RARELY)
    @rule(who=picks, ending=endings, taken=takes)
    def restart(self, who: int, ending: list[Ending], taken: list[int]) -> None:
        """End one in good order, and begin it anew."""
        self.steps = 0
        replica = self.twins.one(who)
        settlements, releases = self._ended(replica, ending), self._taken(replica, taken)
        self.twins.stop(replica, Work(settlements=settlements, releases=releases))
        self.twins.open(sorted(self.twins.model.configured))

    @precondition(lambda self: self.steps > RARELY)
    @rule(who=picks, turns=st.integers(0, 2), ending=endings, coming=several, room=rooms)
    def crash(
        self,
        who: int,
        turns: int,
        ending: list[Ending],
        coming: list[Draft],
        room: dict[str, int],
    ) -> None:
        """End one at once, perhaps in the middle of a batch, and begin it anew."""
        self.steps = 0
        replica = self.twins.one(who)
        known = self.twins.model.events
        new = {draft.id: draft for draft in coming if draft.id not in known and not draft.poisonous}
        intakes = self._arrived(list(new.values()))
        settlements = self._ended(replica, ending) if intakes else []
        self.twins.crash(
            replica, Work(settlements=settlements, intakes=intakes, room=room), turns=turns
        )
        self.twins.open(sorted(self.twins.model.configured))

    @invariant()
    def all_is_as_the_model_has_it(self) -> None:
        """Whatever was done."""
        self.steps += 1
        self.twins.compare()

    def teardown(self) -> None:
        """Close everything."""
        self.twins.close()


def _try(ground: Ground, *, short: int, full: int) -> None:
    """Run as many examples as there is time for, `RELAY_SEED` choosing them in the long form."""
    settings = hypothesis.settings(
        max_examples=scaled(short, full),
        stateful_step_count=30,
        deadline=None,
        derandomize=not FULL,
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    machine: type[StoreMachine] = type("StoreMachine", (StoreMachine,), {"ground": ground})
    if FULL:
        hypothesis.seed(SEED)(machine)
    run_state_machine_as_test(machine, settings=settings)


def test_on_sqlite(tmp_path: Path) -> None:
    """One process, which takes over its own leases when it comes back."""
    with closing(SqliteGround(tmp_path)) as ground:
        _try(ground, short=16, full=500)


def test_on_postgresql(postgresql_url: str) -> None:
    """Two replicas, which leave each other's leases alone until they lapse."""
    with closing(PostgresqlGround(postgresql_url)) as ground:
        _try(ground, short=6, full=500)
