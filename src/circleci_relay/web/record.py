"""Putting on record what is done over the admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Record(Protocol):
    """Puts on record who did what; a record that cannot be kept is no reason not to do it."""

    async def __call__(
        self, who: str, action: str, target: str, detail: Mapping[str, Any] | None = None
    ) -> None:
        """*who* did *action* to *target*; *detail* holds plain JSON values, nothing secret."""


async def unrecorded(
    who: str, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """Keep no record."""
