"""Templates in relay.yaml: compiled when it is read, their faults told without what is secret."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import SecretStr

from circleci_relay.config.discretion import UNSAID, Unsaid, sayable
from circleci_relay.config.interpolate import has_marks
from circleci_relay.config.tree import Map, Scalar, value_at
from circleci_relay.rendering.structure import TemplateFaults, compile_structure, compile_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from circleci_relay.rendering.structure import Structure, Text

Below = tuple[str | int, ...]

_MARKED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_NAMED = re.compile(r"[^\s'\"(){}\[\]|,~=<>]+")
_QUOTED = re.compile(r"[^'\"]+")
_WORD = re.compile(r"[\w+/-]{4,}")

FILLED_IN = "does not hold, once its ${...} is filled in, a template that makes sense"
BROUGHT_IN = (
    "holds {{, {% or {#, once its ${...} is filled in; what a variable or file holds is text, "
    "and no template"
)


def is_template(text: str) -> bool:
    """Whether *text* is a template; what variables and files hold makes none of it."""
    return text.template if isinstance(text, Scalar) else has_marks(text)


def masked(text: str) -> str:
    """*text* with a letter for each character of an expression or statement: as long as before."""
    return _MARKED.sub(lambda found: "x" * len(found[0]), text)


def literals(text: str) -> list[str]:
    """What of *text* stands between its expressions and statements."""
    return _MARKED.split(text)


def filled(text: str, word: str) -> str:
    """*text* with *word* in place of each expression, and nothing in place of statements."""
    return _MARKED.sub(lambda found: word if found[0].startswith("{{") else "", text)


class Template(SecretStr):
    """A text that is rendered for each message; shown to nobody, as its constants may be secret."""

    def __init__(self, text: str, compiled: Text) -> None:
        super().__init__(text)
        self.compiled = compiled


def text_of(raw: str, compile_: Callable[[str], Text] | None = None) -> Text:
    """*raw* compiled; raises `ValueError` that says what is wrong."""
    refuse_brought_in(raw)
    try:
        return _compiled(str(raw), compile_ or compile_text)
    except TemplateFaults as error:
        if _unknown(raw):
            return compile_text("unknown")
        raise ValueError(discreet(raw, error.faults[0].message)) from None


@lru_cache(2048)
def _compiled(raw: str, compile_: Callable[[str], Text]) -> Text:
    """Many destinations have the same in their headers; to compile takes half a millisecond."""
    return compile_(raw)


def structure_of(
    raw: object, written: object, *, names: frozenset[str] | None = None
) -> tuple[Structure | None, list[tuple[Below, str]]]:
    """
    *raw* compiled, or all that is wrong with it.

    *written* is the same as it stands in the file, and knows what in it may be a secret.
    """
    try:
        return _compiled_structure(json.dumps(raw), names), []
    except TemplateFaults as error:
        faults = [fault for fault in error.faults if not _unknown(value_at(written, fault.path))]
        if not faults:
            return compile_structure("unknown"), []
        return None, [(each.path, _about(written, each.path, each.message)) for each in faults]


def _unknown(raw: object) -> bool:
    """Whether something made up stands in *raw*, of which nothing can be told."""
    return isinstance(raw, Scalar) and raw.unknown


@lru_cache(512)
def _compiled_structure(raw: str, names: frozenset[str] | None) -> Structure:
    return compile_structure(json.loads(raw), names=names)


def _about(written: object, path: Below, message: str) -> str:
    said = discreet(value_at(written, path), message)
    for holder in (value_at(written, path), value_at(written, path[:-1])):
        for key in holder if isinstance(holder, Map) else ():
            if isinstance(key, Unsaid) and key in said:
                said = said.replace(key, UNSAID)
    return said


def refuse_brought_in(raw: object) -> None:
    """Raise `ValueError` if a variable or file brought marks of a template into *raw*."""
    if isinstance(raw, Scalar) and raw.marked:
        raise ValueError(BROUGHT_IN)


def discreet(raw: object, message: str) -> str:
    """*message* about a template without what of it may be a secret."""
    if isinstance(raw, Scalar) and raw.expanded:
        return FILLED_IN
    if not isinstance(raw, str):
        return message
    for piece in map(str.strip, _QUOTED.findall(raw)):
        if not sayable(piece):
            message = message.replace(piece, UNSAID)
    for piece in _NAMED.findall(raw):
        if len(piece) > 1 and not sayable(piece):
            message = _WORD.sub(lambda word: UNSAID if word[0] in piece else word[0], message)  # noqa: B023
    return message
