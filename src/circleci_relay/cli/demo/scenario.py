"""What the demo plays: a real relay.yaml, the posts, and what ought to become of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import uuid4

from circleci_relay.circleci import payload, samples
from circleci_relay.routing import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from circleci_relay.model import Change, Facts, Line
    from circleci_relay.routing import Table, Verdict

SOURCE = "circleci"
PATH = "/webhooks/circleci"

HEALTHY, FLAKY, HANGING = "warehouse", "chat", "pager"

FLAKY_FAILURES = 2
"""Attempts of each delivery that the flaky receiver answers with 503."""

HANGING_ATTEMPTS = 2
"""Attempts after which a delivery to the hanging receiver is given up, by the file below."""

RELAY_YAML = """\
server:
  listen: 127.0.0.1:{listen}
  ops: 127.0.0.1:{ops}
  admin: 127.0.0.1:{admin}
  shutdown: {{drain: 2s}}

store:
  url: sqlite:///relay.db

sources:
  circleci:
    path: /webhooks/circleci
    secrets: ["${{file:secret}}"]

defaults:
  # Much shorter than in earnest, so that you need not wait.
  retry: {{initial: 300ms, max_interval: 2s}}
  breaker: {{failures: 1000, pause: 1s}}

destinations:
  warehouse:            # healthy
    url: {warehouse}/ingest
  chat:                 # fails twice before it accepts
    url: {chat}/hooks/ci
  pager:                # hangs
    url: {pager}/alerts
    timeout: 1s
    retry: {{initial: 300ms, max_interval: 2s, max_attempts: 2}}

routes:
  everything:
    to: warehouse
  pings:
    match: {{type: ping}}
    to: warehouse
  main-is-red:
    match:
      type: workflow-completed
      status: [failed, error]
      branch: [main, '/release-\\d+/']
    to: chat
  main-broke:
    match: {{type: workflow-completed, branch: main, change: broken}}
    to: [chat, pager]
  main-is-fixed:
    match: {{type: workflow-completed, branch: main, change: fixed}}
    to: chat
  releases:
    match: {{type: workflow-completed, status: success, tag: 'v*'}}
    to: [chat, pager]
"""


class Kind(StrEnum):
    """What a post is meant to show."""

    NEW = "new"
    DUPLICATE = "duplicate"
    FORGED = "forged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One post."""

    name: str
    body: bytes
    kind: Kind = Kind.NEW


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What routing ought to make of an event, worked out beside the server."""

    facts: Facts
    change: Change | None
    verdicts: tuple[Verdict, ...]
    destinations: tuple[str, ...]


def steps() -> Iterator[Step]:
    """
    Every payload shape, a branch that turns red and green again, a duplicate, a forgery.

    Several samples share an id, as CircleCI's own examples do, so each post has a new one.
    """
    red, green = "gh_oauth_workflow_failed", "gh_oauth_workflow_success"
    rest = [name for name in samples.names() if name not in {red, green}]
    for name in (green, red, red):  # passing, broken, still broken
        yield _new(name)
    again = _new(rest[0])
    yield again
    yield Step(name=f"{again.name}, again", body=again.body, kind=Kind.DUPLICATE)
    for name in rest[1:]:
        yield _new(name)
    yield Step(name=f"{red}, forged", body=_new(red).body, kind=Kind.FORGED)
    yield _new(green)


def _new(name: str) -> Step:
    return Step(name=name, body=samples.with_id(samples.load(name), str(uuid4())))


class Forecaster:
    """Keeps each line's last outcome, as the relay does, and routes by the same table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._good: dict[Line, bool] = {}

    def __call__(self, body: bytes) -> Forecast:
        """What ought to become of *body*, if it is the next new event."""
        parsed = payload.parse(body)
        facts = payload.read_facts(parsed)
        subject = Subject(facts=facts, source=SOURCE, payload=parsed)
        change = self._change(facts)
        return Forecast(
            facts=facts,
            change=change,
            verdicts=tuple(self._table.explain(subject, change)),
            destinations=self._table.choose(subject, change).destinations,
        )

    def _change(self, facts: Facts) -> Change | None:
        line, good = payload.line_of(SOURCE, facts), payload.is_good(facts)
        if line is None or good is None:
            return None
        before = self._good.get(line)
        self._good[line] = good
        return payload.compare(before, good)


def relay_yaml(ports: Mapping[str, int], urls: Mapping[str, str]) -> str:
    """The configuration, for the given ports of the server and URLs of the receivers."""
    return RELAY_YAML.format(**ports, **urls)
