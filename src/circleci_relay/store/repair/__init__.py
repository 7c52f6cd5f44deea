"""What an operator changes: steps inside the writer's transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from circleci_relay.errors import Unanswerable

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.store.unit import Unit

T = TypeVar("T")


def answered(step: Callable[[Unit], T]) -> Callable[[Unit], T | Unanswerable]:
    """
    *step*, which says by returning it what cannot be done.

    In a transaction that others share an error would be theirs too. So a step looks at all
    that may be in its way before it changes anything.
    """

    def careful(unit: Unit) -> T | Unanswerable:
        try:
            return step(unit)
        except Unanswerable as refusal:
            return refusal

    return careful
