"""From what pydantic finds to faults with a place, in words for people."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from circleci_relay.config.fields import ValueFaults
from circleci_relay.config.tree import Map, Spot, kind, locate, value_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

    from circleci_relay.model import Fault

# Who compares long words, or with thousands of them, waits for minutes.
_LONGEST_WORD, _MOST_KNOWN, _LIKELY = 100, 300, 2
_MOST_FAULTS = 200  # of one destination, route or the like


def near(word: str, known: Iterable[str]) -> str:
    """The known word that *word* was meant to be, as the end of a message; or nothing."""
    if len(word) > _LONGEST_WORD:
        return ""
    wanted = _folded(word)
    candidates = {_folded(each): each for each in known}
    if len(candidates) > _MOST_KNOWN:
        likely = (each for each in candidates if _likely(each, wanted))
        candidates = {each: candidates[each] for each in islice(likely, _MOST_KNOWN)}
    close = difflib.get_close_matches(wanted, candidates, n=1, cutoff=0.6)
    return f"; did you mean {candidates[close[0]]}?" if close else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


def _likely(word: str, wanted: str) -> bool:
    return word[:1] == wanted[:1] and abs(len(word) - len(wanted)) <= _LIKELY


def unknown_key(spot: Spot, key: str, known: Iterable[str]) -> Fault:
    """A key that nothing reads."""
    known = list(known)
    hint = near(key, known) or f"; the keys here are {', '.join(known)}"
    return spot.fault(f"unknown key{hint}")


def from_pydantic(
    error: ValidationError, root: Map, prefix: tuple[str | int, ...], model: type[BaseModel]
) -> list[Fault]:
    """Every fault in *error*, which is about what stands at *prefix* below *root*."""
    faults: list[Fault] = []
    for one in error.errors(include_url=False, include_input=False)[:_MOST_FAULTS]:
        loc = (*prefix, *(part for part in one["loc"] if part != "[key]"))
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, ValueFaults):
            for below, message in cause.faults[:_MOST_FAULTS]:
                faults.append(_at(root, (*loc, *below), message))
            continue
        if one["type"] == "missing":
            faults.append(_at(root, loc[:-1], f"{loc[-1]} is missing"))
            continue
        if one["type"] == "extra_forbidden":
            spot, _ = locate(root, loc[:-1])
            parent = value_at(root, loc[:-1])
            if isinstance(parent, Map):
                spot = parent.keys_at[str(loc[-1])]
            faults.append(unknown_key(spot, str(loc[-1]), _keys(model, one["loc"][:-1])))
            continue
        if one["loc"] and one["loc"][-1] == "[key]":
            parent = value_at(root, loc[:-1])
            spot = parent.keys_at[str(loc[-1])] if isinstance(parent, Map) else locate(root, loc)[0]
            faults.append(spot.fault(_message(one, cause, None)))
            continue
        faults.append(_at(root, loc, _message(one, cause, value_at(root, loc))))
    return faults


def _at(root: Map, path: tuple[str | int, ...], message: str) -> Fault:
    spot, rest = locate(root, path)
    return spot.fault(message, rest)


def _message(one: ErrorDetails, cause: object, value: object) -> str:
    if isinstance(cause, ValueError):
        return str(cause)
    if one["type"] in {"model_type", "dict_type", "model_attributes_type"}:
        return f"is {kind(value)}; wanted a map"
    if one["type"] in {"list_type", "tuple_type"}:
        return f"is {kind(value)}; wanted a list"
    return one["msg"]


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys of the model that *loc* leads to."""
    for part in loc:
        found = model.model_fields.get(str(part))
        inner = _model_in(found.annotation) if found else None
        model = inner or model
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if found := _model_in(argument):
            return found
    return None
