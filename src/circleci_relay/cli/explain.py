"""`explain`: which routes an event would take, and why, without sending anything."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import click

from circleci_relay.circleci import payload as circleci
from circleci_relay.cli.claims import STATUSES
from circleci_relay.cli.options import config_option, json_option, label_option
from circleci_relay.cli.output import emit, printable
from circleci_relay.cli.payloads import did_you_mean, read_payload
from circleci_relay.cli.verbs import Found, verb
from circleci_relay.model import Change, EventType, Facts
from circleci_relay.routing import Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from circleci_relay.cli.explanation import Explanation
    from circleci_relay.config import Config

FACTS = [field.name for field in fields(Facts)]


@verb(
    "explain",
    examples="""
    circleci-relay explain gh_oauth_workflow_failed
    circleci-relay explain body.json -c relay.yaml --previous success
    circleci-relay explain --set project=acme/api --set status=failed --previous failed
    circleci-relay explain --set branch=main --set status=failed --expect slack,warehouse
    circleci-relay explain gh_oauth_workflow_failed --label team=payments
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
@label_option
@config_option
@json_option
def explain(
    *,
    payload: str | None,
    settings: tuple[str, ...],
    previous: str | None,
    source: str | None,
    expect: str | None,
    labels: tuple[str, ...],
    config: tuple[Path, ...],
    as_json: bool,
) -> None:
    """
    PAYLOAD is a file, `-` for standard input, or the name of a packaged sample.

    Says, too, which destinations would wait, and for what: `hold`, `once_per`, `group`; and which
    cannot be told, for want of a label that their URL is made of. Nothing is sent or stored, and no
    secret is needed or shown: a pull request's CI can hold the routes to what is expected of them.
    """
    if payload is None and not settings:
        raise click.UsageError("give a PAYLOAD, or facts with --set")
    overrides = _parse(settings)
    body = circleci.parse(read_payload(payload)) if payload is not None else {}
    from circleci_relay.cli.labelling import read_labels  # noqa: PLC0415
    from circleci_relay.cli.loading import any_source, load_for_routes  # noqa: PLC0415 - pydantic

    given = read_labels(labels)
    found = load_for_routes(config).config
    _doubt(overrides)
    facts = _facts(body, overrides)
    came_by = any_source(found, source)
    change = facts.change or _change(came_by, facts, previous, given=bool(body))
    subject = Subject(facts=replace(facts, change=None), source=came_by, payload=body)
    explanation = _explain(found, subject, change, given)
    if previous is not None and change is None and not as_json:
        click.echo("(no change: this event cannot be compared with an earlier one)", err=True)
    _show(explanation, expect, as_json=as_json)


def _explain(
    config: Config, subject: Subject, change: Change | None, given: Mapping[str, str]
) -> Explanation:
    from circleci_relay.cli.explanation import Explanation, why_untold  # noqa: PLC0415
    from circleci_relay.cli.labelling import given_labels, secrets_of  # noqa: PLC0415
    from circleci_relay.cli.quiet import wait_of  # noqa: PLC0415
    from circleci_relay.discretion import Discretion  # noqa: PLC0415

    table = copy(config.table)
    table.labels = given_labels(config, given)
    facts, found = subject.facts, config.destinations
    labels = table.labels.of(facts)
    discretion = Discretion(subject, labels, table.labels, secrets_of(config, given))
    choice = table.choose(subject, change)
    # Of an event made up by --set it is not asked which line it is on: most have no project.
    lined = not subject.payload or circleci.line_of(subject.source, facts) is not None
    waits = {
        name: wait_of(
            quiet, facts, found[name].group if name in found else None, lined=lined, change=change
        )
        for name, quiet in choice.quiet.items()
    }
    untold = {name: why_untold(found.get(name), labels) for name in choice.destinations}
    return Explanation(
        source=subject.source,
        facts=discretion.facts(asdict(facts) | {"change": change}),
        verdicts=discretion.verdicts(table.explain(subject, change)),
        choice=choice,
        labels=discretion.labels(),
        waits={
            name: replace(wait, unless=wait.unless and discretion.text(wait.unless))
            for name, wait in waits.items()
        },
        untold={name: why for name, why in untold.items() if why is not None},
    )


def _doubt(overrides: Mapping[str, str]) -> None:
    """Say what CircleCI is not known to send; it may one day all the same."""
    from circleci_relay.config.match_hints import of_route  # noqa: PLC0415
    from circleci_relay.matching import MatchFaults  # noqa: PLC0415

    given = {name: overrides[name] for name in ("type", "status") if overrides.get(name)}
    with suppress(MatchFaults):  # what is no pattern is no status either, and is taken as it is
        for _, said in of_route(given):
            click.echo(f"({printable(said)})", err=True)


def _change(source: str, facts: Facts, previous: str | None, *, given: bool) -> Change | None:
    """As the relay would find it; for facts made up by --set, no line is asked for."""
    if previous is None or (given and circleci.line_of(source, facts) is None):
        return None
    return circleci.compare(
        circleci.is_good(replace(facts, status=previous)), circleci.is_good(facts)
    )


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
        emit(explanation.record() | {"expected": wanted, "as_expected": as_expected})
    else:
        explanation.show()
    if wanted is not None and not as_expected:
        missing = sorted(set(wanted) - set(got))
        surplus = sorted(set(got) - set(wanted))
        parts = [f"not sent to {', '.join(missing)}"] if missing else []
        parts += [f"sent to {', '.join(surplus)}"] if surplus else []
        raise Found(f"not as expected: {'; '.join(parts)}")
