"""The TLS a destination asks for."""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING

from circleci_relay.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from circleci_relay.config.model import Destination


def client_tls(destination: Destination) -> ssl.SSLContext:
    """Return the TLS context *destination* asks for; a file that will not do is one clear line."""
    context = ssl.create_default_context()
    settings = destination.tls
    if settings is None:
        return context
    where = f"destinations.{destination.name}.tls"
    if settings.ca is not None:
        with _loading(f"{where}.ca", settings.ca):
            context = ssl.create_default_context(cafile=str(settings.ca))
    if settings.cert is not None:
        with _loading(f"{where}.cert", settings.cert):
            context.load_cert_chain(settings.cert, settings.key)
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextlib.contextmanager
def _loading(where: str, path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as fault:
        words = fault.strerror or type(fault).__name__  # an SSLError is an OSError too
        raise StartupError(f"{where}: {path} does not load: {words}") from None
