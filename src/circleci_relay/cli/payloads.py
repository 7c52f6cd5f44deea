"""The payloads that people name, from a file, standard input or the samples; their headers."""

from __future__ import annotations

import sys
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circleci_relay.circleci import payload, samples, signature
from circleci_relay.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_payload(name: str) -> bytes:
    """The raw bytes of what *name* stands for: `-`, a file, or a sample's name."""
    if name == "-":
        return sys.stdin.buffer.read()
    path = Path(name)
    if path.is_file():
        return path.read_bytes()
    sample = name.removesuffix(".json")
    known = samples.names()
    if sample in known:
        return samples.load(sample)
    raise click.UsageError(
        f"{name!r} is neither a file nor a packaged sample{did_you_mean(sample, known)}"
        " (`circleci-relay send --list` lists the samples)"
    )


def headers_of(body: bytes, secret: bytes | None) -> dict[str, str]:
    """The headers that CircleCI sends with *body*; unsigned where *secret* is None."""
    # As logged from a real request: see the docs' "Outbound webhooks", section "Headers".
    headers = {
        "content-type": "application/json",
        "user-agent": "CircleCI-Webhook/1.0",
        "accept-encoding": "gzip, deflate",
    }
    with suppress(Malformed):  # what is no event has no type, and may be sent all the same
        headers["circleci-event-type"] = payload.event_type(payload.parse(body))
    if secret is not None:
        headers[signature.HEADER] = signature.sign(body, secret)
    return headers


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is near."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
