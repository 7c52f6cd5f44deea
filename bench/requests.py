"""The webhooks that are posted: signed samples with ids of their own, ready as bytes."""

from __future__ import annotations

import hmac
import itertools
import json

from bench.wire import PATH, SECRET, event_id
from circleci_relay.circleci import samples

SHAPES = (
    "gh_oauth_workflow_success",
    "gh_oauth_workflow_failed",
    "gh_oauth_job_failed",
    "bitbucket_cloud_job_success",
    "github_app_api_run_workflow_success",
)
"""Samples of 1.4 to 2.0 kB, 1.55 kB on average; none is a ping, which no route takes."""


def prepare(count: int, *, port: int, first: int = 0) -> list[bytes]:
    """
    *count* whole HTTP/1.1 requests as CircleCI would send them to 127.0.0.1:*port*.

    They are numbered from *first* on.
    """
    templates = [_template(name, port=port) for name in SHAPES]
    key = SECRET.encode()
    requests = []
    for number, (head, before, after) in zip(
        range(first, first + count), itertools.cycle(templates), strict=False
    ):
        body = before + event_id(number) + after
        requests.append(head % hmac.digest(key, body, "sha256").hex().encode() + body)
    return requests


def _template(name: str, *, port: int) -> tuple[bytes, bytes, bytes]:
    """The request's head, wanting a signature, and the body before and after the event's id."""
    body = samples.with_id(samples.load(name), event_id(0).decode())
    before, after = body.split(event_id(0))
    head = (
        f"POST {PATH} HTTP/1.1\r\n"
        f"host: 127.0.0.1:{port}\r\n"
        "content-type: application/json\r\n"
        "user-agent: CircleCI-Webhook/1.0\r\n"
        "accept-encoding: gzip, deflate\r\n"
        f"circleci-event-type: {json.loads(body)['type']}\r\n"
        "circleci-signature: v1=%s\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode(), before, after
