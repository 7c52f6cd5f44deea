"""Signatures of the relay's own, for destinations that do not share CircleCI's secret."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping

from circleci_relay.circleci import signature

Signer = Callable[[str, int, bytes], Mapping[str, str]]
"""Takes `webhook-id`, `webhook-timestamp` (Unix seconds) and the body; returns headers."""


def standard_webhooks(secrets: tuple[str, ...]) -> Signer:
    """
    Sign as Standard Webhooks asks, once with each secret so that they can be rotated.

    Source: the Standard Webhooks specification, "Signature scheme"; *secrets* are
    `whsec_` followed by base64.
    """
    keys = tuple(base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets)

    def sign(webhook_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
        message = f"{webhook_id}.{timestamp}.".encode() + body
        marks = (base64.b64encode(hmac.digest(key, message, "sha256")).decode() for key in keys)
        return {"webhook-signature": " ".join(f"v1,{mark}" for mark in marks)}

    return sign


def circleci(secrets: tuple[str, ...]) -> Signer:
    """Sign as CircleCI does, with the first of *secrets*; its header holds one v1 only."""
    key = secrets[0].encode()

    def sign(_webhook_id: str, _timestamp: int, body: bytes) -> Mapping[str, str]:
        return {signature.HEADER: signature.sign(body, key)}

    return sign


SCHEMES: Mapping[str, Callable[[tuple[str, ...]], Signer]] = {
    "standard-webhooks": standard_webhooks,
    "circleci": circleci,
}
