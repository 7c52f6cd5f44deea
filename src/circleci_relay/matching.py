"""What stands under a route's `match`, compiled once: which facts, held against what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.circleci.payload import Document, Written, clean
from circleci_relay.model import EventType
from circleci_relay.patterns import Container, Value, Wanted, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from circleci_relay.model import Change, Facts, Payload

FACT_KEYS: Final = (
    "type", "status", "project", "organization", "workflow", "job", "branch", "tag", "revision",
    "provider", "trigger", "pipeline_number", "subject", "author", "url", "change",
)  # fmt: skip
MATCH_KEYS: Final = frozenset({*FACT_KEYS, "source", "payload", "labels", "not"})
"""What may stand under `match`; under `not` the same without `not`."""

_UNLABELLED: Final[Mapping[str, str]] = {}
_SHOWN: Final = 80  # characters of a value in a reason
_LONGEST_INDEX: Final = 9  # digits of a list's index in a path
_MAP, _LIST = Container("a map"), Container("a list")
_ALIASES: Final = {"github/": "gh/", "bitbucket/": "bb/", "gh/": "github/", "bb/": "bitbucket/"}
_MEANT: Final = {
    "actor": "author",
    "commit": "revision",
    "event": "type",
    "label": "labels",
    "message": "subject",
    "number": "pipeline_number",
    "org": "organization",
    "outcome": "status",
    "owner": "organization",
    "ref": "branch",
    "repo": "project",
    "repository": "project",
    "result": "status",
    "sha": "revision",
    "state": "status",
    "user": "author",
    "vcs": "provider",
}


class PatternError(ValueError):
    """One thing wrong under `match`, and where, counted from `match` itself."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(message)


class MatchFaults(ValueError):  # noqa: N818 - plural: it carries all that was found
    """Everything wrong under one `match`."""

    def __init__(self, faults: Iterable[PatternError]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(fault.message for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is routed."""

    facts: Facts
    source: str
    payload: Payload


@dataclass(slots=True)  # not frozen: that would make it three times as dear, on the hot path
class View:
    """A subject as the checks see it: names that count as one are spelled out."""

    facts: Facts
    source: str
    payload: Payload
    change: Change | None
    projects: tuple[str | None, ...]  #: every name of the project; only None where it has none
    organizations: tuple[str | None, ...]
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Check:
    """One key under `match`."""

    label: str
    wanted: Wanted
    seen: Callable[[View], tuple[Value, ...]]  #: what it is held against; never empty
    test: Callable[[View], bool]

    def said(self, view: View) -> str:
        """What the event has there, in words."""
        value = next((value for value in self.seen(view) if value is not None), None)
        return f"{self.label} is {_shown(value)}"


class Match:
    """A compiled `match`; see `compile_match`."""

    __slots__ = ("_checks", "_refusals", "takes_ping")

    def __init__(self, checks: Iterable[_Check], refusals: Iterable[_Check]) -> None:
        self._checks = tuple(checks)
        self._refusals = tuple(refusals)
        #: `ping` reaches only those that name it: a test ping from CircleCI's form is no news.
        self.takes_ping = any(
            check.label == "type" and EventType.PING in check.wanted.literals
            for check in self._checks
        )

    @property
    def tests(self) -> tuple[Callable[[View], bool], ...]:
        """What must all be true of an event; cheaper than `judge`, and without words."""
        return (
            *(check.test for check in self._checks),
            *(_negation(check.test) for check in self._refusals),
        )

    def judge(self, view: View) -> tuple[bool, str]:
        """Whether *view* matches, and all that stands against it, or all that speaks for it."""
        against = [
            f"{check.said(view)}; wanted {check.wanted}"
            for check in self._checks
            if not check.test(view)
        ]
        against += [
            f"{check.said(view)}, and must not be {check.wanted.hit_by(check.seen(view))}"
            for check in self._refusals
            if check.test(view)
        ]
        if against:
            return False, ", and ".join(against)
        reasons = [check.said(view) for check in self._checks]
        reasons += [f"{check.label} is not {check.wanted}" for check in self._refusals]
        return True, ", ".join(reasons) or "it takes everything but ping"


def compile_match(raw: Mapping[str, object]) -> Match:
    """A `match` as relay.yaml has it, ready to run; raises `MatchFaults` with all that is wrong."""
    faults: list[PatternError] = []
    checks = _compile_keys({key: raw[key] for key in raw if key != "not"}, (), faults)
    refusals: list[_Check] = []
    if "not" in raw:
        nested = raw["not"]
        if isinstance(nested, Mapping) and nested:
            refusals = _compile_keys(nested, ("not",), faults)
        else:
            faults.append(
                PatternError(
                    ("not",), "holds a map, such as `not: {branch: main}`; or leave it out"
                )
            )
    if faults:
        raise MatchFaults(faults)
    return Match(checks, refusals)


def view_of(
    subject: Subject, change: Change | None, labels: Mapping[str, str] = _UNLABELLED
) -> View:
    """*subject* as the checks see it; *labels* are its project's."""
    facts = subject.facts
    return View(
        facts,
        subject.source,
        subject.payload,
        change,
        project_names(facts),
        _names(facts.organization, facts.organization_id),
        labels,
    )


def project_names(facts: Facts) -> tuple[str | None, ...]:
    """All that the project may be called by; None alone where it has no name."""
    return _project_names(facts.project, facts.project_name, facts.project_id, facts.organization)


@lru_cache(1024)
def _project_names(
    slug: str | None, name: str | None, key: str | None, organization: str | None
) -> tuple[str | None, ...]:
    """The prefixes `gh/` and `github/` are taken as one, and may be left out."""
    names = [each for each in (slug, name, key) if each]
    for prefix, alias in _ALIASES.items():
        if slug and slug.startswith(prefix):
            names += [alias + slug[len(prefix) :], slug[len(prefix) :]]
    if organization and name:
        # Slugs of the other code hosts are made of letters that nobody can read.
        names.append(f"{organization}/{name}")
    return tuple(dict.fromkeys(names)) or (None,)


@lru_cache(1024)
def _names(name: str | None, key: str | None) -> tuple[str | None, ...]:
    return tuple(each for each in (name, key) if each) or (None,)


def _compile_keys(
    raw: Mapping[str, object], at: tuple[str, ...], faults: list[PatternError]
) -> list[_Check]:
    checks = []
    for key, value in raw.items():
        path = (*at, key)
        if key == "payload":
            checks += _compile_payload(value, path, faults)
        elif key == "labels":
            checks += _compile_labels(value, path, faults)
        elif key not in MATCH_KEYS or key == "not":
            faults.append(PatternError(path, _unknown(key)))
        elif wanted := _wanted(value, path, faults):
            checks.append(_check(key, wanted))
    return checks


def _compile_payload(raw: object, at: tuple[str, ...], faults: list[PatternError]) -> list[_Check]:
    if not isinstance(raw, Mapping) or not raw:
        message = (
            "holds dotted paths into the body, such as `payload: {pipeline.trigger.type: api}`"
        )
        faults.append(PatternError(at, message))
        return []
    checks = []
    for key, value in raw.items():
        path = (*at, key)
        steps = key.split(".") if isinstance(key, str) else [""]
        if not all(steps):
            faults.append(
                PatternError(path, "is no path; it is written like pipeline.trigger.type")
            )
        elif isinstance(value, Mapping):
            inner = next(iter(value), "...")
            faults.append(PatternError(path, f"holds a map; write the whole path, {key}.{inner}"))
        elif wanted := _wanted(value, path, faults):
            checks.append(_payload_check(key, steps, wanted))
    return checks


def _compile_labels(raw: object, at: tuple[str, ...], faults: list[PatternError]) -> list[_Check]:
    if not isinstance(raw, Mapping) or not raw:
        faults.append(PatternError(at, "holds labels of the project, such as `{team: payments}`"))
        return []
    return [
        _label_check(str(key), wanted)
        for key, value in raw.items()
        if (wanted := _wanted(value, (*at, key), faults))
    ]


def _wanted(raw: object, path: tuple[str | int, ...], faults: list[PatternError]) -> Wanted | None:
    if isinstance(raw, list | tuple):
        if not raw:
            message = "an empty list matches nothing; list what it may be, or remove the key"
            faults.append(PatternError(path, message))
            return None
        items = [((*path, index), item) for index, item in enumerate(raw)]
    else:
        items = [(path, raw)]
    patterns = []
    for place, item in items:
        try:
            patterns.append(compile_pattern(_written(item)))
        except ValueError as error:
            faults.append(PatternError(place, str(error)))
    return Wanted(patterns) if len(patterns) == len(items) else None


def _written(item: object) -> str | None:
    """A scalar of the file as its text."""
    if item is None or isinstance(item, str):
        return item
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int | float):
        return str(item)
    kind = "a map" if isinstance(item, Mapping) else "a list in a list"
    raise ValueError(f"holds {kind}; a string, null, or one list of them is meant")


def _check(key: str, wanted: Wanted) -> _Check:
    if key in {"project", "organization"}:
        names: Callable[[View], tuple[Value, ...]] = attrgetter(f"{key}s")
        return _Check(key, wanted, names, _any_test(names, wanted))
    read: Callable[[View], Value]
    if key == "pipeline_number":
        read = _pipeline_number
    else:
        read = attrgetter(key if key in {"change", "source"} else f"facts.{key}")
    return _Check(key, wanted, lambda view: (read(view),), _test(read, wanted))


def _payload_check(path: str, steps: list[str], wanted: Wanted) -> _Check:
    indexed = [
        (step, int(step) if step.isdecimal() and len(step) <= _LONGEST_INDEX else None)
        for step in steps
    ]

    def read(view: View) -> Value:
        found = _dig(view.payload, indexed)
        if type(found) is float and isinstance(view.payload, Document):
            found = _dig(view.payload.exact(), indexed)
        return _scalar(found)

    return _Check(f"payload.{path}", wanted, lambda view: (read(view),), _test(read, wanted))


def _label_check(name: str, wanted: Wanted) -> _Check:
    def read(view: View) -> Value:
        return view.labels.get(name) or None

    return _Check(f"labels.{name}", wanted, lambda view: (read(view),), _test(read, wanted))


def _test(read: Callable[[View], Value], wanted: Wanted) -> Callable[[View], bool]:
    literals, holds = wanted.literals, wanted.holds
    if not wanted.tests:
        return lambda view: read(view) in literals
    return lambda view: holds(read(view))


def _any_test(read: Callable[[View], tuple[Value, ...]], wanted: Wanted) -> Callable[[View], bool]:
    literals, holds = wanted.literals, wanted.holds
    if not wanted.tests:
        return lambda view: not literals.isdisjoint(read(view))
    return lambda view: any(map(holds, read(view)))


def _negation(test: Callable[[View], bool]) -> Callable[[View], bool]:
    return lambda view: not test(view)


def _pipeline_number(view: View) -> str | None:
    number = view.facts.pipeline_number
    return None if number is None else str(number)


def _dig(payload: Mapping[str, Any], steps: list[tuple[str, int | None]]) -> object:
    found: object = dict(payload) if not isinstance(payload, dict) else payload
    for key, index in steps:
        if isinstance(found, dict):
            found = found.get(key)
        elif index is not None and isinstance(found, list):
            found = found[index] if index < len(found) else None
        else:
            return None
    return found


def _scalar(value: object) -> Value:
    """*value* as the text it had in the body; an empty string counts as absent."""
    if isinstance(value, str):
        return clean(value) or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Written):
        return value.text
    if isinstance(value, dict):
        return _MAP
    if isinstance(value, list):
        return _LIST
    return None if value is None else str(value)


def _shown(value: Value) -> str:
    """*value* for a person: short, and without what would upset a terminal."""
    text = "absent" if value is None else str(value)
    text = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _unknown(key: object) -> str:
    if key == "not":
        return "`not` holds no other `not`"
    if not isinstance(key, str):
        return "is no key to match by; put it in quotes if it is meant as one"
    if "." in key:
        return f"is no key to match by; a path into the body is `payload: {{{key}: ...}}`"
    meant = _MEANT.get(key) or next(iter(difflib.get_close_matches(key, sorted(MATCH_KEYS), 1)), "")
    if meant:
        return f"is no key to match by; did you mean {meant}?"
    return f"is no key to match by; those are {', '.join(sorted(MATCH_KEYS))}"
