"""Where the payloads that people name come from: a file, standard input, a packaged sample."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path

import click

from circleci_relay.circleci import samples


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


def did_you_mean(name: str, known: list[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is near."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
