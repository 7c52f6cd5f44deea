"""Putting on record who did what, in the transaction that does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.store.encode import text
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.store.unit import Unit

_ids = Ulids()


def note(
    unit: Unit, who: str, action: str, target: str, detail: Mapping[str, Any] | None = None
) -> None:
    """*who* did *action* to *target*; *detail* holds plain JSON values, nothing secret."""
    unit.connection.execute(
        unit.statements.add_audit,
        {
            "id": _ids.next(unit.now),
            "at": unit.now,
            "who": who,
            "action": action,
            "target": target,
            "detail": text({} if detail is None else dict(detail)),
        },
    )
