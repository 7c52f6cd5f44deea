"""What `store check` found, as tables and as data."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli.output import print_table, printable

if TYPE_CHECKING:
    from circleci_relay.model import Micros
    from circleci_relay.store.contents import Contents, Growth
    from circleci_relay.store.sounding import Estimate

_DAY_S = 86_400
_KILO = 1000


def show(found: Contents, *, keep: float) -> None:
    """Print it for people."""
    rows = [
        ("place", found.place),
        ("schema", found.revision),
        ("integrity", _integrity(found)),
        ("events", _about(found.events)),
        ("  unmatched", f"{found.unmatched:,}"),
        ("  duplicates", f"{found.duplicates:,} (of other bytes: {found.conflicts:,})"),
        ("attempts", _about(found.attempts)),
        ("size", _size(found)),
        *_growth(found.growth, keep),
        *found.settings.items(),
    ]
    print_table(["", found.kind], rows)
    click.echo()
    now = datetime.now(UTC)
    print_table(
        ["destination", "pending", "oldest", "dead", "delivered"],
        [
            (
                one.destination + ("" if one.configured else " (not configured)"),
                f"{one.pending:,}",
                _ago(one.oldest_pending_at, now),
                f"{one.dead:,}",
                _about(one.delivered),
            )
            for one in found.standings
        ],
    )
    click.echo()
    print_table(
        ["day (UTC)", "events"],
        [(_day(start), f"{count:,}") for start, count in found.growth.days],
    )
    for warning in found.warnings:
        click.echo(f"warning: {printable(warning)}")


def as_data(found: Contents) -> dict[str, Any]:
    """Return it for scripts: instants as ISO 8601, sizes in bytes."""
    data = dataclasses.asdict(found)
    for one in data["standings"]:
        one["oldest_pending_at"] = _instant(one["oldest_pending_at"])
    data["growth"]["days"] = [
        {"day": _day(start), "events": count} for start, count in found.growth.days
    ]
    return data


def _integrity(found: Contents) -> str:
    more = {
        "not finished": " in the few seconds it may take: --deep reads it all",
        "not looked at": ": that is the server's to tell",
    }
    return found.integrity + more.get(found.integrity, "")


def _size(found: Contents) -> str:
    parts = [
        f"{name} {'' if taken.exact else '~'}{_bytes(taken.number)}"
        for name, taken in sorted(found.tables.items(), key=lambda item: -item[1].number)
        if found.size and taken.number * 100 >= found.size
    ]
    spare = f", of which {_bytes(found.spare)} are free again" if found.spare else ""
    return _bytes(found.size) + spare + (f" ({', '.join(parts)})" if parts else "")


def _growth(growth: Growth, keep: float) -> list[tuple[str, str]]:
    days = f"{keep / _DAY_S:g} days"
    rows = [
        ("events a day", "too new to tell" if growth.per_day is None else f"{growth.per_day:,.0f}"),
        (
            "bytes an event",
            "too few to tell"
            if growth.bytes_per_event is None
            else f"{growth.bytes_per_event:,.0f}, all told",
        ),
    ]
    if growth.at_keep is not None:
        rows.append((f"size at keep, {days}", f"{_bytes(growth.at_keep)} at this rate"))
    if growth.disk_free is not None:
        rows.append(("free on the disk", _bytes(growth.disk_free)))
    if growth.days_that_fit is not None:
        full = growth.days_until_full
        until = "" if full is None else f"; the disk is full in {full:.1f} days"
        rows.append(("days that fit", f"{growth.days_that_fit:,.0f}{until}"))
    return rows


def _about(estimate: Estimate) -> str:
    return f"{'' if estimate.exact else '~'}{estimate.number:,}"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < _KILO:
            return f"{count:.3g} {unit}"
        count /= _KILO
    return f"{count:.3g} TB"


def _day(start: Micros) -> str:
    return datetime.fromtimestamp(start / 1_000_000, UTC).date().isoformat()


def _instant(at: Micros | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at / 1_000_000, UTC).isoformat()


def _ago(at: Micros | None, now: datetime) -> str:
    if at is None:
        return ""
    seconds = max(0.0, now.timestamp() - at / 1_000_000)
    for unit, length in (("d", _DAY_S), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"
