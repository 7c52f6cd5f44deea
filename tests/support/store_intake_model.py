"""What the store promises of what it takes in, in plain dicts, and of how that waits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from circleci_relay.model import Accepted, Micros, Quiet, Reason, State
from support.store_records import CHANGES, Gathering, Kept, Owed, Place, Standing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from circleci_relay.model import Intake, Line


@dataclass
class Intaking:
    """The first half of `Model`: time, events, lines, and what is owed for them."""

    now: Micros
    events: dict[str, Kept] = field(default_factory=dict)  #: by CircleCI's id
    owed: dict[str, Owed] = field(default_factory=dict)  #: by webhook id
    lines: dict[Line, Standing] = field(default_factory=dict)
    gatherings: dict[tuple[str, ...], Gathering] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)
    stood: dict[str, Micros] = field(default_factory=dict)  #: clocks of all ever configured
    tokens: set[int] = field(default_factory=set)  #: all ever given
    superseded: Counter[str] = field(default_factory=Counter)  #: since somebody looked

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
        place = self._compare(intake)
        choice = intake.choose(place.change)
        self._move_line(intake, place)
        self.events[event.id] = Kept(
            event.public_id,
            event.body,
            event.received_at,
            place.change,
            intake.line,
            None if intake.line is None else place.history(),
        )
        for name in choice.destinations:
            self._owe(intake, place, name, choice.quiet.get(name))
        return Accepted(event=event.public_id, change=place.change, choice=choice)

    def _compare(self, intake: Intake) -> Place:
        """How an event compares with the last of its line, and where it leaves the line."""
        number, good = intake.event.facts.pipeline_number, intake.good
        last = None if intake.line is None else self.lines.get(intake.line)
        late = False
        if last is not None and number is not None and last.number is not None:
            late = number < last.number
        if intake.line is None or good is None or late:
            return Place(late=late, now=last)
        first = Standing(good, number, intake.event.received_at)
        if last is None:
            return Place(now=first)
        newest = last.number if number is None else number
        change = CHANGES[last.good, good]
        if last.good == good:
            same = replace(last, number=newest, streak=last.streak + 1)
            return Place(change=change, now=same)
        return Place(change=change, now=replace(first, number=newest), before=last)

    def _move_line(self, intake: Intake, place: Place) -> None:
        """Make what is held needless, if the line is good again or was in between."""
        if intake.line is None or place.now is None:
            return
        self.lines[intake.line] = place.now
        place.now.told_of.append(intake.event.public_id)
        if intake.good is None or place.late:
            return
        for each in self._held(intake.line):
            # Of one that came while the line was good, a break that follows says nothing.
            # One that is in hand may still be given back.
            each.mended = intake.good or (each.mended and each.line_good is False)

    def _held(self, line: Line) -> list[Owed]:
        return [each for each in self.owed.values() if each.line == line and each.pending]

    def _owe(self, intake: Intake, place: Place, name: str, quiet: Quiet | None) -> None:
        holds = quiet is not None and quiet.hold and intake.line is not None and not intake.good
        due = self.now
        if quiet is not None:
            due += max(quiet.hold if holds else 0, quiet.wait)
        key = f"{intake.event.public_id}-{name}"
        owed = self.owed[key] = Owed(
            event=intake.event.id,
            destination=name,
            created_at=due,  # from when it is owed: it is not late while it has to wait
            aged_from=due - self.stood[name],
            due_at=due,
            quiet=quiet,
            line=intake.line if holds else None,
            line_good=None if place.now is None else place.now.good,
        )
        if quiet is None:
            return
        known = self._gathering(name, quiet)
        if self._is_old_news(intake, place, owed):
            self._supersede(owed)
        elif quiet.once is not None:
            self._tell_once(key, owed, quiet, known)
        elif quiet.group is not None:
            self._tell_together(key, owed, quiet, known)

    # Quiet

    def _supersede(self, owed: Owed) -> None:
        owed.end(State.CANCELLED, Reason.SUPERSEDED, self.now)
        self.superseded[owed.destination] += 1

    def _is_old_news(self, intake: Intake, place: Place, owed: Owed) -> bool:
        """Whether it is needless at once; a good event takes back what was held before it."""
        if owed.quiet is None or not owed.quiet.hold or intake.line is None:
            return False
        if not intake.good:
            return place.late and place.now is not None and place.now.good
        if place.late:
            return False
        for each in self._held(intake.line):
            if each.destination == owed.destination and each.untold:
                self._supersede(each)
        if place.before is None:
            return False
        # That it is whole again is no news to whoever never heard that it broke.
        keys = [f"{public_id}-{owed.destination}" for public_id in place.before.told_of]
        since = [self.owed.get(key) for key in keys]
        held = [each for each in since if each is not None and each.line is not None]
        return bool(held and held[0] is since[0]) and not any(each.attempts for each in held)

    def _gathering(self, name: str, quiet: Quiet) -> Gathering | None:
        """What an event is told once or together with; it is remembered for a day."""
        found = self.gatherings.get(_names(name, quiet))
        if found is not None:
            found.touched = self.now
        return found

    def _waiting(self, known: Gathering | None) -> Owed | None:
        """What waits in a gathering, as long as it may be changed."""
        owed = None if known is None else self.owed.get(known.key)
        return owed if owed is not None and owed.untold else None

    def _tell_once(self, key: str, owed: Owed, quiet: Quiet, known: Gathering | None) -> None:
        """The last one is told, unless it is a job's after its workflow's."""
        earlier = self._waiting(known)
        if earlier is not None:
            assert known is not None
            if quiet.rank < known.rank:
                self._supersede(owed)
                return
            self._supersede(earlier)
        self._gather(owed, quiet, Gathering(key, rank=quiet.rank))

    def _tell_together(self, key: str, owed: Owed, quiet: Quiet, known: Gathering | None) -> None:
        """The first leads the others, and is due for all."""
        leader = self._waiting(known)
        if leader is None or known is None or known.count >= quiet.most:
            owed.leader = key
            self._gather(owed, quiet, Gathering(key))
            return
        owed.leader, owed.due_at = known.key, None
        known.count += 1
        if known.count >= quiet.most:
            leader.due_at = self.now

    def _gather(self, owed: Owed, quiet: Quiet, gathering: Gathering) -> None:
        gathering.touched = self.now
        self.gatherings[_names(owed.destination, quiet)] = gathering


def _names(destination: str, quiet: Quiet) -> tuple[str, ...]:
    """Name what a delivery is told once, or together with."""
    return (
        destination,
        "once" if quiet.once is not None else "group",
        quiet.once or quiet.group or "",
    )
