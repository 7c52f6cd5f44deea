"""
Each route's verdict as it was when an event arrived, from what is kept of that configuration.

What is kept is masked, and perhaps by an older version; so a part of a `match` may not be known.
A verdict then says so, and the routes that really took the event have the last word.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.circleci.payload import parse
from circleci_relay.errors import Malformed
from circleci_relay.labels import Labels
from circleci_relay.matching import Match, MatchFaults, Subject, compile_match, view_of
from circleci_relay.model import RELAY
from circleci_relay.redaction import MASK
from circleci_relay.routing import Route, Table, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circleci_relay.model import Facts

Raw = Mapping[str, Any]

_SECRET: Final = "holds a secret, which is not kept"  # noqa: S105 - words
_OLD: Final = "is nothing that can be read today"
_UNREAD: Final = "is of a body that cannot be read today"
_LOST: Final = "it took the event; what it was is not kept"
_NOTICE: Final = "what the relay tells of itself goes where notify says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An event as it is stored."""

    source: str
    facts: Facts  #: with its change
    body: bytes
    routes: tuple[str, ...] | None = None  #: the names of those that took it; None: not known


@dataclass(frozen=True, slots=True)
class _Told:
    """What can be told of one route by what is kept of it."""

    verdict: Verdict
    doubts: tuple[str, ...]  #: on what it depends beside that

    @property
    def certain(self) -> bool:
        """Whether what is not known makes no difference."""
        return not (self.doubts and self.verdict.matched)


def verdicts_then(configuration: Raw, event: Arrived) -> tuple[Verdict, ...]:
    """
    Each route's verdict on *event*; *configuration* is what `Config.masked` once made.

    The reasons repeat facts and parts of the body, as `Table.explain` does.
    """
    rules = _Past(configuration, event).told()
    took = event.routes
    first = {n: _settled(each.told, took) for n, each in rules.items() if not each.otherwise}
    settled = first | {
        name: _settled(_left_over(each.told, rules, first, took), took)
        for name, each in rules.items()
        if each.otherwise
    }
    if event.source == RELAY:
        settled = {name: replace(each, reason=_NOTICE) for name, each in settled.items()}
    lost = [name for name in took or () if name not in rules]
    return (
        *(settled[name] for name in rules),
        *(Verdict(name, matched=True, reason=_LOST, to=()) for name in lost),
    )


def _left_over(
    told: _Told,
    rules: Mapping[str, _Rule],
    first: Mapping[str, Verdict],
    took: tuple[str, ...] | None,
) -> _Told:
    """What can be told of a route that takes only what the *first* ones leave."""
    if not told.verdict.matched:
        return told
    for name, verdict in first.items():
        if verdict.matched:
            reason = f"the route {name} takes it already"
            return _Told(replace(told.verdict, matched=False, reason=reason), ())
    unsure = [f"the route {name} may take it" for name in first if not rules[name].told.certain]
    return told if took is not None else _Told(told.verdict, (*told.doubts, *unsure))


def _settled(told: _Told, took: tuple[str, ...] | None) -> Verdict:
    """The verdict, by what the route really did where that is known."""
    verdict = told.verdict
    doubts = "; ".join(told.doubts)
    if took is None:
        if told.certain:
            return verdict
        return replace(verdict, matched=False, reason=f"cannot be told: {doubts}")
    did = verdict.route in took
    said = "it took the event" if did else "it did not take the event"
    if not told.certain:
        return replace(verdict, matched=did, reason=f"{said}; why cannot be told: {doubts}")
    if did == verdict.matched:
        return verdict
    differs = "it does not match" if did else "it matches"
    return replace(
        verdict,
        matched=did,
        reason=f"{said}, though by what is kept {differs}: {verdict.reason}",
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    otherwise: bool
    told: _Told


class _Past:
    """The routes of a configuration that is kept, held against one event."""

    def __init__(self, configuration: Raw, event: Arrived) -> None:
        self._routes = _map(configuration.get("routes"))
        self._labels, self._labelled = _labels(configuration.get("projects"))
        try:
            payload, self._readable = parse(event.body), True
        except Malformed:
            payload, self._readable = {}, False
        self._subject = Subject(event.facts, event.source, payload)
        self._change = event.facts.change
        self._given = self._labels.of(event.facts)
        self._veiled = not self._labelled or any(map(_masked, self._given.values()))
        self._view = view_of(self._subject, self._change, self._given)

    def told(self) -> dict[str, _Rule]:
        """Each route, in order; of `otherwise` what it says of the event alone."""
        routes, doubts = [], {}
        for name, raw in self._routes.items():
            found = _map(raw)
            match, doubts[name] = self._compiled(found.get("match"))
            enabled = found.get("enabled", True) is True
            routes.append(Route(name, _names(found.get("to")), match, enabled=enabled))
        verdicts = Table(routes, labels=self._labels).explain(self._subject, self._change)
        return {
            each.route: _Rule(
                _map(self._routes[each.route]).get("otherwise") is True,
                _Told(each, doubts[each.route]),
            )
            for each in verdicts
        }

    def _compiled(self, match: object) -> tuple[Match | None, tuple[str, ...]]:
        """What can be held against the event, and what is doubtful about the rest."""
        if match is None:
            return None, ()
        if not isinstance(match, Mapping):
            return None, (f"match {_OLD}",)
        if self._readable and not self._veiled and f'"{MASK}"' not in json.dumps(match):
            # As nearly all are; to take each apart takes three times as long.
            with contextlib.suppress(*_NO_MATCH):
                return compile_match(match), ()
        certain, doubts = self._sifted(match)
        return compile_match(certain), doubts

    def _sifted(self, match: Raw) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What of *match* can be held against the event, and what is doubtful about the rest."""
        doubts: list[str] = []
        certain = self._keys(
            {key: value for key, value in match.items() if key != "not"}, (), doubts
        )
        if "not" in match:
            refused = match["not"]
            if not isinstance(refused, Mapping):
                doubts.append(f"not {_OLD}")
            elif kept := self._keys(refused, ("not",), doubts):
                certain["not"] = kept
        return certain, tuple(doubts)

    def _keys(self, raw: Raw, at: tuple[str, ...], doubts: list[str]) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, value in raw.items():
            if key in {"payload", "labels"} and isinstance(value, Mapping):
                inner = {
                    name: sure
                    for name, wanted in value.items()
                    if (sure := self._sure((*at, key, name), wanted, doubts)) is not _UNSURE
                }
                if inner:
                    kept[key] = inner
            elif (sure := self._sure((*at, key), value, doubts)) is not _UNSURE:
                kept[key] = sure
        return kept

    def _sure(self, at: tuple[str, ...], wanted: Any, doubts: list[str]) -> Any:
        """What of *wanted*, which stands at *at*, can be held against the event; or `_UNSURE`."""
        called = ".".join(map(str, at))
        if why := self._blind(at[1:] if at[0] == "not" else at):
            doubts.append(f"{called} {why}")
            return _UNSURE
        items = wanted if isinstance(wanted, list) else [wanted]
        known = [item for item in items if not _masked(item)]
        sound = [item for item in known if _compiles(_at(at, [item]))]
        if sound and len(sound) == len(items):
            return wanted
        if not (sound and self._decides(at, sound)):
            secret = len(known) < len(items)
            doubts.append(f"{called} {_SECRET if secret else _OLD}")
            # Under `not` what is known may yet refuse; elsewhere the rest may yet take it.
            return sound if sound and at[0] == "not" else _UNSURE
        return sound

    def _decides(self, at: tuple[str, ...], sound: list[Any]) -> bool:
        """Whether what is known of a list is enough: one of it is what the event has."""
        hit = compile_match(_at(at[1:] if at[0] == "not" else at, sound))
        return hit.judge(self._view)[0]

    def _blind(self, at: tuple[str, ...]) -> str | None:
        """Why nothing can be held against what *at* names, though it is there."""
        if at[0] == "payload" and not self._readable:
            return _UNREAD
        if at[0] == "labels" and not self._labelled:
            return "is of a project whose labels are not kept"
        if at[0] == "labels" and _masked(self._given.get(at[-1])):
            return "is a label of the project whose value is not kept"
        return None


_UNSURE: Final = object()
_NO_MATCH: Final = (ValueError, TypeError, AttributeError)  # `MatchFaults`, or no map at all


def _at(at: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A `match` in which *value* stands at *at* alone."""
    for key in reversed(at):
        value = {key: value}
    return dict(value)


def _compiles(match: Raw) -> bool:
    try:
        compile_match(match)
    except _NO_MATCH:
        return False
    return True


def _labels(projects: object) -> tuple[Labels, bool]:
    """The labels that are kept, and whether those are all."""
    if not isinstance(projects, Mapping):
        return Labels({}), False
    kept, whole = {}, True
    for pattern, labels in projects.items():
        try:
            Labels({str(pattern): {}})
        except MatchFaults:
            whole = False
        else:
            kept[str(pattern)] = {name: str(value) for name, value in _map(labels).items()}
    return Labels(kept), whole


def _masked(value: object) -> bool:
    return isinstance(value, str) and value == MASK


def _map(value: object) -> Raw:
    return value if isinstance(value, Mapping) else {}


def _names(to: object) -> tuple[str, ...]:
    found: Iterable[object] = to if isinstance(to, list | tuple) else [to]
    return tuple(name for name in found if isinstance(name, str))
