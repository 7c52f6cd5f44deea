"""An event's facts as people say them: what, where, how it ended, what changed."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from circleci_relay.circleci.payload import is_good
from circleci_relay.model import ALERT, Change, EventType
from circleci_relay.rendering.filters import date, duration, plain, truncate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from circleci_relay.model import Facts, History, Micros

_LONGEST_PART: Final = 120  # characters of a name in a title
_BRIEF: Final = 40  # characters of a name in a headline, which has several
_MOST_NAMES: Final = 3
_MOST_ENDS: Final = 5
_ORDER: Final = {"bad": 0, "good": 1, "other": 2}
_SAID: Final = {
    "success": "succeeded",
    "failed": "failed",
    "error": "had an error",
    "canceled": "was canceled",
    "cancelled": "was canceled",
    "unauthorized": "was not authorized",
    "not_run": "was not run",
    "running": "is running",
    "on_hold": "is on hold",
}
_COMPLETED: Final = {EventType.WORKFLOW_COMPLETED: "workflow", EventType.JOB_COMPLETED: "job"}
_HOSTS: Final = ("gh", "github", "bb", "bitbucket")
_SECOND: Final = 1_000_000

_REVISION: Final = re.compile(r"[0-9a-fA-F]{7,64}")
_SCP: Final = re.compile(r"(?:[\w.-]+@)?([A-Za-z0-9.-]+):(?!//)(.+)", re.ASCII)
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_PATH: Final = re.compile(r"[\w.~-]+(?:/[\w.~-]+)+", re.ASCII)
_LONGEST_URL: Final = 1000
_MOST_MAPS: Final = 8


def outcome(facts: Facts) -> str:
    """`good`, `bad`, or `other` for what says nothing about the code."""
    # Of types not known today the status may mean something else, as for their lines.
    good = is_good(facts) if facts.type in _COMPLETED or facts.type == ALERT else None
    return {True: "good", False: "bad", None: "other"}[good]


def said(facts: Facts) -> str:
    """How it ended, as the end of a sentence."""
    if facts.type == ALERT:
        return "ended" if is_good(facts) else "began"
    if facts.status is None:
        return "completed" if facts.type in _COMPLETED else "arrived"
    return _SAID.get(facts.status) or f"ended as {_part(facts.status)}"


def what(facts: Facts) -> str:
    """What ended: `workflow build`, `job deploy`; for other types, the type."""
    if facts.type == ALERT:
        rule = _part(facts.workflow).replace("_", " ")
        return " ".join(each for each in ("alert", rule, _part(facts.job)) if each)
    kind = _COMPLETED.get(facts.type)  # type: ignore[call-overload]
    if kind is None:
        return _part(facts.type) or "event"
    name = facts.job if kind == "job" else facts.workflow
    return f"{kind} {_part(name)}".rstrip() if name else kind


def project(facts: Facts) -> str | None:
    """The project as people call it: `acme/api`, whatever its slug."""
    parts = (facts.project or "").split("/")
    if len(parts) == 3 and parts[0] in _HOSTS:  # noqa: PLR2004 - host, organization, project
        return _part("/".join(parts[1:]))
    if facts.project_name and facts.organization:
        return _part(f"{facts.organization}/{facts.project_name}")
    found = facts.project_name or facts.project or facts.organization or facts.project_id
    return _part(found) or None


def ref(facts: Facts) -> str | None:
    """The branch, or the tag, or the short revision."""
    found = facts.branch or facts.tag or (facts.revision or "")[:7]
    return _part(found) or None


def where(facts: Facts) -> str | None:
    """Project and ref: `acme/api on main`."""
    found = [project(facts), _at(facts)]
    return " ".join(each for each in found if each) or None


def title(facts: Facts, *, test: bool = False) -> str:
    """One line that says it all: `acme/api: workflow build failed on main`."""
    name = project(facts)
    told = " ".join(each for each in (what(facts), said(facts), _at(facts)) if each)
    if facts.type == ALERT and facts.subject:
        sentence = _part(facts.subject)
        told = sentence[:1].lower() + sentence[1:]
    if facts.type == EventType.PING and name is None:
        told = "test ping from CircleCI"
    line = f"{name}: {told}" if name else told[:1].upper() + told[1:]
    return f"[test] {line}" if test else line


def headline(every: Sequence[Facts], *, test: bool = False) -> str:
    """One line on all of *every*: `4 events in api and web: 3 failed, 1 succeeded`."""
    if len(every) == 1:
        return title(every[0], test=test)
    flows = {facts.workflow for facts in every}
    flow = next(iter(flows)) if len(flows) == 1 else None
    line = f"{len(every)} events"
    if flow:
        line += f" of workflow {_brief(flow)}"
    names = list(dict.fromkeys(filter(None, map(_project_name, every))))
    if names:
        line += f" in {_listed(names)}"
    line += f": {', '.join(_counted(every))}"
    return f"[test] {line}" if test else line


def _project_name(facts: Facts) -> str:
    return _brief(facts.project_name or project(facts))


def _listed(names: list[str]) -> str:
    """`api`, `api and web`, `api, web and 3 more`."""
    if len(names) > _MOST_NAMES:
        kept = names[: _MOST_NAMES - 1]
        names = [*kept, f"{len(names) - len(kept)} more"]
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _counted(every: Sequence[Facts]) -> Iterator[str]:
    """How many ended how, the bad first, then the good: `3 failed`, `2 were canceled`."""
    counts = Counter((_ORDER[outcome(facts)], said(facts)) for facts in every)
    found = sorted(counts.items(), key=lambda each: (each[0][0], -each[1]))
    for (_, ended), count in found[:_MOST_ENDS]:
        yield f"{count} {_brief(ended if count == 1 else _plural(ended))}"
    if rest := sum(count for _, count in found[_MOST_ENDS:]):
        yield f"{rest} otherwise"


def _plural(ended: str) -> str:
    for one, several in (("was ", "were "), ("is ", "are "), ("had an error", "had errors")):
        if ended.startswith(one):
            return several + ended.removeprefix(one)
    return ended


def changed(facts: Facts, history: History | None) -> str | None:
    """What changed on its line: `broken`, `fixed after 2h 10m and 4 failures`."""
    if facts.type == ALERT:
        return None  # its title says so
    if facts.change == Change.BROKEN:
        return "broken"
    if facts.change == Change.FIXED:
        return " ".join(("fixed", *_fixed_after(history)))
    if facts.change == Change.STILL_BROKEN:
        return "still broken" + _still(history)
    return None


def _fixed_after(history: History | None) -> Iterator[str]:
    if history is None or history.before_good is not False:
        return
    parts = []
    if history.before_since is not None and history.since is not None:
        parts.append(duration((history.since - history.before_since) / _SECOND))
    if history.before_streak:
        count = history.before_streak
        parts.append(f"{count} failure{'s' if count > 1 else ''}")
    if told := " and ".join(part for part in parts if part):
        yield f"after {told}"


def _still(history: History | None) -> str:
    if history is None or history.good is not False:
        return ""
    since = date(in_seconds(history.since), "%Y-%m-%d %H:%M UTC")
    row = f", {history.streak} in a row" if (history.streak or 0) > 1 else ""
    return f" since {since}{row}" if since else row


def in_seconds(instant: Micros | None) -> float | None:
    """An instant as epoch seconds."""
    return None if instant is None else instant / _SECOND


def commit_url(facts: Facts, payload: Mapping[str, Any]) -> str | None:
    """The commit's page at its code host; only http(s), and only where all of it is sure."""
    revision = facts.revision or ""
    if not _REVISION.fullmatch(revision):
        return None
    for url in _repositories(payload):
        if (found := _page(url)) and (middle := _middle(found[0], facts.provider)):
            return f"https://{found[0]}/{found[1]}/{middle}/{revision}"
    return None


def _repositories(payload: Mapping[str, Any]) -> Iterator[str]:
    """Every repository URL the payload has, the likeliest first."""
    pipeline = _map(payload.get("pipeline"))
    vcs, triggers = _map(pipeline.get("vcs")), _map(pipeline.get("trigger_parameters"))
    others = [name for name in triggers if name not in {"git", "gitlab", "github_app"}]
    maps = [
        _map(triggers.get(name)) for name in ("git", "gitlab", "github_app", *others[:_MOST_MAPS])
    ]
    found = [vcs.get("origin_repository_url"), vcs.get("target_repository_url")]
    found += [each.get(key) for each in maps for key in ("repo_url", "checkout_url", "web_url")]
    for url in found:
        if isinstance(url, str) and 0 < len(url) <= _LONGEST_URL:
            yield url


def _page(url: str) -> tuple[str, str] | None:
    """Host and path of a repository's page, from any form git takes; None if in doubt."""
    url = url.strip()
    scp = None if "://" in url else _SCP.fullmatch(url)
    if scp:
        host, path = scp.groups()
    else:
        try:
            split = urlsplit(url)
            port = split.port
        except ValueError:
            return None
        if split.scheme.lower() not in {"https", "http", "ssh", "git"}:
            return None
        host, path = split.hostname or "", split.path
        if port is not None and split.scheme.lower() in {"https", "http"}:
            if not _HOST.fullmatch(host):
                return None
            path = path.strip("/").removesuffix(".git")
            return (f"{host}:{port}", path) if _safe(path) else None
    path = path.strip("/").removesuffix(".git")
    return (host, path) if _HOST.fullmatch(host) and _safe(path) else None


def _safe(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


def _middle(host: str, provider: str | None) -> str | None:
    """What stands between a repository's page and a revision."""
    for name in (host.lower(), provider or ""):
        if "gitlab" in name:
            return "-/commit"
        if "bitbucket" in name:
            return "commits"
        if "github" in name:
            return "commit"
    return None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _at(facts: Facts) -> str | None:
    name = ref(facts)
    return name and f"{'on' if facts.branch else 'at'} {name}"


def _part(text: str | None) -> str:
    return truncate(plain(text), _LONGEST_PART)


def _brief(text: str | None) -> str:
    return truncate(plain(text), _BRIEF)
