"""The relay's own event ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.ulid import Ulids


@given(st.lists(st.integers(0, 2**60), min_size=2))
def test_ids_only_grow(times: list[int]) -> None:
    """Even when the clock stands still or runs backwards."""
    ulids = Ulids()
    made = [ulids.next(now % (2**48 * 1000)) for now in times]
    assert made == sorted(set(made))


def test_an_id_carries_its_time() -> None:
    """The first ten characters are the milliseconds, as the specification has it."""
    # The specification's own example, section "Components": 01AN4Z07BY is 1465824320894 ms.
    made = Ulids().next(1_465_824_320_894_000)
    assert made.startswith("01AN4Z07BY")
    assert len(made) == 26


def test_two_makers_never_agree() -> None:
    """Processes that share a millisecond share no id."""
    assert Ulids().next(0) != Ulids().next(0)
