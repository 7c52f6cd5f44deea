"""Transports to queues, each loaded only where a destination asks for it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_AMQP = ("amqp", "circleci_relay.delivery.queues.amqp", "Amqp")
_KAFKA = ("kafka", "circleci_relay.delivery.queues.kafka", "Kafka")
_NATS = ("nats", "circleci_relay.delivery.queues.nats", "Nats")
_REDIS = ("redis", "circleci_relay.delivery.queues.redis", "Redis")

TRANSPORTS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        "amqp": _AMQP,
        "amqps": _AMQP,
        "nats": _NATS,
        "nats+tls": _NATS,
        "redis": _REDIS,
        "rediss": _REDIS,
        "sqs": ("sqs", "circleci_relay.delivery.queues.sqs", "Sqs"),
        "sns": ("sns", "circleci_relay.delivery.queues.sns", "Sns"),
        "kafka": _KAFKA,
        "kafka+tls": _KAFKA,
    }
)
"""By URL scheme: the package's extra that brings its library, the module, the class."""
