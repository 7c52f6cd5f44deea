"""What a destination would wait for before it is told of an event, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.circleci.payload import is_good
from circleci_relay.model import SECOND, Change
from circleci_relay.rendering.filters import duration

if TYPE_CHECKING:
    from circleci_relay.config.quiet import Group
    from circleci_relay.model import Facts, Quiet


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What one destination would wait for; spans in seconds, 0 for none."""

    hold: float = 0.0
    unless: str | None = None  #: what makes it needless by turning good: a branch
    mends: bool = False  #: told only if the failure that it mends was told
    once_per: str | None = None  #: what is told once
    group: tuple[str, ...] = ()  #: what those told together have in common
    max: int = 0  #: how many are told together at most
    wait: float = 0.0  #: for how long others are waited for

    @property
    def said(self) -> str:
        """All of it in words: `held 10m unless main turns good`."""
        parts = []
        if self.hold:
            parts.append(f"held {duration(self.hold)} unless {self.unless} turns good")
        if self.mends:
            parts.append("only if the failure it mends was told")
        if self.once_per:
            parts.append(f"told once per {self.once_per}, after {duration(self.wait)}")
        if self.group:
            parts.append(
                f"together by {', '.join(self.group)}, {duration(self.wait)}, {self.max} at most"
            )
        return "; ".join(parts) or "at once"


def wait_of(
    quiet: Quiet, facts: Facts, group: Group | None, *, lined: bool, change: Change | None
) -> Wait:
    """
    What *quiet* says of an event; *lined* is whether later ones can be compared with it.

    *group* is what the destination says of those that are told together.
    """
    by = group.by if group is not None and quiet.group is not None else ()
    good = is_good(facts)
    held = bool(quiet.hold) and lined and not good
    return Wait(
        hold=quiet.hold / SECOND if held else 0.0,
        unless=(facts.branch or "its branch") if held else None,
        mends=bool(quiet.hold) and lined and change is Change.FIXED,
        once_per=None if quiet.once is None else "workflow",
        group=by,
        max=quiet.most,
        wait=quiet.wait / SECOND,
    )
