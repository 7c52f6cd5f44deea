"""Queues, quiet settings and labels: what routing and transports are given."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import jsonschema
import pytest

from circleci_relay.config import Loaded, json_schema, load
from circleci_relay.config.queues import NAMES, missing
from circleci_relay.errors import ConfigError
from circleci_relay.rendering import preset as library
from circleci_relay.routing import GroupBy

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = "sources: {a: {path: /a, secrets: [made-up-for-tests]}}\n"
Read = Callable[..., Loaded]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Load a file with one source and this."""

    def read_text(text: str, *, secrets: bool = True, **env: str) -> Loaded:
        path = tmp_path / "relay.yaml"
        path.write_text(SOURCE + text)
        return load([path], env=env, secrets=secrets)

    return read_text


QUIET = """
projects:
  acme/api: {team: payments}
destinations:
  plain: {url: 'https://plain.example.com/'}
  once: {url: 'https://once.example.com/', once_per: {by: workflow, wait: 90s}}
  group: {url: 'https://group.example.com/', body: slack, group: {by: [branch, labels.team]}}
routes:
  held: {to: plain, hold: 10m, once_per: workflow, match: {status: failed}}
  rest: {to: [once, group], otherwise: true}
  off: {to: plain, enabled: false}
"""


def test_the_table_knows_how_quietly_to_tell(read: Read) -> None:
    """Durations in microseconds, by route and by destination."""
    table = read(QUIET).config.table
    held, rest, off = table.routes
    assert (held.hold, held.once, held.otherwise) == (600_000_000, 60_000_000, False)
    assert (rest.hold, rest.once, rest.otherwise) == (0, None, True)
    assert (off.enabled, off.to) == (False, ("plain",))
    assert table.labels.names == {"team"}


def test_groups_and_once_are_of_destinations(read: Read) -> None:
    """Each in its own words."""
    destinations = read(QUIET).config.destinations
    assert destinations["plain"].group is None
    assert destinations["once"].once_per is not None
    assert destinations["once"].once_per.wait == 90.0
    group = destinations["group"].group
    assert group is not None
    assert group.compiled() == GroupBy(("branch", "labels.team"), 30_000_000, 50)


def test_what_is_shown_says_how_quiet_it_is(read: Read) -> None:
    """Every new setting, and nothing secret."""
    masked = read(QUIET).config.masked()
    assert masked["routes"]["held"]["hold"] == 600.0
    assert masked["routes"]["held"]["once_per"] == {"by": "workflow", "wait": 60.0}
    assert masked["routes"]["rest"]["otherwise"] is True
    assert masked["destinations"]["group"]["body"] == "preset: slack"
    assert masked["destinations"]["group"]["group"]["by"] == ["branch", "labels.team"]
    assert masked["projects"] == {"acme/api": {"team": "payments"}}
    assert json.dumps(masked)


QUEUES = {
    "amqp": "amqps://relay:{}@rabbit.example.com:5671/vhost",
    "nats": "nats+tls://relay:{}@nats.example.com",
    "redis": "rediss://:{}@redis.example.com:6380/0",
    "sqs": "sqs://sqs.eu-west-1.amazonaws.com/123456789012/ci",
    "sns": "sns://sns.eu-west-1.amazonaws.com/arn:aws:sns:eu-west-1:123456789012:ci",
    "kafka": "kafka+tls://relay:{}@kafka-1.example.com:9093,kafka-2.example.com:9093",
}


@pytest.mark.parametrize("section", NAMES)
def test_a_queue_has_its_section_and_keeps_its_password(read: Read, section: str) -> None:
    """What its URL belongs to is there also where nothing is said; the display has no user."""
    url = QUEUES[section].format("made-up-password")
    loaded = read(f"destinations: {{q: {{url: '{url}'}}}}\n")
    destination = loaded.config.destinations["q"]
    assert destination.section == section
    assert [name for name in NAMES if getattr(destination, name) is not None] == [section]
    assert section in loaded.config.masked()["destinations"]["q"]
    recipe = destination.recipe
    assert (recipe is None) == (not destination.addresses)
    assert destination.display.startswith(f"{url.partition('://')[0]}://")
    assert "relay" not in destination.display
    assert "@" not in destination.display
    shown = repr(loaded) + json.dumps(loaded.config.masked())
    assert "made-up-password" not in shown
    if "made-up-password" in url:
        assert "made-up-password" in loaded.config.secret_values
    assert "relay" not in loaded.config.secret_values


def test_defaults_of_queues_are_for_those_they_belong_to(read: Read) -> None:
    """One default for all of a kind, and no fault for the others."""
    config = read(
        "defaults: {amqp: {exchange: ci}}\n"
        "destinations: {q: {url: 'amqp://q.example.com', amqp: {routing_key: x}},"
        " h: {url: 'https://h.example.com'}, r: {url: 'redis://r.example.com'}}\n"
    ).config
    assert config.destinations["h"].amqp is None
    assert config.destinations["r"].amqp is None
    amqp = config.destinations["q"].amqp
    assert amqp is not None
    assert (amqp.exchange, amqp.routing_key) == ("ci", "x")


@pytest.mark.parametrize(
    ("section", "library"),
    [
        ("amqp", "aio_pika"),
        ("nats", "nats"),
        ("redis", "redis"),
        ("sqs", "aiobotocore"),
        ("sns", "aiobotocore"),
        ("kafka", "aiokafka"),
    ],
)
def test_a_queue_whose_library_is_absent_is_a_fault(
    read: Read, monkeypatch: pytest.MonkeyPatch, section: str, library: str
) -> None:
    """It says what to install; in a pull request's CI it need not be there."""
    monkeypatch.setitem(sys.modules, library, None)
    assert missing(section) == library
    text = f"destinations: {{q: {{url: '{QUEUES[section].format('made-up')}'}}}}\n"
    wanted = rf"q\.url: needs {library}, .* pip install 'circleci-relay\[{section}\]'"
    with pytest.raises(ConfigError, match=wanted):
        read(text)
    assert read(text, secrets=False).config.destinations


def test_without_secrets_whatever_is_absent_is_made_up(read: Read) -> None:
    """Bodies, options, labels, quiet settings and queues; no fault where nothing can be told."""
    read(
        """
projects: {acme/api: {hook: '${env:A}', team: '${file:/nowhere}'}}
defaults: {timeout: '${env:A}', url: '${env:A}'}
destinations:
  a: {url: '${env:A}', body: '${env:A}'}
  b: {url: 'https://b.example.com/${env:A}/{{ branch }}', body: {template: ['${env:A}']}}
  j: {url: 'https://j.example.com', body: {template: {x: '{{ ${env:A} }}'}}}
  k: {url: 'https://k.example.com', body: {form: {x: '{{ ${env:A} }}'}}}
  l: {url: 'https://l.example.com', body: {preset: slack, title: '{{ ${env:A} }}'}}
  c: {body: {preset: pagerduty, routing_key: '${env:A}', region: '${env:A}'}}
  d: {url: 'amqps://u:${env:A}@d.example.com/v', amqp: {routing_key: '${env:A}'}}
  e: {url: '${env:A}', redis: {stream: x}}
  m: {redis: {stream: x}}
  f: {url: 'https://f.example.com', body: {text: '{{ ${env:A} }}', content_type: '${env:A}'}}
  g: {url: 'https://g.example.com', body: slack, group: {by: '${env:A}', wait: '${env:A}'}}
  h: {url: 'https://h.example.com', once_per: '${env:A}', headers: {x: '{{ ${env:A} }}'}}
  i: {body: {preset: datadog, api_key: '${env:A}', site: '${env:A}'}}
routes:
  r: {to: a, hold: '${env:A}', otherwise: '${env:A}', once_per: {by: workflow, wait: '${env:A}'}}
""",
        secrets=False,
    )


def test_labels_merge_over_files(tmp_path: Path) -> None:
    """A pattern stands in one file; two files may say of the same project by two patterns."""
    (tmp_path / "a.yaml").write_text(SOURCE + "projects: {acme/api: {team: payments}}\n")
    (tmp_path / "b.yaml").write_text("projects: {'acme/*': {tier: 1}}\n")
    assert load([tmp_path], env={}).config.projects == {
        "acme/api": {"team": "payments"},
        "acme/*": {"tier": "1"},
    }
    (tmp_path / "b.yaml").write_text("projects: {acme/api: {tier: 1}}\n")
    with pytest.raises(ConfigError, match="stands also in"):
        load([tmp_path], env={})


def test_editors_know_every_preset_and_its_options() -> None:
    """An option that none has is marked, one that is needed and absent too."""
    validator = jsonschema.Draft202012Validator(json_schema())
    for name in library.names():
        preset = library.find(name)
        options = {
            key: next((str(each) for each in option.choices if each is not None), "x")
            for key, option in preset.options.items()
        }
        body = {"preset": name, **options}

        def takes(body: object) -> bool:
            d = {"url": "https://d.example.com/", "body": body}
            source = {"path": "/a", "secrets": ["x"]}
            document = {"sources": {"a": source}, "destinations": {"d": d}}
            return bool(validator.is_valid(document))

        assert takes(body), name
        assert not takes({**body, "zebra": "x"}), name
        for key, option in preset.options.items():
            without = {other: value for other, value in body.items() if other != key}
            assert takes(without) != option.required, (name, key)
