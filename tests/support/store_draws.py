"""What hypothesis may draw to be done to a store."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import hypothesis.strategies as st

from circleci_relay.model import (
    SECOND,
    Change,
    Choice,
    Claim,
    Decision,
    Event,
    Facts,
    Intake,
    Line,
    Outcome,
    Quiet,
    Reason,
    Result,
    Settlement,
    State,
)
from support.storing import LEASE, MAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from circleci_relay.model import Micros

NAMES = ("chat", "pager", "warehouse")
FEATURE = Line(source="circleci", project="gh/acme/api", workflow="build", job="", branch="feature")
RESULTS = {
    State.DELIVERED: Result.OK,
    State.DEAD: Result.CLIENT_ERROR,
    State.PENDING: Result.SERVER_ERROR,
}
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Draft:
    """An event that is to be taken in."""

    id: str
    body: bytes
    to: tuple[str, ...]  #: where it goes, as far as that is configured by then
    line: Line | None
    good: bool | None
    number: int | None
    poisonous: bool  #: its routing stumbles
    quiet: Mapping[str, Quiet]  #: how it waits, by destination

    def intake(self, configured: Collection[str], now: Micros) -> Intake:
        """Arrive; one that is newly broken goes to the pager as well."""
        to = [name for name in self.to if name in configured]
        alarmed = to if "pager" in to or "pager" not in configured else [*to, "pager"]

        def choose(change: Change | None) -> Choice:
            if self.poisonous:
                raise LookupError
            chosen = tuple(alarmed if change is Change.BROKEN else to)
            quiet = {name: self.quiet[name] for name in chosen if name in self.quiet}
            return Choice(routes=("some",), destinations=chosen, quiet=quiet)

        event = Event(
            public_id=f"01K{next(_NUMBERS):023d}",
            source="circleci",
            id=self.id,
            type="workflow-completed",
            received_at=now,
            body=self.body,
            headers=(("content-type", "application/json"),),
            facts=Facts(type="workflow-completed", pipeline_number=self.number),
        )
        return Intake(event=event, line=self.line, good=self.good, choose=choose)


@dataclass(frozen=True)
class Ask:
    """A claim that is to be made."""

    destination: str
    limit: int
    lease: Micros


@dataclass(frozen=True)
class Ending:
    """An attempt that comes to its end."""

    pick: int  #: which of the claims in hand
    decision: Decision

    def settlement(self, claim: Claim, now: Micros) -> Settlement:
        """Say how it ended."""
        outcome = Outcome(result=RESULTS[self.decision.state], started_at=now, duration=1500)
        return Settlement(claim=claim, outcome=outcome, decision=self.decision)


RUN = Quiet(once="run", wait=60 * SECOND)
GROUP = Quiet(group="run", wait=60 * SECOND, most=3)
QUIETS = (
    Quiet(hold=60 * SECOND),
    Quiet(hold=7200 * SECOND),
    RUN,
    replace(RUN, rank=1),
    replace(RUN, hold=120 * SECOND),
    replace(RUN, once="another run"),
    GROUP,
    replace(GROUP, most=2),
    replace(GROUP, group="another run"),
)
picks = st.integers(0, 30)  # one of however many there are by then
names = st.sampled_from(NAMES)
configurations = st.one_of(st.just(NAMES), st.lists(names, unique=True).map(tuple))
drafts = st.builds(
    Draft,
    id=st.integers(0, 19).map("event-{}".format),
    body=st.sampled_from([b"{}", b"\x00\xff"]),
    to=configurations,
    line=st.sampled_from([None, MAIN, MAIN, FEATURE]),
    good=st.sampled_from([True, False, True, False, None]),
    number=st.sampled_from([None, 1, 2, 3]),
    poisonous=st.integers(0, 15).map(lambda n: n == 15),
    # Of one kind, more often than not: otherwise hardly anything would meet.
    quiet=st.sampled_from(
        [
            {},
            {},
            {"pager": GROUP},
            *(dict.fromkeys(NAMES, quiet) for quiet in QUIETS),
            *({"chat": quiet, "warehouse": GROUP} for quiet in QUIETS[:5]),
        ]
    ),
)
rooms = st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, st.integers(0, 3)))
asks = st.lists(
    st.builds(Ask, names, st.integers(1, 5), st.sampled_from([LEASE, 3 * LEASE])),
    max_size=3,
    unique_by=lambda ask: ask.destination,
)
decisions = st.sampled_from(
    [
        Decision(state=State.DELIVERED),
        Decision(state=State.DEAD, reason=Reason.MAX_ATTEMPTS),
        *(
            Decision(state=State.PENDING, delay=delay)
            for delay in (0.0, 1.0, 60.0, 7200.0, 1_000_000.0)
        ),
    ]
)
endings = st.lists(st.builds(Ending, picks, decisions), max_size=6)
spans = st.sampled_from([0, 0, 1, 39, 40, 61, 121, 3600, 7200])  # seconds
