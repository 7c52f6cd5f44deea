"""The API's filters as options: the same names, the same values."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, TypeVar

import click

from circleci_relay.cli.output import printable
from circleci_relay.model import Change, Reason, Result, State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

_AGO = re.compile(r"\d{1,6}[smhd]")
_NUMBER = re.compile(r"[0-9]{1,19}")
_KEY = re.compile(r"[A-Za-z0-9_.:-]{8,100}")
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d)?")


KEYS = "8 to 100 letters (a to z), digits, and _ . : -"

TIMES = (
    "say how long ago (90m, 2h, 3d), this terminal's time (03:00, 2026-01-31, 2026-01-31T03:00),"
    " or a time with its zone (2026-01-31T03:00:00Z)"
)


class DeliveryId(click.ParamType[str]):
    """A delivery's id."""

    name = "delivery"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """*value*, if it is a number."""
        text = str(value).strip()
        if _NUMBER.fullmatch(text) is None:
            self.fail(
                f"{printable(text)} is no delivery's id: these are numbers, see"
                " `circleci-relay deliveries`",
                param,
                ctx,
            )
        return text


class IdempotencyKey(click.ParamType[str]):
    """What makes sure that a job is begun once."""

    name = "key"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """*value* as the API takes it."""
        text = str(value)
        if _KEY.fullmatch(text) is None:
            self.fail(f"{printable(text)!r} is none: it takes {KEYS}", param, ctx)
        return text


class Instant(click.ParamType[str]):
    """A time, or how long ago; what names no zone is of this terminal's."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """*value* as the API takes it."""
        text = str(value).strip()
        if _AGO.fullmatch(text):
            return text
        try:
            found = _read(text)
            return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
        except (ValueError, OverflowError):
            self.fail(f"{printable(text)!r} is no time that is understood: {TIMES}", param, ctx)


def _read(text: str) -> datetime:
    if _CLOCK.fullmatch(text):
        return datetime.combine(date.today(), time.fromisoformat(text))  # noqa: DTZ011 - local
    return datetime.fromisoformat(text)


def _choice(values: type[Change | Reason | Result | State]) -> click.Choice[str]:
    return click.Choice([each.value for each in values])


_SINCE = "Since when: 90m, 2h, 3d ago, or a time such as 03:00 or 2026-01-31T03:00."
_UNTIL = "Until when, likewise."

EVENTS: Mapping[str, tuple[Any, str]] = {
    "source": (str, "The source it came in by."),
    "type": (str, "Its type, such as workflow-completed."),
    "status": (str, "How it ended, such as failed."),
    "project": (str, "The project's slug, name or id."),
    "organization": (str, "The organization's name."),
    "workflow": (str, "The workflow's name."),
    "job": (str, "The job's name."),
    "branch": (str, "The branch."),
    "tag": (str, "The tag."),
    "revision": (str, "The commit, or its beginning."),
    "provider": (str, "The code host, such as github."),
    "trigger": (str, "What started the pipeline."),
    "pipeline_number": (click.IntRange(min=0), "The pipeline's number."),
    "author": (str, "The commit's author."),
    "change": (_choice(Change), "How it compares with its line's last."),
    "text": (str, "Somewhere in the facts, whatever its case."),
    "since": (Instant(), _SINCE),
    "until": (Instant(), _UNTIL),
    "id": (str, "The relay's id, or CircleCI's."),
    "outcome": (
        click.Choice(["unmatched", "duplicate", "conflict", "dead", "delivered", "pending"]),
        (
            "What became of it: no route took it, it came again, with other bytes; a delivery is"
            " dead; all are delivered; one is pending."
        ),
    ),
    "destination": (str, "Events with a delivery there."),
}

_DELIVERED: Mapping[str, tuple[Any, str]] = {
    "destination": (str, "Where it goes."),
    "state": (_choice(State), "Where it stands."),
    "reason": (_choice(Reason), "Why it is dead or cancelled."),
    "result": (_choice(Result), "How the last attempt ended."),
    "status": (click.IntRange(100, 599), "The last attempt's HTTP status."),
    "error": (str, "Somewhere in the last error, whatever its case."),
}

DELIVERIES: Mapping[str, tuple[Any, str]] = {
    **_DELIVERED,
    "replayed": (bool, "Of dead ones: whether they were replayed."),
    "job": (str, "The bulk job that made it."),
    "since": (Instant(), _SINCE),
    "until": (Instant(), _UNTIL),
}

SELECTION: Mapping[str, tuple[Any, str]] = {
    **_DELIVERED,
    "last_error": (str, "Exactly the last error, as `dead` groups by it; empty: there was none."),
    "source": (str, "The source its event came in by."),
    "type": (str, "Its event's type."),
    "project": (str, "Its event's project."),
    "branch": (str, "Its event's branch."),
    "since": (Instant(), _SINCE),
    "until": (Instant(), _UNTIL),
}

DEAD = {name: DELIVERIES[name] for name in ("destination", "since", "until")}

JOBS: Mapping[str, tuple[Any, str]] = {
    "state": (click.Choice(["running", "done", "cancelled", "failed"]), "How it stands."),
}

REJECTS: Mapping[str, tuple[Any, str]] = {
    "source": (str, "The source it was sent to."),
    "reason": (click.Choice(["unauthorized", "malformed", "too_large"]), "Why."),
}

STREAM: Mapping[str, tuple[Any, str]] = {
    "source": (str, "Of this source only."),
    "destination": (str, "Of this destination only."),
    "kind": (click.Choice(["event", "attempt"]), "What comes in, or what goes out."),
}


def filters(known: Mapping[str, tuple[Any, str]]) -> Callable[[F], F]:
    """An option for each; they arrive by the API's names."""

    def declare(function: F) -> F:
        for name, (kind, about) in reversed(list(known.items())):
            option = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=about)
            function = option(function)
        return function

    return declare


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that were given, as a query has them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in given.items()
        if value is not None
    }
