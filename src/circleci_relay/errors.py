"""
What can go wrong, as a tree.

* RelayError
  - ConfigError          relay.yaml is wrong; start-up stops, a reload changes nothing
  - Rejected             the sender is wrong; becomes the 4xx in `status`
    + BadSignature       401
    + Malformed          400
  - StoreError
    + StoreUnavailable   the database cannot take it now; worth retrying; becomes a 503
    + StoreRefused       the database must not be touched (newer schema, corrupt, no
                         permission); start-up stops
  - RenderError          a message cannot be made of an event; its delivery is dead
  - Unanswerable         what somebody asked for cannot be; becomes the status in `status`
    + NotFound           404
    + Conflict           409
    + Invalid            422
    + Busy               503
  - StartupError         a port in use, a certificate that does not load; start-up stops

An attempt that fails is no exception: it is an `Outcome` (see `model`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circleci_relay.model import Fault


class RelayError(Exception):
    """Anything this program raises on purpose."""


class ConfigError(RelayError):
    """relay.yaml is wrong: every fault found, in the order of the files."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class Rejected(RelayError):  # noqa: N818 - the sender is wrong, not we
    """A webhook that is turned away; *status* is the HTTP answer."""

    status = 400


class BadSignature(Rejected):
    """The signature is missing or does not match the body."""

    status = 401


class Malformed(Rejected):
    """Signed rightly, but not a JSON object with a usable `id` and `type`."""


class StoreError(RelayError):
    """The database."""


class StoreUnavailable(StoreError):  # noqa: N818 - the design's word
    """The database cannot take it now; nothing is known to be stored."""


class StoreRefused(StoreError):  # noqa: N818 - the design's word
    """The database must not be used; the message says why and what to do."""


class RenderError(RelayError):
    """A message cannot be made; says where in its template, and nothing of the event in full."""

    def __init__(self, what: str, path: tuple[str | int, ...] = ()) -> None:
        self.what = what
        self.path = path  #: where in the template
        keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
        super().__init__(f"{keys.removeprefix('.')}: {what}" if path else what)

    def under(self, *keys: str | int) -> RenderError:
        """The same, seen from further up."""
        return RenderError(self.what, (*keys, *self.path))


class Unanswerable(RelayError):  # noqa: N818 - whoever asks is wrong, not we
    """
    What somebody asked for over the API or the page cannot be; *status* is the HTTP answer.

    The message is shown to them: plain words, no secret, nothing of somebody else's.
    """

    status = 422


class NotFound(Unanswerable):
    """There is no such thing, or no more."""

    status = 404


class Conflict(Unanswerable):
    """It is in a state in which this cannot be done."""

    status = 409


class Invalid(Unanswerable):
    """What was asked for makes no sense; *where* names the part, as in `query.limit`."""

    def __init__(self, what: str, *, where: str | None = None) -> None:
        super().__init__(what)
        self.where = where


class Busy(Unanswerable):
    """Too many ask for what takes long; worth asking again."""

    status = 503


class StartupError(RelayError):
    """The program cannot start; the message is one clear line."""
