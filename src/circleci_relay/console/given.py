"""What every shape of a question has in common: nothing unknown, nothing unbounded."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import ConfigDict, ValidationInfo, field_validator

from circleci_relay.config.base import Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 1000
"""Characters of a text that sets no `max_length` of its own."""

LARGEST = 2**53 - 1
"""An integer that sets no bounds of its own is at most this, either way: JSON's safe range."""

MANY = 5000
"""Items of a list that are looked at one by one; none of ours takes so many."""

EXACT: Any = {"exact": True}
"""The context in which "1" is no number and 1 no time: JSON says which is meant."""


class Given(Strict):
    """
    What comes in: a query, a path's or headers' values, a body.

    Unknown keys are refused; texts are bounded and hold no NUL; integers are bounded.
    """

    model_config = ConfigDict(str_max_length=LONGEST, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _exact(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic's own strictness would do, but for types that look at a value first.
        if info.context is EXACT and info.field_name is not None:
            _check_kind(value, _kinds(cls, info.field_name))
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _storable(cls, value: object) -> object:
        _check(value)
        return value


@cache
def _kinds(model: type[Given], name: str) -> frozenset[type]:
    """Return the types that stand in a field's annotation; none where anything may."""
    found = frozenset(_leaves(model.model_fields[name].annotation))
    return found if all(isinstance(each, type) for each in found) else frozenset()


def _leaves(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    if get_origin(annotation) is Annotated:  # what stands behind its first checks, and is no type
        inner = inner[:1]
    if not inner:
        yield type(annotation) if isinstance(annotation, str | int) else annotation
    for each in inner:
        if each is not ...:
            yield from _leaves(each)


def _check_kind(value: object, kinds: frozenset[type]) -> None:
    if isinstance(value, list):
        _check_items(value, kinds)
    elif isinstance(value, bool):
        if bool not in kinds and kinds & {int, float}:
            raise ValueError("should be a number")
    elif isinstance(value, int | float):
        if kinds & {int, float}:
            return
        if bool in kinds:
            raise ValueError("should be true or false")
        if any(issubclass(kind, date | timedelta) for kind in kinds):
            raise ValueError("should be a text that says when, or how long")
    elif isinstance(value, str) and kinds and kinds <= {int, float, bool, type(None)}:
        raise ValueError("should be true or false" if bool in kinds else "should be a number")


def _check_items(items: list[object], kinds: frozenset[type]) -> None:
    if len(items) > MANY:
        raise ValueError(f"should have at most {MANY} items")
    for each in items:
        if not isinstance(each, list):  # none of ours holds lists of lists: told by pydantic
            _check_kind(each, kinds)


def _check(value: object) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds a NUL character")
    elif isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError("is out of range")
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            _check(each)
