"""Bulk jobs, newest first, and what became of the deliveries they made."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from circleci_relay.store.encode import parse
from circleci_relay.store.schema import deliveries, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.model import Micros

COUNTED = 20_000
"""Deliveries of one job that are counted by state in a list; those of more, only by itself."""

d, j = deliveries.c, jobs.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A bulk job as it stands."""

    id: str
    kind: str
    state: str
    request: Mapping[str, Any]
    created_at: Micros
    created_by: str
    expected: int | None
    looked: int
    made: int
    skipped: int
    progress: float | None  #: in [0, 1]; None where that is not known
    finished_at: Micros | None
    ended_by: str | None
    error: str | None
    states: Mapping[str, int]  #: what became of what it made; of nothing if not counted


def jobs_of(
    connection: sa.Connection, *, state: str | None, before: str | None, limit: int
) -> list[Job]:
    """Up to *limit* jobs in *state* (None: any), older than the one of the id *before*."""
    query = sa.select(jobs).order_by(j.id.desc()).limit(limit)
    if state is not None:
        query = query.where(j.state == state)
    if before is not None:
        query = query.where(j.id < before)
    rows = connection.execute(query).all()
    counts = _states(connection, [row.id for row in rows if 0 < row.made <= COUNTED])
    return [_job(row, counts.get(row.id, {})) for row in rows]


def job_of(connection: sa.Connection, job: str) -> Job | None:
    """One job."""
    row = connection.execute(sa.select(jobs).where(j.id == job)).first()
    return None if row is None else _job(row, _states(connection, [job]).get(job, {}))


def _states(connection: sa.Connection, ids: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    if ids:
        query = sa.select(d.job, d.state, sa.func.count().label("number")).where(d.job.in_(ids))
        for row in connection.execute(query.group_by(d.job, d.state)):
            found[row.job][row.state] = row.number
    return found


def _job(row: Any, states: Mapping[str, int]) -> Job:
    position = {} if row.position is None else parse(row.position)
    return Job(
        id=row.id,
        kind=row.kind,
        state=row.state,
        request=parse(row.request),
        created_at=row.created_at,
        created_by=row.created_by,
        expected=row.expected,
        looked=row.looked,
        made=row.made,
        skipped=row.skipped,
        progress=_progress(row, position),
        finished_at=row.finished_at,
        ended_by=row.ended_by,
        error=row.error,
        states=states,
    )


def _progress(row: Any, position: Mapping[str, Any]) -> float | None:
    if row.state == "done":
        return 1.0
    share: float | None = position.get("share")
    if share is not None:
        return share
    if row.expected:
        return min(1.0, float((row.made + row.skipped) / row.expected))
    return 0.0 if row.position is None else None
