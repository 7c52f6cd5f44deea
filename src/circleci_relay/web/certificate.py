"""The certificate `server.listen` shows, replaced while it listens."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from circleci_relay.errors import StartupError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from circleci_relay.config.model import ServerTLS


class Certificate:
    """
    Gives every new handshake the certificate last loaded.

    A listener keeps the context it began with, and loading into one that is in use is not
    safe; so each load makes a context of its own, and a callback hands handshakes over.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context  #: what the listener is given
        self._current = context
        context.sni_callback = self._hand_over  # called even if the client names no host

    @classmethod
    async def load(cls, tls: ServerTLS) -> Self:
        """Load what *tls* names; raise `StartupError` if that fails."""
        return cls(await asyncio.to_thread(_context, tls))

    async def renew(self, tls: ServerTLS) -> None:
        """Load it again; raise `StartupError`, with nothing changed, if that fails."""
        self._current = await asyncio.to_thread(_context, tls)

    def _hand_over(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        connection.context = self._current


def _context(tls: ServerTLS) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for key, path in (("cert", tls.cert), ("key", tls.key)):
        _readable(f"server.tls.{key}", path)
    try:
        # An empty password: a key that needs one fails instead of asking the terminal.
        context.load_cert_chain(tls.cert, tls.key, password="")
    except (ssl.SSLError, OSError) as fault:
        why = getattr(fault, "reason", None) or str(fault)
        raise StartupError(
            f"server.tls: {tls.cert} and {tls.key} are no certificate and its key ({why})"
        ) from None
    return context


def _readable(key: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as fault:
        raise StartupError(f"{key}: cannot read {path} ({fault.strerror})") from None
