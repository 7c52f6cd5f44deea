"""What the routes make of one event, as people and scripts are told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import click

from circleci_relay.cli.labelling import discreet
from circleci_relay.cli.output import print_table, printable
from circleci_relay.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from circleci_relay.cli.quiet import Wait
    from circleci_relay.config import Destination
    from circleci_relay.labels import Labels
    from circleci_relay.model import Choice
    from circleci_relay.routing import Subject, Verdict

_CUT: Final = 79  # characters that a verdict's reason shows of what is longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is made of one event, with nothing secret in it: see `Discretion`."""

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


class Discretion:
    """Takes what is secret out of all that is told of an event with *labels*."""

    def __init__(
        self, subject: Subject, labels: Mapping[str, str], known: Labels, secrets: Iterable[str]
    ) -> None:
        self._labels, self._known = labels, known
        hidden = {value for name, value in labels.items() if "://" in value or name in known.secret}
        hidden.update(secrets)
        self._redact = Redaction(hidden)
        # A reason shows the beginning of what is long, and so perhaps half a secret.
        texts = [*labels.values(), *map(str, asdict(subject.facts).values())]
        long = (text for text in texts if len(text) > _CUT and self._redact(text) != text)
        self._redact.know(hidden | {text[:_CUT] for text in long})

    def labels(self) -> dict[str, str]:
        """The labels."""
        return discreet(self._labels, self._known, self._redact)

    def facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """*facts* by name."""
        return {
            name: self._redact(str(value)) if isinstance(value, str) else value
            for name, value in facts.items()
        }

    def verdicts(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """*verdicts*, in their order."""
        return [replace(verdict, reason=self._redact(verdict.reason)) for verdict in verdicts]

    def wait(self, wait: Wait) -> Wait:
        """What a destination waits for: a branch's name may be in it."""
        return replace(wait, unless=wait.unless and self._redact(wait.unless))


def why_untold(destination: Destination | None, labels: Mapping[str, str]) -> str | None:
    """Why a project with *labels* has no URL at *destination*; None where it has one."""
    recipe = destination.recipe if destination is not None else None
    missing = [] if recipe is None else sorted(n for n in recipe.url.labels if not labels.get(n))
    return f"the event's project has no label {' and no label '.join(missing)}" if missing else None
