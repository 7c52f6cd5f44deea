"""relay.yaml: read, checked with every fault at once, and told as frozen models."""

from __future__ import annotations

from circleci_relay.config.files import fingerprint
from circleci_relay.config.load import FaultyConfig, Loaded, load
from circleci_relay.config.model import (
    AdminToken,
    Breaker,
    ClientTLS,
    Config,
    Destination,
    Notify,
    RateLimit,
    Rejects,
    Retry,
    RouteSettings,
    Server,
    ServerTLS,
    Shutdown,
    Sign,
    Source,
    StoreSettings,
)
from circleci_relay.config.proposal import propose
from circleci_relay.config.schema import json_schema
from circleci_relay.config.values import Address

__all__ = [
    "Address",
    "AdminToken",
    "Breaker",
    "ClientTLS",
    "Config",
    "Destination",
    "FaultyConfig",
    "Loaded",
    "Notify",
    "RateLimit",
    "Rejects",
    "Retry",
    "RouteSettings",
    "Server",
    "ServerTLS",
    "Shutdown",
    "Sign",
    "Source",
    "StoreSettings",
    "fingerprint",
    "json_schema",
    "load",
    "propose",
]
