"""Which labels count as secrets: URLs, what variables hold, and what stands where a secret does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config import load

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
sources:
  circleci: {path: /webhooks/circleci, secrets: [a-secret-for-tests]}
projects:
  acme/*:
    team: payments
    room: a-room-that-many-texts-name
    pager: pagers-own-routing-key
    hook: https://hooks.example.com/services/T0/B0/token-of-the-hook
    path: services-token-0123456789
destinations:
  pager: {body: {preset: pagerduty, routing_key: "{{ labels.pager }}"}}
  chat:
    url: https://chat.googleapis.com/v1/{{ labels.path }}
    headers: {x-team: "{{ labels.team }}", x-room: "{{ labels.room }}"}
    body: {text: "{{ title }}"}
  hook: {url: "{{ labels.hook }}", body: {text: "{{ title }}"}}
routes:
  all: {to: [pager, chat, hook]}
"""


def test_labels_that_stand_where_secrets_do(tmp_path: Path) -> None:
    """A key's, a long part of a path, a URL; a team, a room and a host are in every other text."""
    file = tmp_path / "relay.yaml"
    file.write_text(TEXT)
    known = load([file]).config.secret_values
    assert "pagers-own-routing-key" in known
    assert "services-token-0123456789" in known
    assert "https://hooks.example.com/services/T0/B0/token-of-the-hook" in known
    assert not known & {"payments", "a-room-that-many-texts-name"}
    assert not any("googleapis" in secret for secret in known)
