"""How quietly a destination wants to be told: once for a workflow, or several events at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from circleci_relay.config import fields
from circleci_relay.config.base import Strict
from circleci_relay.config.containers import OneOrMany
from circleci_relay.config.discretion import shown
from circleci_relay.config.faults import near
from circleci_relay.routing import GroupBy

if TYPE_CHECKING:
    from circleci_relay.model import Micros

LABEL = re.compile(r"[a-z][a-z0-9_]{0,62}")
LABEL_RULE = "a label's name is up to 63 of a-z, 0-9 and _, beginning with a letter"
LABELS = "labels."

GROUPED_BY = (
    "workflow",
    "pipeline",
    "project",
    "organization",
    "branch",
    "tag",
    "revision",
    "status",
    "type",
    "author",
    "job",
)
"""What events may have in common to be told together, beside labels."""


def _key(text: str) -> str:
    if text in GROUPED_BY:
        return text
    if text.startswith(LABELS):
        if LABEL.fullmatch(text.removeprefix(LABELS)):
            return text
        raise ValueError(f"names no label; wanted {LABELS}NAME, where {LABEL_RULE}")
    known = f"wanted any of {', '.join(GROUPED_BY)}, or {LABELS}NAME"
    raise ValueError(
        f"{shown(text)} is nothing to group by{near(text, GROUPED_BY) or f'; {known}'}"
    )


_GROUP_KEY = fields.Reads(
    parse=_key,
    wanted="`workflow`, `pipeline`, a fact or `labels.NAME`",
    standin="workflow",
    schema={
        "type": "string",
        "pattern": f"^({'|'.join(GROUPED_BY)}|labels\\.{LABEL.pattern}|.*{fields.REFERENCE}.*)$",
    },
)


class OncePer(Strict):
    """One message for several events: the last of them, after a quiet while."""

    by: Annotated[Literal["workflow"], fields.choice("workflow")]
    """What is told once: `workflow`, one run of it."""
    wait: Annotated[float, fields.duration(1, 3600, "1s to 1h")] = 60.0
    """How long no other event of it must have come."""


class Group(Strict):
    """Several events told in one message."""

    by: Annotated[tuple[Annotated[str, _GROUP_KEY], ...], OneOrMany()]
    """What they have in common: `workflow`, `pipeline` (one run of it), the facts `project`
    `organization` `branch` `tag` `revision` `status` `type` `author` `job`, `labels.NAME`."""
    wait: Annotated[float, fields.duration(1, 3600, "1s to 1h")] = 30.0
    """How long after the first of them the message is sent."""
    max: Annotated[int, fields.integer(2, 200)] = 50
    """How many are told at most; so many are told at once."""

    def compiled(self) -> GroupBy:
        """Itself, as routing has it."""
        return GroupBy(self.by, micros(self.wait), self.max)


def micros(seconds: float) -> Micros:
    """*seconds* in microseconds."""
    return round(seconds * 1_000_000)
