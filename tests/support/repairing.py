"""Repairs on an open store, as the console does them; and what there is to repair."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeVar

from circleci_relay.errors import Unanswerable
from circleci_relay.model import Decision, Reason, Result, State
from circleci_relay.store.repair import answered, jobs
from circleci_relay.store.repair.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.model import Claim
    from circleci_relay.store import Store
    from circleci_relay.store.log.period import Stored
    from circleci_relay.store.repair.jobs import Stepped
    from circleci_relay.store.unit import Unit
    from support.storing import Bench

T = TypeVar("T")

DEAD = Decision(state=State.DEAD, reason=Reason.MAX_ATTEMPTS)
AGAIN = Decision(state=State.PENDING, delay=60.0)
WHO = "ops"
_KEYS = itertools.count(1000)


async def do(store: Store, step: Callable[[Unit], T]) -> T:
    """Do a step as the console does: what cannot be done is raised here."""
    done = await store.do(answered(step))
    if isinstance(done, Unanswerable):
        raise done
    return done


def nowhere(_: Stored) -> tuple[str, ...]:
    """Routes that send nothing anywhere."""
    return ()


async def step(
    store: Store, choose: Callable[[Stored], tuple[str, ...]] = nowhere
) -> Stepped | None:
    """One step of whichever job is next."""
    return await store.do(lambda unit: jobs.step(unit, choose))


async def to_the_end(
    store: Store, choose: Callable[[Stored], tuple[str, ...]] = nowhere
) -> list[Stepped]:
    """All steps there are."""
    done = []
    while (each := await step(store, choose)) is not None:
        done.append(each)
    return done


async def start(
    store: Store,
    select: Selection | None = None,
    *,
    kind: str = "replay",
    key: str = "",
    **more: Any,
) -> str:
    """Put a job on record; its id."""
    selection = select or Selection(state="dead")
    request = {"select": selection.as_json(), **more}
    return await do(
        store,
        lambda unit: jobs.start(
            unit,
            kind=kind,
            request=request,
            idempotency_key=key or f"key-{next(_KEYS)}",
            expected=None,
            who=WHO,
        ),
    )


async def kill(bench: Bench, claims: list[Claim], **outcome: Any) -> None:
    """Let the deliveries of *claims* die."""
    told = {"result": Result.SERVER_ERROR, "status": 500, "error": "HTTP 500", **outcome}
    for claim in claims:
        bench.store.settle(bench.settlement(claim, DEAD, **told))
    await bench.store.flush()


async def dead(bench: Bench, count: int, to: str = "chat") -> list[int]:
    """*count* events whose delivery is dead, the oldest first; the deliveries' keys."""
    for _ in range(count):
        await bench.accept(to)
    claims = await bench.claim(to, limit=count)
    await kill(bench, claims)
    return sorted(claim.delivery for claim in claims)


def dead_count(bench: Bench) -> int:
    """How many count as dead."""
    sql = "SELECT count(*) AS n FROM deliveries WHERE state = 'dead' AND replayed_by IS NULL"
    return int(bench.row(sql)["n"])


def delivery(bench: Bench, key: int) -> dict[str, Any]:
    """One row."""
    return bench.row(f"SELECT * FROM deliveries WHERE key = {key}")  # noqa: S608 - a number
