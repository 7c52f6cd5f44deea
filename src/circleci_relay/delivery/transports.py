"""Which transport carries a destination's messages: told by its URL's scheme."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from circleci_relay.delivery.http import Http
from circleci_relay.delivery.queues import TRANSPORTS

if TYPE_CHECKING:
    from circleci_relay.config.model import Destination
    from circleci_relay.delivery.transport import Transport


def transport_of(destination: Destination) -> Transport:
    """
    Return a transport to *destination*; nothing is connected yet.

    A queue's library is loaded here, and only where a destination asks for it: each is an
    extra of the package, and configuration has told of one that is missing.
    """
    scheme = urlsplit(destination.url.get_secret_value()).scheme
    if scheme not in TRANSPORTS:
        return Http(destination)  # a URL made by a template is one of HTTP
    _, module, name = TRANSPORTS[scheme]
    return cast("Transport", getattr(import_module(module), name)(destination))
