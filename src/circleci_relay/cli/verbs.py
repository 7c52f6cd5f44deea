"""The verbs' names and summaries, and how a verb is declared."""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Here, and not with the verbs, so that `--help` lists them without importing any.
VERBS: Mapping[str, str] = {
    "serve": "Take webhooks in and deliver them, until told to stop.",
    "check": "Say everything that is wrong with relay.yaml.",
    "explain": "Say which routes an event would take, and why.",
    "render": "Print exactly what a destination would be sent.",
    "send": "Post events as CircleCI would, signed; or a test message to a destination.",
    "sink": "Receive webhooks on this machine and show what arrives.",
    "demo": "See the whole relay at work on this machine, in half a minute.",
    "events": "List what came in; one of them whole.",
    "deliveries": "List what went out, or is to; one of them with its attempts.",
    "dead": "Show what was given up, by destination and reason.",
    "rejects": "List what was turned away at the door; check it again.",
    "replay": "Deliver again: an event, a delivery, or all that filters select.",
    "cancel": "Deliver no more: a delivery, all that filters select, or a bulk job.",
    "jobs": "List bulk jobs, how far they are; one of them whole.",
    "pause": "Let a destination wait.",
    "resume": "Let a destination go on that was paused.",
    "retry": "Try all now that waits for another attempt at a destination.",
    "tail": "Show what comes in and goes out, live.",
    "backtest": "Hold a proposed relay.yaml against what came in; nothing is sent.",
    "schema": "Print the JSON Schema of relay.yaml, for editors.",
    "store": "Look into the database, bring it up to date, copy it into another.",
    "completion": "Print what completes these commands in your shell.",
}


class Found(click.ClickException):
    """Something is wrong: exit code 1, after *message* where it has not been said already."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        """One clear line on standard error."""
        if self.message:
            click.echo(f"circleci-relay: {self.message}", file=file, err=file is None)


class Verb(click.Command):
    """A command whose help ends with examples."""

    def __init__(self, *args: Any, examples: str, **kwargs: Any) -> None:
        self.examples = cleandoc(examples).splitlines()
        super().__init__(*args, **kwargs)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the examples line by line, as they would be typed."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Family(Verb, click.Group):
    """A verb with verbs of its own."""


class Listing(Family):
    """A verb that lists, with others under it for one of what it lists."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, invoke_without_command=True, **kwargs)


def verb(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Verb]:
    """Declare the verb *name*; the function's docstring is the rest of its help."""

    def declare(function: Callable[..., Any]) -> Verb:
        text = f"{VERBS[name]}\n\n{cleandoc(function.__doc__ or '')}"
        return click.command(name, cls=Verb, examples=examples, help=text)(function)

    return declare


def family(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Family]:
    """Declare the verb *name* that has others under it."""

    def declare(function: Callable[..., Any]) -> Family:
        text = f"{VERBS[name]}\n\n{cleandoc(function.__doc__ or '')}"
        return click.group(name, cls=Family, examples=examples, help=text)(function)

    return declare


def listing(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Listing]:
    """Declare the verb *name* that lists, and has others under it."""

    def declare(function: Callable[..., Any]) -> Listing:
        text = f"{VERBS[name]}\n\n{cleandoc(function.__doc__ or '')}"
        return click.group(name, cls=Listing, examples=examples, help=text)(function)

    return declare
