"""`demo`: the whole relay at work on one machine, checked at the end."""

from __future__ import annotations

import asyncio
import sys

import click

from circleci_relay.cli.options import json_option
from circleci_relay.cli.verbs import Found, verb

INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""


@verb(
    "demo",
    examples="""
    circleci-relay demo
    circleci-relay demo --stay
    circleci-relay demo --json | jq .
    """,
)
@click.option("--stay", is_flag=True, help="Keep everything up to play with, until Ctrl-C.")
@json_option
def demo(*, stay: bool, as_json: bool) -> None:
    """
    Nothing leaves this machine, and nothing stays on it.

    The real server is started on a fresh store, with three receivers: one is healthy, one
    fails twice before it accepts, one hangs. Every payload shape that CircleCI sends is
    posted, signed; and one duplicate, and one forgery. At the end everything that arrived is
    held against what was posted: exit code 1 if anything was lost, doubled or changed.
    """
    from circleci_relay.cli.demo.play import play  # noqa: PLC0415 - it brings much with it
    from circleci_relay.cli.output import emit  # noqa: PLC0415

    try:
        findings = asyncio.run(play(stay=stay, as_json=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("stopped before the end", err=True)
        sys.exit(INTERRUPTED)
    wrong = [text for finding in findings for text in finding.wrong]
    if as_json:
        checked = [
            {"checked": finding.checked, "ok": finding.ok, "wrong": list(finding.wrong)}
            for finding in findings
        ]
        emit({"ok": not wrong, "findings": checked}, indent=None)
    if wrong:
        raise Found("" if as_json else f"{len(wrong)} things went wrong")
    if not as_json:
        click.echo("nothing lost, nothing doubled, nothing changed")
