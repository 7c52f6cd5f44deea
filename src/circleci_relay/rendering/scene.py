"""All that a template can name: the newest event's facts and words, and all events told of."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from circleci_relay import __version__
from circleci_relay.circleci.payload import clean, parse, read_facts
from circleci_relay.errors import RelayError
from circleci_relay.model import ALERT, RELAY, Change, Facts, History
from circleci_relay.rendering import words
from circleci_relay.rendering.filters import epoch, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from circleci_relay.model import Payload, Told

_FACTS: Final = tuple(each.name for each in fields(Facts))
_HISTORY: Final = tuple(each.name for each in fields(History))
_SECOND: Final = 1_000_000
_LONGEST: Final = 1000

NAMES: Final[Mapping[str, str]] = {
    "type": "The event's type: `workflow-completed`, `job-completed`, `ping`.",
    "status": "How it ended, as CircleCI says it: `success`, `failed`, `canceled` …",
    "project": "The project's slug.",
    "project_name": "The project's name, without its organization.",
    "project_id": "The project's id.",
    "organization": "The organization's name.",
    "organization_id": "The organization's id.",
    "workflow": "The workflow's name.",
    "job": "The job's name; absent for a workflow.",
    "branch": "The branch; absent for a tag.",
    "tag": "The tag.",
    "revision": "The commit, whole; see the filter `short`.",
    "provider": "The code host: `github`, `gitlab`, `bitbucket`.",
    "trigger": "What started the pipeline, as CircleCI says it: `webhook`, `api`, `schedule` …",
    "pipeline_number": "The pipeline's number in its project.",
    "subject": "The first line of the commit's message.",
    "author": "Who wrote the commit.",
    "url": "The workflow's page at CircleCI.",
    "change": "Against its line's last event: `broken`, `fixed`, `still-broken`, `still-passing`.",
    "payload": "The whole body as CircleCI sent it, parsed.",
    "labels": "What `projects` says of the event's project.",
    "public_labels": "Those of `labels` that are no secret, to be passed on as a whole.",
    "source": "The source it came in by.",
    "destination": "The destination it goes to.",
    "event": "Its `id` and `link` here, its `circleci_id`, and `received_at` (epoch seconds).",
    "line": "Where its line stands: `id good since streak`, and `before`: `good since streak`.",
    "happened_at": "When CircleCI says it happened, in epoch seconds.",
    "started_at": "When the job began, or the workflow was made, in epoch seconds.",
    "stopped_at": "When it ended, in epoch seconds.",
    "took": "From beginning to end, in seconds; see the filter `duration`.",
    "outcome": "`good`, `bad`, or `other`, for what says nothing about the code.",
    "said": "How it ended, in words: `failed`, `succeeded`, `was canceled`.",
    "what": "What ended, in words: `workflow build`, `job deploy`.",
    "where": "Project and ref, in words: `acme/api on main`.",
    "ref": "The branch, or the tag, or the short revision.",
    "title": "All of it in one line: `acme/api: workflow build failed on main`.",
    "headline": "`title`; of several events `4 events in api and web: 3 failed, 1 succeeded`.",
    "changed": "What changed, in words: `broken`, `fixed after 2h 10m and 4 failures`.",
    "commit_url": "The commit's page at the code host.",
    "workflow_id": "The workflow's id.",
    "job_id": "The job's id.",
    "pipeline_id": "The pipeline's id.",
    "test": "Whether this is a test message.",
    "now": "The time of this attempt, in epoch seconds.",
    "webhook_id": "The message's id, one for all its attempts.",
    "relay": "This relay: `version`, and `url` (its `external_url`).",
    "options": "What stands beside `preset:`.",
    "events": "All events told of, oldest first, each with the names above that are its own.",
    "count": "How many events are told of.",
}
"""Every name at the top of a template, and what it is."""

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "event": frozenset({"id", "circleci_id", "received_at", "link"}),
    "line": frozenset({"id", "good", "since", "streak", "before"}),
    "relay": frozenset({"version", "url"}),
}
"""The keys of the names that have no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a message is about, besides its events."""

    destination: str
    external_url: str | None
    labels: Callable[[Facts], Mapping[str, str]]
    secret_labels: frozenset[str] = frozenset()  #: those of them whose value is nobody's business
    now: float  #: epoch seconds
    test: bool = False
    webhook_id: str = ""


def scene_of(told: Sequence[Told], about: About) -> dict[str, Any]:
    """Everything in `NAMES` for *told*, oldest first; never an exception, whatever was sent."""
    payloads = [_payload(each.body) for each in told]
    every = [_facts(each.facts, payload) for each, payload in zip(told, payloads, strict=True)]
    events = [_event(*each, about) for each in zip(told, payloads, every, strict=True)]
    return {
        **events[-1],
        "headline": words.headline(every, test=about.test),
        "destination": about.destination,
        "now": about.now,
        "webhook_id": about.webhook_id,
        "relay": {"version": __version__, "url": _url(about)},
        "options": {},
        "events": events,
        "count": len(events),
    }


def _event(told: Told, payload: Payload, facts: Facts, about: About) -> dict[str, Any]:
    """One event by all the names that are its own."""
    history, labels = _history(told.history), about.labels(facts)
    workflow, job, pipeline = (_map(payload, key) for key in ("workflow", "job", "pipeline"))
    started = epoch_of(job.get("started_at") if job else workflow.get("created_at"))
    stopped = epoch_of((job or workflow).get("stopped_at"))
    return {
        **{name: getattr(facts, name) for name in _FACTS},
        "change": None if facts.change is None else facts.change.value,
        # An alert's is its title, which would be said twice.
        "subject": None if facts.type == ALERT else facts.subject,
        "payload": payload,
        "labels": dict(labels),
        "public_labels": {
            name: value for name, value in labels.items() if name not in about.secret_labels
        },
        "source": told.source,
        "event": {
            "id": told.event,
            "circleci_id": _text(payload, "id"),
            "received_at": told.received_at / _SECOND,
            "link": _help(told, payload, _url(about)) or _link(_url(about), told.event),
        },
        "line": _line(history),
        "happened_at": epoch_of(payload.get("happened_at")),
        "started_at": started,
        "stopped_at": stopped,
        "took": _took(started, stopped),
        "outcome": words.outcome(facts),
        "said": words.said(facts),
        "what": words.what(facts),
        "where": words.where(facts),
        "ref": words.ref(facts),
        "title": words.title(facts, test=about.test),
        "changed": words.changed(facts, history),
        "commit_url": words.commit_url(facts, payload),
        "workflow_id": _text(workflow, "id"),
        "job_id": _text(job, "id"),
        "pipeline_id": _text(pipeline, "id"),
        "test": about.test,
    }


def epoch_of(value: object) -> float | int | None:
    """The instant in a text as epoch seconds; None for anything else."""
    return epoch(value) if isinstance(value, str) else None


def _payload(body: bytes) -> Payload:
    try:
        return parse(body)
    except RelayError:
        return {}


def _facts(text: str, payload: Payload) -> Facts:
    """The stored facts, on one line each; what is not stored is read from *payload*."""
    stored = _object(text)
    if not isinstance(stored.get("type"), str):
        facts = read_facts(payload)
        stored = {name: getattr(facts, name) for name in _FACTS}
    known = {name: stored[name] for name in _FACTS if stored.get(name) is not None}
    change = known.pop("change", None)
    known = _lines(known)
    known.setdefault("type", "event")
    return Facts(**known, change=Change(change) if change in set(Change) else None)


def _lines(facts: dict[str, Any]) -> dict[str, Any]:
    """Texts on one line each, and the pipeline's number; nothing of another type."""
    lines: dict[str, Any] = {
        name: value if value.isprintable() else plain(value)
        for name, value in facts.items()
        if isinstance(value, str)
    }
    number = facts.get("pipeline_number")
    if isinstance(number, int):
        lines["pipeline_number"] = number
    return {name: value for name, value in lines.items() if value != ""}


def _history(text: str | None) -> History | None:
    stored = _object(text) if text else {}
    try:
        return History(**{name: stored[name] for name in _HISTORY if name in stored})
    except TypeError:
        return None


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _line(history: History | None) -> dict[str, Any] | None:
    if history is None:
        return None
    before = None
    if history.before_good is not None:
        before = {
            "good": history.before_good,
            "since": words.in_seconds(history.before_since),
            "streak": history.before_streak,
        }
    return {
        "id": history.line,
        "good": history.good,
        "since": words.in_seconds(history.since),
        "streak": history.streak,
        "before": before,
    }


def _took(started: float | None, stopped: float | None) -> float | None:
    if started is None or stopped is None or stopped < started:
        return None
    return round(stopped - started, 6)


def _url(about: About) -> str | None:
    """Where people find this relay, as a plain text: the configuration has its own."""
    return about.external_url and str(about.external_url)


def _link(external_url: str | None, event: str) -> str | None:
    return external_url and f"{external_url.rstrip('/')}/events/{event}"


def _help(told: Told, payload: Payload, external_url: str | None) -> str | None:
    """The page that helps, of what the relay tells of itself; never any page but its own."""
    if told.source != RELAY or not external_url:
        return None
    link = _text(_map(payload, "alert"), "link")
    return link if link and link.startswith(f"{external_url.rstrip('/')}/") else None


def _map(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _text(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    return clean(value[:_LONGEST]) if value and isinstance(value, str) else None
