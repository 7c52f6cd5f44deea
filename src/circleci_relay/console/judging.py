"""The rules by which an operator is told of something: what was seen in, what is wrong out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

from circleci_relay.model import SECOND, Micros
from circleci_relay.store.log.standings import FINE, Tries

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from circleci_relay.config.model import Config, Destination, Notify
    from circleci_relay.model import Backlog

Rule = Literal["failing", "dead_letters", "store_full", "silent"]

STORE: Final = "store"
"""What `store_full` is about."""

SLACK: Final = 0.05
"""By what part of itself the store must be emptier than where the alert began, to end it."""

DAYS: Final = 7
"""How many days before are looked at to tell whether a source is busy at this hour."""

_KNOWN: Final = 3  #: of these, so many must be known
_BUSY: Final = 5.0  #: events on their average
_STEP: Final = 60 * SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is wrong."""

    rule: Rule
    subject: str
    began: Micros  #: since when it is so, as far as that is known: to the minute
    text: str  #: one plain sentence
    link: str | None  #: the page that helps, as a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is judged: one look at everything."""

    at: Micros
    backlogs: Mapping[str, Backlog]
    size: int
    filled: float | None
    tries: Mapping[str, Tries] = field(default_factory=dict)
    arrivals: Mapping[str, Micros] = field(default_factory=dict)
    #: of sources that are silent: what came on the days before, None where that is not known
    usual: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    paused: Collection[str] = ()
    #: what is wrong already: it takes more to end it than not to begin it
    under_way: Collection[tuple[str, str]] = ()


def judge(config: Config, notify: Notify, seen: Seen) -> list[Finding]:
    """Everything that is wrong by the rules of *notify*."""
    return [
        *_failing(config, notify, seen),
        *_dead_letters(config, notify, seen),
        *_store_full(notify, seen),
        *_silent(config, notify, seen),
    ]


def watched(config: Config, notify: Notify, rule: str, subject: str) -> bool:
    """Whether *notify* has anything to say of *subject* by *rule*."""
    if rule == "failing":
        return notify.failing_for is not None and subject in config.destinations
    if rule == "dead_letters":
        return notify.dead_letters and subject in config.destinations
    if rule == "silent":
        return notify.silent_for is not None and subject in config.sources
    return notify.store_full is not None or notify.store_size is not None


# A destination fails


def back(config: Config, notify: Notify) -> Micros:
    """How far attempts must be looked back at to tell what fails."""
    span = round((notify.failing_for or 0) * SECOND)
    gap = max((_gap(notify, each) for each in config.destinations.values()), default=0)
    # No further than minutes can be told apart, unless it takes longer than that to be told.
    return min(span + gap + 2 * _STEP, max(FINE, span + 3600 * SECOND))


def _gap(notify: Notify, destination: Destination) -> Micros:
    """A pause between two failures that makes them two matters, not one."""
    return round(((notify.failing_for or 0) + 2 * destination.retry.max_interval) * SECOND)


def _failing(config: Config, notify: Notify, seen: Seen) -> Iterator[Finding]:
    if notify.failing_for is None:
        return
    span = round(notify.failing_for * SECOND)
    for name, destination in config.destinations.items():
        tries = seen.tries.get(name, Tries())
        waiting = seen.backlogs.get(name)
        if ("failing", name) in seen.under_way:
            wrong = name in seen.paused or _still_fails(tries, waiting, seen.at - span)
            began = tries.failed[0] if tries.failed else seen.at - span
        else:
            run = _run(tries.failed, _gap(notify, destination))
            if name in seen.paused or not run:
                continue
            began, last = run[0], run[-1] + tries.step
            # Counted from the end of the step in which it began.
            lasts = began + tries.step + span <= seen.at
            waits = waiting is not None and waiting.oldest is not None and waiting.oldest <= last
            wrong = lasts and (last >= seen.at - span or waits)
        if wrong:
            yield Finding(
                rule="failing",
                subject=name,
                began=began,
                text=f"Every attempt at {name} has failed since about {said_at(began)}",
                link=f"/destinations/{quote(name)}",
            )


def _still_fails(tries: Tries, waiting: Backlog | None, since: Micros) -> bool:
    if tries.ok is not None and not tries.failed:
        return False
    if waiting is not None and (waiting.pending or waiting.dead):
        return True  # that it has given up on all of them is no sign of health
    return bool(tries.failed) and tries.failed[-1] + tries.step >= since


def _run(failed: Sequence[Micros], gap: Micros) -> Sequence[Micros]:
    """The last failures, back to where there was none for longer than *gap*."""
    first = 0
    for number in range(1, len(failed)):
        if failed[number] - failed[number - 1] > gap:
            first = number
    return failed[first:]


# Deliveries are dead


def _dead_letters(config: Config, notify: Notify, seen: Seen) -> Iterator[Finding]:
    if not notify.dead_letters:
        return
    for name in config.destinations:
        backlog = seen.backlogs.get(name)
        if backlog is not None and backlog.dead:
            yield dead_letters(name, backlog.dead, seen.at)


def dead_letters(name: str, count: int, at: Micros) -> Finding:
    """That *count* deliveries to *name* are dead."""
    some = "1 delivery is" if count == 1 else f"{count:,} deliveries are"
    return Finding(
        rule="dead_letters",
        subject=name,
        began=at,
        text=f"{some} dead at {name}",
        link=f"/dead?destination={quote(name)}",
    )


# The store is full


def _store_full(notify: Notify, seen: Seen) -> Iterator[Finding]:
    less = 1 - SLACK if ("store_full", STORE) in seen.under_way else 1.0
    percent = None if seen.filled is None else seen.filled * 100
    if notify.store_full is not None and percent is not None:
        limit = notify.store_full - (SLACK * 100 if less < 1 else 0)
        if percent >= limit:
            yield _full(f"The store's room is {percent:.0f} % full", seen)
            return
    if notify.store_size is not None and seen.size >= notify.store_size * less:
        most = binary(notify.store_size)
        yield _full(f"The store has grown to {binary(seen.size)}, and {most} is its limit", seen)


def _full(text: str, seen: Seen) -> Finding:
    return Finding(rule="store_full", subject=STORE, began=seen.at, text=text, link=None)


# A source is silent


def quiet_sources(config: Config, notify: Notify, seen: Seen) -> list[str]:
    """The sources that sent nothing for long enough, whatever is usual."""
    if notify.silent_for is None:
        return []
    since = seen.at - round(notify.silent_for * SECOND)
    return [name for name in config.sources if seen.arrivals.get(name, -1) < since - _STEP]


def _silent(config: Config, notify: Notify, seen: Seen) -> Iterator[Finding]:
    for name in quiet_sources(config, notify, seen):
        average = _busy(seen.usual.get(name, ()))
        if average is None and ("silent", name) not in seen.under_way:
            continue
        began = seen.at - round((notify.silent_for or 0) * SECOND)
        came = "" if average is None else f", where about {average:.0f} events are usual"
        yield Finding(
            rule="silent",
            subject=name,
            began=began,
            text=f"Nothing has come from {name} since about {said_at(began)}{came}",
            link=f"/events?source={quote(name)}",
        )


def _busy(usual: Sequence[float | None]) -> float | None:
    """How many events are usual, where it is usual that some come; the day before first."""
    known = [count for count in usual if count is not None]
    if len(known) < _KNOWN:
        return None
    # Whoever works from Monday to Friday is not silent on a Saturday.
    if len(usual) >= DAYS and usual[DAYS - 1] == 0:
        return None
    average = sum(known) / len(known)
    often = sum(count > 0 for count in known) * 2 > len(known)
    return average if often and average >= _BUSY else None


# Words


def over(rule: str, subject: str, seen: Seen) -> str:
    """One plain sentence: that it is over, and how."""
    if rule == "failing":
        tries = seen.tries.get(subject)
        again = tries is not None and tries.ok is not None and not tries.failed
        return f"{subject} takes events again" if again else f"Nothing is left to try at {subject}"
    if rule == "dead_letters":
        return f"No delivery is dead at {subject} any more"
    if rule == "silent":
        return f"Events come from {subject} again"
    return "The store has room again"


def said_at(instant: Micros) -> str:
    """An instant as people say it."""
    return datetime.fromtimestamp(instant // SECOND, UTC).strftime("%Y-%m-%d %H:%M UTC")


def binary(size: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004
            return f"{size:.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
