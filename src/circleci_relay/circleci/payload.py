"""A webhook's body: parse it, read the facts from whichever shape it has, find its line."""

# CircleCI docs, "Outbound webhooks reference". Every map is open: fields come and go.
from __future__ import annotations

import json
import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from circleci_relay.errors import Malformed
from circleci_relay.model import Change, EventType, Facts, Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from circleci_relay.model import Payload

_orjson_loads: Callable[[bytes], Any] | None
try:
    from orjson import loads as _orjson_loads
except ImportError:  # an extra; the standard library reads the same, slower
    _orjson_loads = None

LONGEST_ID: Final = 200
"""Characters of an event's `id` at most."""
LONGEST_TYPE: Final = 100
"""Characters of an event's `type` at most."""
LONGEST_FACT: Final = 1000
"""Characters of a fact; what is longer is cut, and only in the fact, never in the body."""

_PIPELINE_NUMBERS: Final = range(-(2**63), 2**63)  # what both databases hold
_LONGEST_INT: Final = 1000  # digits; Python refuses more than 4300
_MOST_TRIGGER_MAPS: Final = 8
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_NOTHING: Final[dict[str, Any]] = {}

_GOOD: Final = {"success": True, "failed": False, "error": False}

_CHANGES: Final = {
    (True, False): Change.BROKEN,
    (False, True): Change.FIXED,
    (False, False): Change.STILL_BROKEN,
    (True, True): Change.STILL_PASSING,
}


class Written(float):
    """A number that keeps the text it had in the body: 1.10 is not 1.1."""

    text: str

    def __new__(cls, text: str) -> Self:
        """*text* as JSON writes a number, or NaN, Infinity, -Infinity."""
        number = super().__new__(cls, text)
        number.text = text
        return number


class Document(dict[str, Any]):
    """A parsed body that still knows its bytes."""

    __slots__ = ("_exact", "_raw")

    def __init__(self, value: dict[str, Any], raw: bytes) -> None:
        super().__init__(value)
        self._raw = raw
        self._exact: Mapping[str, Any] | None = None

    def exact(self) -> Mapping[str, Any]:
        """The same document, its fractions and huge numbers as `Written`."""
        if self._exact is None:
            try:
                self._exact = _load_exact(self._raw)
            except (ValueError, RecursionError):
                self._exact = self  # nested deeper than the standard library follows
        return self._exact


def parse(body: bytes) -> Payload:
    """
    *body* as a JSON object with an `id` and a `type`; raises `Malformed` for anything else.

    orjson reads it where it can. It refuses NaN, lone surrogates, a byte order mark and
    numbers beyond a double, which the standard library takes; so what it refuses is tried
    again. Nothing of the body stands in an error's message.
    """
    value = _load(body)
    if not isinstance(value, dict):
        raise Malformed("the body is not a JSON object")
    for key, longest in (("id", LONGEST_ID), ("type", LONGEST_TYPE)):
        text = value.get(key)
        if not (isinstance(text, str) and 0 < len(text) <= longest and text.isprintable()):
            raise Malformed(
                f"the body has no usable `{key}`, a printable string of 1 to {longest} characters"
            )
    return Document(value, body)


def loosely(body: bytes) -> Payload:
    """The JSON object that *body* is, whatever it lacks; an empty one where it is none."""
    try:
        value = _load(body)
    except Malformed:
        return {}
    return value if isinstance(value, dict) else {}


def event_id(payload: Payload) -> str:
    """CircleCI's id of the event, of a payload that `parse` let through."""
    return str(payload["id"])


def event_type(payload: Payload) -> str:
    """The event's type, of a payload that `parse` let through; any type, not only known ones."""
    return str(payload["type"])


def clean(text: str) -> str:
    """*text* with NUL and lone surrogates replaced: RE2 and the databases refuse them."""
    # `isprintable` takes 8 ms for a megabyte, and each look of each route comes by here.
    if "\0" not in text and (text.isascii() or _encodable(text)):
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_facts(payload: Payload) -> Facts:
    """
    What routing and people need to know of *payload*.

    Best effort and never an exception: what is missing, null, empty or of another type than
    documented is absent. Strings are cut at `LONGEST_FACT`.
    """
    workflow, job = _map(payload, "workflow"), _map(payload, "job")
    pipeline, project = _map(payload, "pipeline"), _map(payload, "project")
    organization = _map(payload, "organization")
    vcs = _map(pipeline, "vcs")
    triggers = _trigger_maps(_map(pipeline, "trigger_parameters"))
    commit = _map(vcs, "commit")
    kind = _text(payload, "type") or ""
    slug = _text(project, "slug")
    trigger = _text(_map(pipeline, "trigger"), "type")
    return Facts(
        type=kind,
        status=_status(kind, workflow, job),
        project=slug,
        project_name=_text(project, "name"),
        project_id=_text(project, "id"),
        organization=_text(organization, "name"),
        organization_id=_text(organization, "id"),
        workflow=_text(workflow, "name"),
        job=_text(job, "name"),
        branch=_text(vcs, "branch") or _first(triggers, "branch") or _ref(triggers, "refs/heads/"),
        tag=_text(vcs, "tag") or _first(triggers, "tag") or _ref(triggers, "refs/tags/"),
        revision=_text(vcs, "revision") or _first(triggers, "checkout_sha", "commit_sha"),
        provider=_provider(vcs, _map(pipeline, "trigger_parameters"), trigger, slug),
        trigger=trigger,
        pipeline_number=_number(pipeline),
        subject=_first_line(commit, "subject") or _subject(triggers),
        author=_text(_map(commit, "author"), "name") or _author(triggers),
        url=_url(workflow),
    )


def line_of(source: str, facts: Facts) -> Line | None:
    """
    The line that an event belongs to: its project's workflow, or job, on its branch.

    None without a branch (a tag build), a project or a workflow, for a job without a name,
    and for types not known today: their `status` may mean something else.
    """
    project = facts.project_id or facts.project
    if facts.type == EventType.WORKFLOW_COMPLETED:
        job = ""
    elif facts.type == EventType.JOB_COMPLETED and facts.job:
        job = facts.job
    else:
        return None
    if not (project and facts.workflow and facts.branch):
        return None
    return Line(
        source=source, project=project, workflow=facts.workflow, job=job, branch=facts.branch
    )


def is_good(facts: Facts) -> bool | None:
    """Whether the event's outcome is good; None for one that says nothing, such as canceled."""
    return _GOOD.get(facts.status or "")


def compare(previous_good: bool | None, good: bool | None) -> Change | None:  # noqa: FBT001 - two of a kind
    """How an outcome compares with the one before it; None without either."""
    if previous_good is None or good is None:
        return None
    return _CHANGES[previous_good, good]


def _load(body: bytes) -> object:
    if _orjson_loads is not None:
        try:
            return _orjson_loads(body)
        except ValueError:
            pass
    try:
        # Fractions as they are: what a text looks like is asked of few; see `Document.exact`.
        return json.loads(body, parse_int=_int, parse_constant=Written)
    except RecursionError:
        raise Malformed("the body is nested too deeply") from None
    except ValueError:
        raise Malformed("the body is not JSON") from None


def _load_exact(body: bytes) -> Any:
    return json.loads(body, parse_float=Written, parse_int=_int, parse_constant=Written)


def _int(text: str) -> int | Written:
    return int(text) if len(text) <= _LONGEST_INT else Written(text)


def _map(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else _NOTHING


def _text(parent: Mapping[str, Any], key: str) -> str | None:
    value = parent.get(key)
    if not value or not isinstance(value, str):
        return None
    if len(value) <= LONGEST_FACT and value.isprintable():
        return value
    return clean(value[:LONGEST_FACT])


def _trigger_maps(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """
    The maps that tell of the commit, the most trustworthy first.

    CircleCI announced the end of `circleci` and `github_app`, so `git` comes first. Maps of
    providers not known today are read after the known ones.
    """
    if not parameters:
        return []
    known = ("git", "gitlab", "github_app")
    others = (name for name in parameters if name not in {*known, "circleci", "webhook"})
    names = islice((*known, *others), _MOST_TRIGGER_MAPS)
    return [found for name in names if (found := _map(parameters, name))]


def _first(maps: Iterable[dict[str, Any]], *keys: str) -> str | None:
    """The first text under any of *keys*; an earlier key in any map beats a later one."""
    if not maps:
        return None
    return next((text for key in keys for each in maps if (text := _text(each, key))), None)


def _ref(maps: Iterable[dict[str, Any]], prefix: str) -> str | None:
    for each in maps:
        for key in ("ref", "full_ref"):
            ref = _text(each, key)
            if ref and ref.startswith(prefix) and len(ref) > len(prefix):
                return ref[len(prefix) :]
    return None


def _status(kind: str, workflow: dict[str, Any], job: dict[str, Any]) -> str | None:
    if kind == EventType.JOB_COMPLETED:
        return _text(job, "status")
    if kind == EventType.WORKFLOW_COMPLETED:
        return _text(workflow, "status")
    return _text(job, "status") or _text(workflow, "status")


def _provider(
    vcs: dict[str, Any], parameters: dict[str, Any], trigger: str | None, slug: str | None
) -> str | None:
    """
    The code host, in lower case; guessed where `vcs` does not name it.

    The kind of trigger comes before the names of the maps: by the docs, a `gitlab` map may
    come with GitHub App and Bitbucket Data Center triggers too.
    """
    named = _text(vcs, "provider_name")
    if named:
        return named.lower()
    git = _map(parameters, "git")
    maps = [name for name in islice(parameters, _MOST_TRIGGER_MAPS) if _map(parameters, name)]
    hints = (
        _text(_map(parameters, "circleci"), "trigger_type"),
        trigger,
        *sorted(maps, key="gitlab".__eq__),
        slug,
        _text(git, "repo_url") or _text(git, "checkout_url"),
    )
    return next((host for hint in hints if hint and (host := _host(hint))), None)


def _host(hint: str) -> str | None:
    """The code host that *hint* (a trigger type, a map's name, a slug or a URL) speaks of."""
    hint = hint.lower()
    _, scheme, rest = hint.partition("://")
    where = (rest if scheme else hint).rpartition("@")[2].partition("/")[0]
    for host, short in (("github", "gh"), ("gitlab", "gl"), ("bitbucket", "bb")):
        if host in where or where == short:
            return host
    return None


def _number(pipeline: dict[str, Any]) -> int | None:
    number = pipeline.get("number")
    if type(number) is int and number in _PIPELINE_NUMBERS:  # not bool, which is an int too
        return number
    return None


def _first_line(parent: dict[str, Any], key: str) -> str | None:
    value = parent.get(key)
    if not isinstance(value, str):
        return None
    line = value.strip().partition("\n")[0].rstrip()
    return clean(line[:LONGEST_FACT]) or None


def _subject(triggers: list[dict[str, Any]]) -> str | None:
    for each in triggers:
        line = _first_line(each, "commit_title") or _first_line(each, "commit_message")
        if line:
            return line
    return None


def _author(triggers: list[dict[str, Any]]) -> str | None:
    return _first(triggers, "commit_author_name", "user_name", "user_username", "author_login")


def _url(workflow: dict[str, Any]) -> str | None:
    """The workflow's page; only what is safe to follow, and whole or not at all."""
    url = workflow.get("url")
    if not isinstance(url, str) or len(url) > LONGEST_FACT:
        return None
    safe = url.isprintable() and " " not in url and url.lower().startswith(("https://", "http://"))
    return url if safe else None
