"""`notify`: who is told what an operator must know, and when."""

from __future__ import annotations

from typing import Annotated

from circleci_relay.config import fields
from circleci_relay.config.base import Strict
from circleci_relay.config.containers import OneOrMany
from circleci_relay.config.fields import Flag

_WEEK = 7 * 86400


class Notify(Strict):
    """Who is told what an operator must know: once when it starts, and once when it ends."""

    to: Annotated[tuple[Annotated[str, fields.NAME], ...], OneOrMany()]
    """A destination's name, or a list of them."""
    failing_for: Annotated[float, fields.duration(60, _WEEK, "1m to 7d")] | None = 900.0
    """A destination takes nothing for so long; null for never."""
    dead_letters: Flag = True
    """Deliveries are given up."""
    store_full: Annotated[int, fields.integer(50, 99)] | None = 90
    """The percentage of its file system, or of `max_page_count`, that the store may fill; null
    for any. A database's disk on another machine cannot be seen: there, `store_size`."""
    store_size: Annotated[int, fields.size(1 << 20, 1 << 50, "1MiB to 1048576GiB")] | None = None
    """The size that the store may grow to; null for any."""
    silent_for: Annotated[float, fields.duration(600, _WEEK, "10m to 7d")] | None = 7200.0
    """A source that is busy at this hour on other days sends nothing for so long; null for
    never."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing that it tells."""
        rules = (self.failing_for, self.store_full, self.store_size, self.silent_for)
        return not self.dead_letters and all(rule is None for rule in rules)
