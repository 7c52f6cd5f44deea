"""Presets rendered for packaged samples and made-up payloads, and payloads to try them on."""

from __future__ import annotations

import copy
import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import is_good, parse, read_facts
from circleci_relay.model import SECOND, Change, History, Told
from circleci_relay.rendering import preset
from circleci_relay.rendering.address import compile_url
from circleci_relay.rendering.recipe import Recipe
from circleci_relay.rendering.scene import About, scene_of
from circleci_relay.rendering.structure import compile_structure, compile_text
from circleci_relay.store.encode import facts_text, history_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from circleci_relay.rendering.recipe import Made

Sample = str | bytes | dict[str, Any]
"""The name of a packaged sample, a body, or a payload."""

SAMPLES: Final = tuple(samples.names())
"""The packaged samples' names."""
CHANGES: Final = (None, "broken", "fixed", "still-broken")
"""What may have changed, as `rendered` takes it."""

RECEIVED: Final = 1_772_443_000 * SECOND  # 2026-03-02T09:16:40Z
HOOK: Final = "https://hook.example.com/"
RELAY: Final = "https://relay.example.com"
EVENT: Final = "01KJPZK3YG6WQ4S0V5J4X7T2A0"

_MINUTE: Final = 60 * SECOND
_HISTORIES: Final = {
    "broken": (False, 0, 1, True, 4000 * _MINUTE, 31),
    "fixed": (True, 0, 1, False, 130 * _MINUTE, 4),
    "still-broken": (False, 130 * _MINUTE, 3, True, 4000 * _MINUTE, 31),
    "still-passing": (True, 4000 * _MINUTE, 32, None, None, None),
}


def rendered(  # noqa: PLR0913 - all that a message may be made of
    name: str,
    sample: Sample,
    *,
    options: Mapping[str, Any] | None = None,
    change: str | None = None,
    history: History | None = None,
    others: Sequence[Sample | tuple[Sample, str]] = (),
    external_url: str | None = RELAY,
    test: bool = False,
    url: str | None = None,
    labels: Mapping[str, str] | None = None,
    secret_labels: frozenset[str] = frozenset(),
) -> Made:
    """
    What the preset called *name* makes of *sample*, and of *others* told together with it.

    *change* brings a likely history along; each of *others* may be a pair with its own.
    *url* stands for the destination's own, *labels* for what `projects` says, the values of
    *secret_labels* being secrets.
    """
    told = [_told(sample, change, history, 0)]
    for number, other in enumerate(others, 1):
        body, its = other if isinstance(other, tuple) else (other, None)
        told.append(_told(body, its, None, number))
    about = About(
        destination="chat",
        external_url=external_url,
        labels=lambda _: labels or {},
        secret_labels=secret_labels,
        now=RECEIVED / SECOND + 2,
        test=test,
        webhook_id=f"{EVENT}-chat",
    )
    return recipe(name, options, url).make(scene_of(told, about))


def recipe(name: str, options: Mapping[str, Any] | None = None, url: str | None = None) -> Recipe:
    """The recipe of a destination with this preset and nothing of its own but *url*."""
    return _recipe(name, tuple(sorted((options or {}).items())), url)


@functools.cache
def _recipe(name: str, options: tuple[tuple[str, Any], ...], url: str | None) -> Recipe:
    found = preset.find(name)
    given = dict(options)
    assert not given.keys() - found.options.keys()
    needed = {key for key, option in found.options.items() if option.required}
    assert not needed - given.keys()
    values = {key: option.default for key, option in found.options.items()} | given
    return Recipe(
        url=compile_url(url or found.settings.get("url", HOOK)),
        headers={
            key: compile_text(str(value))
            for key, value in found.settings.get("headers", {}).items()
        },
        kind=found.kind,
        content=found.content,
        content_type=found.content_type,
        options={
            key: compile_structure(value, names=preset.OPTION_NAMES)
            if isinstance(value, str)
            else value
            for key, value in values.items()
        },
        groups=bool(found.groups),
    )


def said(made: Made) -> Any:
    """The JSON that a message holds."""
    assert made.body is not None
    return json.loads(made.body)


def texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys left aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def a_payload(sample: str = "gh_oauth_workflow_failed", **facts: str | None) -> dict[str, Any]:
    """
    A packaged sample's payload with some of its facts changed; None takes one away.

    They are: id, subject, branch, tag, revision, author, repository, workflow, job, project,
    slug, organization, url, status.
    """
    payload: dict[str, Any] = json.loads(samples.load(sample))
    for fact, value in facts.items():
        *way, last = _WHERE[fact]
        place = payload
        for key in way:
            place = place.setdefault(key, {})
        place[last] = value
    return payload


_WHERE: Final[dict[str, tuple[str, ...]]] = {
    "id": ("id",),
    "subject": ("pipeline", "vcs", "commit", "subject"),
    "author": ("pipeline", "vcs", "commit", "author", "name"),
    "branch": ("pipeline", "vcs", "branch"),
    "tag": ("pipeline", "vcs", "tag"),
    "revision": ("pipeline", "vcs", "revision"),
    "repository": ("pipeline", "vcs", "origin_repository_url"),
    "workflow": ("workflow", "name"),
    "url": ("workflow", "url"),
    "status": ("workflow", "status"),
    "job": ("job", "name"),
    "project": ("project", "name"),
    "slug": ("project", "slug"),
    "organization": ("organization", "name"),
}

NASTY: Final[dict[str, str]] = {
    "quotes": 'She said "no", \'no\', \\"no\\" and C:\\new\\table',
    "slack": "<!channel> <!here> <@U012AB> <https://evil.example|click> &lt;b&gt; *b* _i_ ~s~ `c`",
    "mentions": "@everyone @here @channel @all <@&4815162342> <@4815162342> <#815> <users/all>",
    "markdown": "[x](javascript:alert(1)) ![i](https://evil.example/i) **b** __u__ ||s|| ```c```",
    "lines": "one\r\n\r\n# two\n> three\n- four\u2028five\u2029six\tseven\0eight\x1b[31mnine",
    "html": "<script>alert(1)</script><a href=\"javascript:x\">x</a><b onclick='x'>&amp;</b>",
    "template": "{{ 7 * 7 }} {% for x in y %} ${env:HOME} $if {{DATE(2017-02-14T06:08:39Z)}} %s",
    "bidirectional": "\u202egnp.exe\u202c \u2066hidden\u2069 \u200fשלום\u200e \u061c",  # noqa: RUF001
    "half an emoji": "deploy \U0001f680 and half of one \ud83d",
    "long": "x" * 10_000,
    "long emoji": "\U0001f680" * 10_000,
    "long escapes": "&<>*_[]()`@|~\"'" * 700,
}
"""Texts that someone may well put into a commit, a branch or a name."""


def hostile() -> Iterator[dict[str, Any]]:
    """Payloads with nasty subjects, branches, authors, names and addresses; each has its id."""
    for word, text in NASTY.items():
        everywhere = dict.fromkeys(
            ("subject", "branch", "author", "workflow", "project", "slug", "organization"), text
        )
        yield a_payload(id=f"hostile {word}", **everywhere)
        yield a_payload("gh_oauth_job_failed", id=f"hostile {word}, job", job=text, **everywhere)
        yield a_payload(id=f"hostile {word}, tag", branch=None, tag=text, revision=text)
    for number, url in enumerate(HOSTILE_URLS):
        yield a_payload(id=f"hostile url {number}", url=url, repository=url)


HOSTILE_URLS: Final = (
    "javascript:alert(1)",
    "https://evil.example/\"onmouseover='x'><script>",
    "https://evil.example/|<!channel>",
    "https://evil.example/)](javascript:alert(1))**@everyone**",
    "https://evil.example/\n\n@everyone",
    "https://evil.example/" + "&" * 900,
    "https://evil.example/" + ")" * 20_000,
    "HTTPS://user:password@evil.example/\\",
)


def bare() -> Iterator[dict[str, Any]]:
    """Payloads with much of what CircleCI documents missing or null; each has its id."""
    for kind in ("workflow-completed", "job-completed", "ping", "approval-requested"):
        yield {"id": f"bare {kind}", "type": kind}
    for name in ("gh_oauth_workflow_failed", "gh_oauth_job_failed"):
        whole = json.loads(samples.load(name))
        for path in _paths(whole):
            for how, value in (("missing", None), ("null", None), ("empty", "")):
                payload = copy.deepcopy(whole)
                payload["id"] = f"bare {name} {'.'.join(path)} {how}"
                _put(payload, path, value, leave=how != "missing")
                yield payload
    yield {
        "id": "bare and wrong",
        "type": "workflow-completed",
        "workflow": "build",
        "pipeline": {"vcs": [], "number": "7"},
        "project": {"slug": 7, "name": None},
        "organization": True,
    }
    yield a_payload(id="bare of much", subject=None, author=None, branch=None, revision=None)
    yield a_payload(id="bare of names", workflow=None, project=None, slug=None, organization=None)


_TAKEN: Final = {
    *("workflow", "job", "project", "organization", "pipeline", "vcs", "commit", "author"),
    *("branch", "revision", "url", "status", "name", "slug", "subject", "number"),
    *("origin_repository_url", "created_at", "stopped_at", "started_at"),
}


def _paths(value: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, under in value.items():
        if key in _TAKEN:
            yield (*above, key)
        if isinstance(under, dict):
            yield from _paths(under, (*above, key))


def _put(payload: dict[str, Any], path: tuple[str, ...], value: str | None, *, leave: bool) -> None:
    place = payload
    for key in path[:-1]:
        place = place[key]
    if leave:
        place[path[-1]] = value
    else:
        del place[path[-1]]


def body_of(sample: Sample) -> bytes:
    """The bytes of a sample; lone surrogates are escaped as CircleCI would."""
    if isinstance(sample, str):
        return samples.load(sample)
    return sample if isinstance(sample, bytes) else json.dumps(sample).encode()


def _told(sample: Sample, change: str | None, history: History | None, number: int) -> Told:
    body = body_of(sample)
    facts = read_facts(parse(body))
    if history is None and change is not None:
        history = a_history(change)
    elif history is None and (good := is_good(facts)) is not None and facts.branch:
        history = History(line="0f1e2d3c4b5a6978", good=good, since=RECEIVED, streak=1)
    return Told(
        event=EVENT[:-1] + "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[number % 32],
        source="circleci",
        body=body,
        received_at=RECEIVED + number * SECOND,
        facts=facts_text(facts, Change(change) if change else None),
        history=history_text(history) if history else None,
    )


def a_history(change: str, **changes: Any) -> History:
    """Where a line stands after *change*, with some of it changed."""
    good, ago, streak, before, before_ago, before_streak = _HISTORIES[change]
    history = History(
        line="0f1e2d3c4b5a6978",
        good=good,
        since=RECEIVED - ago,
        streak=streak,
        before_good=before,
        before_since=None if before_ago is None else RECEIVED - before_ago,
        before_streak=before_streak,
    )
    return replace(history, **changes)
