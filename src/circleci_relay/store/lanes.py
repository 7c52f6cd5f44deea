"""What the store asks of those who use it: the lanes it hands work to, and who watches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from circleci_relay.model import Claim, Micros, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """How many new deliveries a lane takes at once, and the lease it needs for each."""

    room: int
    lease: Micros


class Lanes(Protocol):
    """
    Whoever attempts deliveries. Every method is called on the event loop, none may block.

    An offer reserves room; it ends with the `take` or `withdraw` that follows it, and
    never two stand at once.
    """

    def offer(self) -> Mapping[str, Offer]:
        """Reserve room for new deliveries, by destination; one with a known backlog: none."""

    def take(self, claims: Sequence[Claim]) -> None:
        """The deliveries inserted under the standing offer, leased; the offer ends."""

    def withdraw(self) -> None:
        """Nothing came of the standing offer."""

    def wake(self, destinations: Iterable[str]) -> None:
        """These destinations have due deliveries that nobody holds."""

    def expect(self, due: Mapping[str, Micros]) -> None:
        """These destinations have deliveries that nobody holds, due at these times."""


class Watch(Protocol):
    """Whoever counts and logs. Called on the event loop after a commit; none may raise."""

    def committed(self, seconds: float, items: int) -> None:
        """A batch of *items* is durable, after *seconds* in its transaction."""

    def settled(self, held: Sequence[Settlement], fenced: Sequence[Settlement]) -> None:
        """These attempts are recorded; *fenced* ones no longer held their delivery."""

    def lost(self, counts: Mapping[str, int]) -> None:
        """So many leases lapsed unsettled, by destination."""

    def superseded(self, counts: Mapping[str, int]) -> None:
        """So many deliveries became needless while they waited, by destination."""

    def dropped(self, settlement: Settlement, error: Exception) -> None:
        """An attempt could not be recorded by any means; its lease will lapse."""

    def outage(self, error: Exception) -> None:
        """The database stopped taking writes."""

    def recovered(self, seconds: float) -> None:
        """The database takes writes again, *seconds* after it stopped."""


class Unwatched:
    """A watch that looks away."""

    def committed(self, seconds: float, items: int) -> None:
        """See `Watch`."""

    def settled(self, held: Sequence[Settlement], fenced: Sequence[Settlement]) -> None:
        """See `Watch`."""

    def lost(self, counts: Mapping[str, int]) -> None:
        """See `Watch`."""

    def superseded(self, counts: Mapping[str, int]) -> None:
        """See `Watch`."""

    def dropped(self, settlement: Settlement, error: Exception) -> None:
        """See `Watch`."""

    def outage(self, error: Exception) -> None:
        """See `Watch`."""

    def recovered(self, seconds: float) -> None:
        """See `Watch`."""
