"""What is wrong now, in plain sentences, each with the page that helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from circleci_relay.console.cursors import moment
from circleci_relay.console.judging import dead_letters
from circleci_relay.console.shapes import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from circleci_relay.console.judging import Finding
    from circleci_relay.console.shapes import DestinationState
    from circleci_relay.model import Fault
    from circleci_relay.store.log.standings import Came

_MANY: Final = 20  #: unmatched events in an hour, below which nobody need look
_HALF: Final = 0.5
_MORE: Final = 2.0  #: times as large a part as over the day before

_BAD: Final = {"failing", "dead_letters", "store_full"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmatched:
    """What came over the last hour and day, and how much of it went nowhere."""

    hour: Came
    day: Came | None = None  #: not counted where the hour is nothing unusual

    @property
    def many(self) -> bool:
        """Whether so much of the last hour's went nowhere that it may be worth a word."""
        hour = self.hour
        return hour.unmatched >= _MANY and hour.unmatched >= hour.events * _HALF


def troubles(
    *,
    findings: Sequence[Finding],
    states: Sequence[DestinationState],
    faults: Sequence[Fault],
    restart_required: Sequence[str],
    unmatched: Unmatched,
) -> list[Trouble]:
    """Everything that is wrong, the worst first."""
    told = {each.subject for each in findings if each.rule == "failing"}
    found = [
        *(_finding(each) for each in findings if each.rule != "dead_letters"),
        *(trouble for state in states for trouble in _state(state, told)),
        *_config(faults, restart_required),
        *_astray(unmatched),
    ]
    return sorted(found, key=lambda each: each.level != "bad")


def _finding(finding: Finding) -> Trouble:
    return Trouble(
        level="bad" if finding.rule in _BAD else "warn",
        subject=finding.subject,
        text=finding.text,
        since=moment(finding.began),
        link=finding.link,
    )


def _state(state: DestinationState, told: set[str]) -> Iterator[Trouble]:
    name, page = state.name, f"/destinations/{quote(state.name)}"
    waiting = f"{state.backlog:,} deliveries wait"
    if state.backlog < 2:  # noqa: PLR2004
        waiting = "1 delivery waits" if state.backlog else "nothing waits"
    if state.breaker_open and name not in told:
        yield _said("bad", state, f"{name} is failing, breaker open: {waiting}", page)
    elif state.state == "failing" and name not in told:
        yield _said("warn", state, f"The last attempts at {name} failed", page)
    if state.dead:
        # As it is counted now: what was found may be seconds old, and gone.
        dead = dead_letters(name, state.dead, 0)
        yield _said("bad", state, dead.text, dead.link)
    if state.backlog and state.state == "paused":
        by = f" by {state.paused_by}" if state.paused_by else ""
        yield _said("warn", state, f"{name} is paused{by}, and {waiting}", page)
    if state.backlog and state.state == "removed":
        text = f"{name} is not configured any more, and {waiting} for it"
        yield _said("warn", state, text, f"/deliveries?destination={quote(name)}&state=pending")


def _said(level: str, state: DestinationState, text: str, link: str | None) -> Trouble:
    return Trouble.model_validate(
        {"level": level, "subject": state.name, "text": text, "since": None, "link": link}
    )


def _config(faults: Sequence[Fault], restart_required: Sequence[str]) -> Iterator[Trouble]:
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        text = (
            f"The configuration has a fault, and the last good one is in force: {faults[0]}{more}"
        )
        yield Trouble(level="bad", subject="config", text=text, since=None, link="/routes")
    if restart_required:
        text = f"What changed in {', '.join(restart_required)} waits for a restart"
        yield Trouble(level="warn", subject="config", text=text, since=None, link="/routes")


def _astray(unmatched: Unmatched) -> Iterator[Trouble]:
    hour, day = unmatched.hour, unmatched.day
    if day is None or not unmatched.many:
        return
    before = max(0, day.events - hour.events)
    usual = max(0, day.unmatched - hour.unmatched) / before if before else 0.0
    if hour.unmatched >= hour.events * usual * _MORE:
        yield Trouble(
            level="warn",
            subject="config",
            text=f"No route took {hour.unmatched:,} of the last hour's {hour.events:,} events",
            since=None,
            link="/events?outcome=unmatched",
        )
