"""The filters of templates for maps; each pays for the entries it goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import OMIT, is_missing, kind_of, spend

if TYPE_CHECKING:
    from collections.abc import Callable


def combine(value: Any, other: Any) -> dict[Any, Any]:
    """A map, with the entries of another put over its own; `omit` takes one away."""
    made = {**_map(value), **_map(other)}
    return {key: each for key, each in made.items() if each is not OMIT}


def _map(value: Any) -> dict[Any, Any]:
    if is_missing(value):
        return {}
    if not isinstance(value, dict):
        raise RenderError(f"the filter combine wants maps, and one is {kind_of(value)} here")
    spend(items=len(value))
    return value


FILTERS: Final[dict[str, Callable[..., Any]]] = {"combine": combine}
"""By the names that templates use."""
