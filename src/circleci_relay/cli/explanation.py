"""What the routes make of one event, as people and scripts are told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.cli.output import print_table, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.cli.quiet import Wait
    from circleci_relay.config import Destination
    from circleci_relay.model import Choice
    from circleci_relay.routing import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is made of one event, with nothing secret in it: see `discretion.Discretion`."""

    source: str
    facts: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    choice: Choice
    labels: Mapping[str, str]  #: of the event's project
    waits: Mapping[str, Wait]  #: by destination, of those that are not told at once
    untold: Mapping[str, str]  #: by destination, why no message can be made for it

    def record(self) -> dict[str, object]:
        """What scripts read."""
        return {
            "source": self.source,
            "facts": {name: value for name, value in self.facts.items() if value is not None},
            "verdicts": [
                {
                    "route": verdict.route,
                    "matched": verdict.matched,
                    "reason": verdict.reason,
                    "to": list(verdict.to),
                }
                for verdict in self.verdicts
            ],
            "destinations": list(self.choice.destinations),
            "labels": dict(self.labels),
            "waits": {
                name: asdict(wait) | {"said": wait.said} for name, wait in self.waits.items()
            },
            "cannot_be_told": dict(self.untold),
        }

    def show(self) -> None:
        """What people read."""
        labels = {f"labels.{name}": value for name, value in self.labels.items()}
        shown = {"source": self.source} | dict(self.facts) | labels
        width = max(map(len, shown))
        for name, value in shown.items():
            if value is not None:
                click.echo(f"{name:<{width}}  {printable(str(value))}")
        click.echo()
        print_table(
            ["route", "", "why", "to"],
            [
                (
                    verdict.route,
                    "yes" if verdict.matched else "no",
                    verdict.reason,
                    ", ".join(verdict.to) if verdict.matched else "",
                )
                for verdict in self.verdicts
            ],
            styles=["green" if verdict.matched else "dim" for verdict in self.verdicts],
        )
        click.echo()
        got = self.choice.destinations
        click.echo(
            f"goes to {', '.join(got)}" if got else "goes nowhere: stored, and counted unmatched"
        )
        for name in got:
            if name in self.untold:
                click.echo(f"  {name}: cannot be told: {self.untold[name]}")
            elif name in self.waits:
                click.echo(f"  {name}: {printable(self.waits[name].said)}")


def why_untold(destination: Destination | None, labels: Mapping[str, str]) -> str | None:
    """Why a project with *labels* has no URL at *destination*; None where it has one."""
    recipe = destination.recipe if destination is not None else None
    missing = [] if recipe is None else sorted(n for n in recipe.url.labels if not labels.get(n))
    return f"the event's project has no label {' and no label '.join(missing)}" if missing else None
