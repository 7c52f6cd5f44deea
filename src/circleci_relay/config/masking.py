"""What of a configuration may be stored and shown: nothing secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circleci_relay.config.queues import NAMES
from circleci_relay.redaction import MASK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from circleci_relay.config.destinations import Destination
    from circleci_relay.config.model import Config, RouteSettings, Source

__all__ = ["MASK", "masked"]


def masked(config: Config) -> dict[str, Any]:
    """
    All that says what goes where and how, without anything secret.

    Enough to tell later what the routes made of an event: see `past_verdicts`. Where something
    was a secret, or holds one, `MASK` stands.
    """
    secrets = config.secret_values
    return {
        "sources": {name: _source(each, secrets) for name, each in config.sources.items()},
        "destinations": {
            name: _destination(each, secrets) for name, each in config.destinations.items()
        },
        "routes": {name: _route(each, secrets) for name, each in config.routes.items()},
        "projects": {
            pattern: {name: _label(value, secrets) for name, value in labels.items()}
            for pattern, labels in config.projects.items()
        },
        "notify": config.notify and config.notify.model_dump(mode="json"),
    }


def _source(source: Source, secrets: Iterable[str]) -> dict[str, Any]:
    return {
        # Whoever knows the path of one without signatures may send to it.
        "path": MASK if source.unsigned else _without(source.path, secrets),
        "unsigned": source.unsigned,
        "secrets": len(source.secrets),
        "rejects": source.rejects.model_dump(),
    }


def _route(route: RouteSettings, secrets: Iterable[str]) -> dict[str, Any]:
    return {
        "match": _without(route.match, secrets),
        "to": [*route.to],
        "enabled": route.enabled,
        "hold": route.hold,
        "once_per": route.once_per and route.once_per.model_dump(),
        "otherwise": route.otherwise,
    }


def _destination(destination: Destination, secrets: Iterable[str]) -> dict[str, Any]:
    rate = destination.rate_limit
    return {
        "url": destination.display,
        "headers": sorted(destination.headers),
        "body": destination.body and destination.body.shown,
        "timeout": destination.timeout,
        "concurrency": destination.concurrency,
        "rate_limit": rate and rate.model_dump(),
        "retry": destination.retry.model_dump(mode="json"),
        "breaker": destination.breaker and destination.breaker.model_dump(),
        "sign": destination.sign and destination.sign.scheme,
        "verify": destination.tls is None or destination.tls.verify,
        "proxy": destination.proxy and destination.proxy.display,
        "paused": destination.paused,
        "once_per": destination.once_per and destination.once_per.model_dump(),
        "group": destination.group and destination.group.model_dump(mode="json"),
        **_queue(destination, secrets),
    }


def _queue(destination: Destination, secrets: Iterable[str]) -> dict[str, Any]:
    found = {name: getattr(destination, name) for name in NAMES}
    return {
        name: _without(queue.model_dump(mode="json"), secrets)
        for name, queue in found.items()
        if queue is not None
    }


def _label(value: str, secrets: Iterable[str]) -> str:
    return MASK if "://" in value else str(_without(value, secrets))


def _without(value: Any, secrets: Iterable[str]) -> Any:
    if isinstance(value, dict):
        return {key: _without(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, secrets) for item in value]
    if isinstance(value, str) and any(secret in value for secret in secrets):
        return MASK
    return value
