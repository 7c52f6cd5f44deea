"""What was turned away, in the store: counted, bounded, listed in pages."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from circleci_relay.model import SECOND
from circleci_relay.store.log import rejects as log
from circleci_relay.store.repair import rejects
from circleci_relay.store.repair.rejects import Noted

if TYPE_CHECKING:
    from circleci_relay.store.log.rejects import Found
    from support.storing import Bench

MOST = {"circleci": 100, "other": 100}


def noted(number: int, *, source: str = "circleci", **changes: object) -> Noted:
    """One that came at second *number*."""
    given = {
        "id": f"01K{source[:1].upper()}{number:022d}",
        "source": source,
        "secret": None,
        "digest": number.to_bytes(16),
        "received_at": number * SECOND,
        "last_at": number * SECOND,
        "count": 1,
        "reason": "unauthorized",
        "detail": "circleci-signature does not match the body",
        "claims": {"project": "gh/acme/api"},
        "headers": (("content-type", "application/json"),),
        "body": b"{}",
        "size": 2,
    }
    return Noted(**(given | changes))  # type: ignore[arg-type]


async def pages(bench: Bench, limit: int, *, reason: str | None = None) -> list[Found]:
    """All pages, of all sources."""
    found: list[Found] = []
    while not found or found[-1].next is not None:
        before = found[-1].next if found else None
        look = partial(
            log.page, source=None, reason=reason, before=before, limit=limit, window=limit
        )
        found.append(await bench.store.look(look))
    return found


async def test_what_comes_again_is_counted(bench: Bench) -> None:
    """One row, with the last reason and the first body; of another source it is another."""
    await bench.store.do(partial(rejects.put, noted=[noted(1)], most=MOST))
    again = noted(1, id="01KZ", last_at=9 * SECOND, count=3, reason="malformed", body=b"other")
    elsewhere = noted(1, source="other")
    await bench.store.do(partial(rejects.put, noted=[again, elsewhere], most=MOST))

    [page] = await pages(bench, 10)
    first, second = page.items
    assert (first.source, first.count, first.reason) == ("circleci", 4, "malformed")
    assert (first.received_at, first.last_at) == (SECOND, 9 * SECOND)
    assert first.claims == {"project": "gh/acme/api"}
    assert (second.source, second.count) == ("other", 1)
    [whole] = await bench.store.look(partial(log.whole, ids=[first.id, "none"]))
    assert (whole.body, whole.headers) == (b"{}", (("content-type", "application/json"),))
    assert whole.line.whole


async def test_the_newest_stay(bench: Bench) -> None:
    """Each source has its own bound; the old are forgotten by their last time."""
    most = {"circleci": 5, "other": 100}
    of_other = [noted(number, source="other") for number in range(20)]
    many = [noted(number) for number in range(20)]
    await bench.store.do(partial(rejects.put, noted=many + of_other, most=most))
    [page] = await pages(bench, 100)
    assert [each.last_at // SECOND for each in page.items if each.source == "circleci"] == [
        *(19, 18, 17, 16, 15)
    ]
    assert len(page.items) == 25

    keep = bench.clock.now() - 17 * SECOND
    for source in await bench.store.look(log.sources):
        await bench.store.do(partial(rejects.forget, source=source, keep=keep, most=2))
    [page] = await pages(bench, 100)
    kept = [(each.source, each.last_at // SECOND) for each in page.items]
    assert sorted(kept) == [*(("circleci", n) for n in (18, 19)), *(("other", n) for n in (18, 19))]


async def test_pages_follow_each_other(bench: Bench) -> None:
    """Every one is listed once, the newest first, however the sources mix; marks are shown."""
    given = [noted(n, source=source) for n in range(12) for source in ("circleci", "other")]
    await bench.store.do(partial(rejects.put, noted=given, most=MOST))
    await bench.store.do(partial(rejects.mark, events={given[3].id: "01EVENT"}))

    listed = [each for page in await pages(bench, 5) for each in page.items]
    assert [each.id for each in listed] == sorted(
        (each.id for each in given), key=lambda text: (text[4:], text), reverse=True
    )
    assert [each.id for each in listed if each.event == "01EVENT"] == [given[3].id]


async def test_a_rare_reason_is_found_a_window_at_a_time(bench: Bench) -> None:
    """Pages may be short, and say so; nothing is left out."""
    given = [noted(n, reason="malformed" if n in {2, 11} else "unauthorized") for n in range(12)]
    await bench.store.do(partial(rejects.put, noted=given, most=MOST))

    found = await pages(bench, 4, reason="malformed")
    assert [each.id for page in found for each in page.items] == [given[11].id, given[2].id]
    assert [page.short for page in found] == [True, True, True, False]


async def test_two_at_once(bench: Bench) -> None:
    """Steps that run together count all there is."""
    step = partial(rejects.put, noted=[noted(1), noted(2)], most=MOST)
    await asyncio.gather(*(bench.store.do(step) for _ in range(5)))
    [page] = await pages(bench, 10)
    assert [each.count for each in page.items] == [5, 5]
