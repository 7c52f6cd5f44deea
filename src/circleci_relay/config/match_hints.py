"""What in a `match` can never hold, told from what CircleCI is known to send."""

from __future__ import annotations

import itertools
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from circleci_relay.config.discretion import sayable, shown
from circleci_relay.config.faults import near
from circleci_relay.matching import view_of
from circleci_relay.model import Change, EventType, Facts
from circleci_relay.routing import Subject, compile_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from circleci_relay.routing import Match

Below = tuple[str | int, ...]

# CircleCI docs, "Outbound webhooks"; not_run is a workflow's on Server only.
WORKFLOW_STATUSES = ("success", "failed", "error", "canceled", "unauthorized", "not_run")
JOB_STATUSES = ("success", "failed", "canceled", "unauthorized")
_MEANT = {
    "failure": "failed",
    "failing": "failed",
    "fail": "failed",
    "broken": "failed",
    "cancelled": "canceled",
    "cancel": "canceled",
    "passed": "success",
    "passing": "success",
    "succeeded": "success",
    "successful": "success",
    "ok": "success",
    "errored": "error",
    "fixed": "success",
}
_BAD = ("failed", "error")
_TYPES = (EventType.WORKFLOW_COMPLETED.value, EventType.JOB_COMPLETED.value)
_TEXTS = ("branch", "tag", "workflow", "job", "project", "organization", "subject", "author")
_LOOKS_REGULAR = re.compile(r"\\[dwsbDWSB.]|\.\*|\.\+|\(\?|\[[^\]]+\][*+]|^\^|\$$")


def of_route(match: dict[str, Any]) -> Iterator[tuple[Below, str]]:
    """Each thing that can never hold: its path below `match`, and what to say."""
    found = [*_keys(match, ()), *_keys(match.get("not") or {}, ("not",))]
    found += _combinations(match)
    yield from found
    if not found and not _possible(match):
        yield (), "no event has this type, status and change together; take one of them out"


def _keys(match: dict[str, Any], at: Below) -> Iterator[tuple[Below, str]]:
    for key in ("status", "type", "change", *_TEXTS):
        for index, text in _texts(match.get(key)):
            path = (*at, key) if index is None else (*at, key, index)
            if key == "status":
                said = _status(text)
            elif key in {"type", "change"}:
                said = _word(key, text)
            else:
                said = _text(key, text)
            if said:
                yield path, said


def _texts(value: Any) -> Iterator[tuple[int | None, str]]:
    if isinstance(value, list):
        yield from ((index, item) for index, item in enumerate(value) if isinstance(item, str))
    elif isinstance(value, str):
        yield None, value


def _literal(text: str) -> bool:
    return not re.search(r"[*?\\]", text) and not _regular(text)


def _regular(text: str) -> bool:
    return len(text) > 1 and text.startswith("/") and text.endswith("/")


def _status(text: str) -> str | None:
    if text and not any(_holds({"status": text}, status=each) for each in WORKFLOW_STATUSES):
        meant = _MEANT.get(text.lower())
        hint = f"; did you mean {meant}?" if meant else near(text, WORKFLOW_STATUSES)
        known = f"; it sends {', '.join(WORKFLOW_STATUSES)}"
        return f"CircleCI sends no status {shown(text, 'of this name')}{hint or known}"
    return None


def _word(key: str, text: str) -> str | None:
    """Types may come that are not known yet, so only near misses are told."""
    known = list(EventType) if key == "type" else list(Change)
    if not text or not _literal(text) or text in known:
        return None
    hint = near(text, known)
    if key == "change":
        hint = "; did you mean broken?" if text in {"failed", "error", "failure", "red"} else hint
        hint = hint or f"; there are {', '.join(known)}"
        return f"there is no change {shown(text, 'of this name')}{hint}"
    return f"CircleCI sends no type {shown(text, 'of this name')}{hint}" if hint else None


def _text(key: str, text: str) -> str | None:
    if key in {"branch", "tag"} and re.match(r"refs/(heads|tags)/", text):
        name = text.split("/", 2)[2]
        rest = shown(name) if sayable(text) and sayable(name) else "what follows"
        return f"a {key} stands without refs/; wanted {rest}"
    if _regular(text):
        return None
    if text.startswith("/"):
        return "no name begins with /; a regular expression also ends with one"
    if key not in {"subject", "author"} and _LOOKS_REGULAR.search(text):
        return "looks like a regular expression; put it between slashes, as in '/release-.*/'"
    return None


def _combinations(match: dict[str, Any]) -> Iterator[tuple[Below, str]]:
    types = _possible_types(match)
    if types == [EventType.WORKFLOW_COMPLETED] and "job" in match and not _absent(match, "job"):
        yield (
            ("job",),
            "a workflow-completed event has no job; match type: job-completed instead",
        )
    if types == [EventType.JOB_COMPLETED]:
        for index, text in _texts(match.get("status")):
            if _literal(text) and text in WORKFLOW_STATUSES and text not in JOB_STATUSES:
                said = text if sayable(text) else "this"
                yield (
                    ("status",) if index is None else ("status", index),
                    f"no job ends as {said}, only workflows do; a job that breaks is failed",
                )
    tagged = "tag" in match and not _absent(match, "tag")
    if tagged and "branch" in match and not _absent(match, "branch"):
        yield ("tag",), "what runs for a tag has no branch; make two routes of it"
    elif tagged and "change" in match and not _absent(match, "change"):
        yield ("change",), "a change is only known on a branch, and what runs for a tag has none"


def _possible_types(match: dict[str, Any]) -> list[str]:
    one = _only(match, ("type",))
    return [kind for kind in _TYPES if _holds(one, kind=kind)] if one else []


def _possible(match: dict[str, Any]) -> bool:
    """Whether any known type, status and change go together under *match*."""
    if "type" in match and not _possible_types(match):
        return True  # a type yet unknown
    one = _only(match, ("type", "status", "change"))
    changes: list[Change | None] = [None, *Change]
    for kind, status, change in itertools.product(_TYPES, WORKFLOW_STATUSES, changes):
        if kind == EventType.JOB_COMPLETED and status not in JOB_STATUSES:
            continue
        good = {Change.FIXED: True, Change.STILL_PASSING: True}.get(change) if change else None
        if change and (status == "success") != bool(good):
            continue
        if change and not good and status not in _BAD:
            continue
        if _holds(one, kind=kind, status=status, change=change):
            return True
    return False


def only_good(match: dict[str, Any]) -> bool:
    """Whether *match* takes nothing but what is good."""
    one = _only(match, ("type", "status", "change"))
    changes: list[Change | None] = [None, Change.BROKEN, Change.STILL_BROKEN]
    bad = [status for status in WORKFLOW_STATUSES if status != "success"]
    return _holds_any(one, ["success"], [None, Change.FIXED, Change.STILL_PASSING]) and not (
        _holds_any(one, bad, changes)
    )


def _holds_any(
    one: dict[str, Any], statuses: Iterable[str], changes: Iterable[Change | None]
) -> bool:
    return any(
        _holds(one, kind=kind, status=status, change=change)
        for kind, status, change in itertools.product(_TYPES, statuses, changes)
    )


def _only(match: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    one = {key: match[key] for key in keys if key in match}
    refused = {key: item for key, item in (match.get("not") or {}).items() if key in keys}
    return {**one, "not": refused} if refused else one


def _absent(match: dict[str, Any], key: str) -> bool:
    """Whether what stands under *key* also takes an event without it."""
    return _holds({key: match[key]})


def _holds(
    one: dict[str, Any],
    *,
    kind: str = _TYPES[0],
    status: str | None = None,
    change: Change | None = None,
) -> bool:
    view = view_of(Subject(Facts(type=kind, status=status), "", {}), change)
    return _compiled(json.dumps(one)).judge(view)[0]


@lru_cache(256)
def _compiled(one: str) -> Match:
    """The same is held against every status there is; to compile it can take a while."""
    return compile_match(json.loads(one))
