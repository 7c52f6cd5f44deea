"""`explain`: which routes an event would take, and why, without sending anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.circleci import payload as circleci
from circleci_relay.cli.options import config_option, json_option
from circleci_relay.cli.output import emit, print_table, printable
from circleci_relay.cli.payloads import did_you_mean, read_payload
from circleci_relay.cli.verbs import Found, verb
from circleci_relay.model import Change, EventType, Facts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from circleci_relay.config import Config, RouteSettings
    from circleci_relay.model import Choice
    from circleci_relay.routing import Subject, Verdict

FACTS = [field.name for field in fields(Facts)]
STATUSES = ["success", "failed", "error", "canceled", "unauthorized"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What the routes make of one event."""

    subject: Subject
    change: Change | None
    verdicts: Sequence[Verdict]
    choice: Choice


@verb(
    "explain",
    examples="""
    circleci-relay explain gh_oauth_workflow_failed
    circleci-relay explain body.json -c relay.yaml --previous success
    circleci-relay explain --set project=acme/api --set status=failed --previous failed
    circleci-relay explain --set branch=main --set status=failed --expect slack,warehouse
    """,
)
@click.argument("payload", required=False)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FACT=VALUE",
    help="A fact, instead of a PAYLOAD or in place of what is in it; an empty VALUE is absent.",
)
@click.option(
    "--previous",
    type=click.Choice(STATUSES),
    help="How the same workflow on the same branch ended before; this is what `change` is told by.",
)
@click.option("--source", metavar="NAME", help="The source it would come in by.")
@click.option(
    "--expect",
    metavar="A,B",
    help="Exit with 1 unless it goes to exactly these destinations; empty for none.",
)
@config_option
@json_option
def explain(
    *,
    payload: str | None,
    settings: tuple[str, ...],
    previous: str | None,
    source: str | None,
    expect: str | None,
    config: tuple[Path, ...],
    as_json: bool,
) -> None:
    """
    PAYLOAD is a file, `-` for standard input, or the name of a packaged sample.

    Nothing is sent or stored, and no secret is needed: a pull request's CI can hold the
    routes to what is expected of them.
    """
    if payload is None and not settings:
        raise click.UsageError("give a PAYLOAD, or facts with --set")
    overrides = _parse(settings)
    body = circleci.parse(read_payload(payload)) if payload is not None else {}
    from circleci_relay.cli.loading import load_for_routes  # noqa: PLC0415 - pydantic

    found = load_for_routes(config).config
    facts = _facts(body, overrides)
    explanation = _explain(found, _source(found, source), facts, body, previous)
    if previous is not None and explanation.change is None and not as_json:
        click.echo("(no change: this event cannot be compared with an earlier one)", err=True)
    _show(explanation, expect, as_json=as_json)


def _explain(
    config: Config, source: str, facts: Facts, body: Mapping[str, Any], previous: str | None
) -> Explanation:
    from circleci_relay.routing import Subject  # noqa: PLC0415

    change = facts.change or _change(source, facts, previous, given=bool(body))
    subject = Subject(facts=replace(facts, change=None), source=source, payload=body)
    return Explanation(
        subject=subject,
        change=change,
        verdicts=config.table.explain(subject, change),
        choice=config.table.choose(subject, change),
    )


def _change(source: str, facts: Facts, previous: str | None, *, given: bool) -> Change | None:
    """As the relay would find it; for facts made up by --set, no line is asked for."""
    if previous is None or (given and circleci.line_of(source, facts) is None):
        return None
    return circleci.compare(
        circleci.is_good(replace(facts, status=previous)), circleci.is_good(facts)
    )


def _source(config: Config, name: str | None) -> str:
    """The source asked for; any of them will do where no route looks at it."""
    from circleci_relay.cli.loading import pick_source  # noqa: PLC0415

    if name is None and config.sources and not any(map(_looks_at_source, config.routes.values())):
        return next(iter(config.sources))
    return pick_source(config, name).name


def _looks_at_source(route: RouteSettings) -> bool:
    match = route.match or {}
    refused = match.get("not") or {}
    return "source" in match or "source" in refused


def _parse(settings: Sequence[str]) -> dict[str, str]:
    """`fact=value` pairs by fact."""
    pairs: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip()
        if not equals:
            raise click.UsageError(f"--set {setting!r} is not FACT=VALUE, such as branch=main")
        if name == "source":
            raise click.UsageError("the source is no fact; say --source NAME")
        if name not in FACTS:
            hint = did_you_mean(name, FACTS)
            raise click.UsageError(f"there is no fact called {name!r}{hint}")
        pairs[name] = value
    return pairs


def _facts(body: Mapping[str, Any], overrides: Mapping[str, str]) -> Facts:
    """The payload's facts under the given ones; the type is guessed where nothing tells it."""
    if body:
        facts = circleci.read_facts(body)
    elif overrides.get("job"):
        facts = Facts(type=EventType.JOB_COMPLETED)
    else:
        facts = Facts(type=EventType.WORKFLOW_COMPLETED)
    values: dict[str, Any] = {name: value or None for name, value in overrides.items()}
    if "type" in values and values["type"] is None:
        raise click.UsageError("--set type= : every event has a type")
    if values.get("pipeline_number") is not None:
        values["pipeline_number"] = _number(values["pipeline_number"])
    if values.get("change") is not None:
        values["change"] = _known_change(values["change"])
    return replace(facts, **values)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise click.UsageError(f"--set pipeline_number={text}: that is no number") from None


def _known_change(text: str) -> Change:
    try:
        return Change(text)
    except ValueError:
        hint = did_you_mean(text, list(Change))
        known = ", ".join(Change)
        raise click.UsageError(f"--set change={text}: known are {known}{hint}") from None


def _show(explanation: Explanation, expect: str | None, *, as_json: bool) -> None:
    got = explanation.choice.destinations
    wanted = (
        None if expect is None else [part for part in map(str.strip, expect.split(",")) if part]
    )
    as_expected = None if wanted is None else set(wanted) == set(got)
    if as_json:
        emit(_record(explanation, wanted, as_expected=as_expected))
    else:
        _show_to_people(explanation)
    if wanted is not None and not as_expected:
        missing = sorted(set(wanted) - set(got))
        surplus = sorted(set(got) - set(wanted))
        parts = [f"not sent to {', '.join(missing)}"] if missing else []
        parts += [f"sent to {', '.join(surplus)}"] if surplus else []
        raise Found(f"not as expected: {'; '.join(parts)}")


def _record(
    explanation: Explanation, wanted: list[str] | None, *, as_expected: bool | None
) -> dict[str, object]:
    facts = asdict(explanation.subject.facts) | {"change": explanation.change}
    return {
        "source": explanation.subject.source,
        "facts": {name: value for name, value in facts.items() if value is not None},
        "verdicts": [
            {
                "route": verdict.route,
                "matched": verdict.matched,
                "reason": verdict.reason,
                "to": list(verdict.to),
            }
            for verdict in explanation.verdicts
        ],
        "destinations": list(explanation.choice.destinations),
        "expected": wanted,
        "as_expected": as_expected,
    }


def _show_to_people(explanation: Explanation) -> None:
    facts = asdict(explanation.subject.facts) | {"change": explanation.change}
    shown = {"source": explanation.subject.source} | facts
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
            for verdict in explanation.verdicts
        ],
        styles=["green" if verdict.matched else "dim" for verdict in explanation.verdicts],
    )
    click.echo()
    got = explanation.choice.destinations
    click.echo(
        f"goes to {', '.join(got)}" if got else "goes nowhere: stored, and counted unmatched"
    )
