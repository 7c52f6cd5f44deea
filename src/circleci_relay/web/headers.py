"""What browsers are told with every answer of the admin listener."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.web.answers import SERVER

if TYPE_CHECKING:
    from aiohttp import web

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

ALWAYS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "server": SERVER,
}

NEVER_KEPT = "no-store"
"""`cache-control`, but for static files: what was shown is nobody's who comes later."""


async def protect(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on *response*; called by aiohttp before it goes out."""
    response.headers.update(ALWAYS)
    response.headers.setdefault("cache-control", NEVER_KEPT)
