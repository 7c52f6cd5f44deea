"""Posting a body as CircleCI posts it; behind `send` and `demo`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import aiohttp

from circleci_relay.circleci import payload, signature
from circleci_relay.errors import Malformed

TIMEOUT = 10.0
"""Seconds after which CircleCI gives up on an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one post; *status* is None where no answer came."""

    status: int | None
    text: str  #: the answer's first 4 KiB, or what went wrong
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether CircleCI would be content."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004


def headers_of(body: bytes, secret: bytes | None) -> dict[str, str]:
    """The headers that CircleCI sends with *body*; unsigned where *secret* is None."""
    # As logged from a real request: see the docs' "Outbound webhooks", section "Headers".
    headers = {
        "content-type": "application/json",
        "user-agent": "CircleCI-Webhook/1.0",
        "accept-encoding": "gzip, deflate",
    }
    with suppress(Malformed):  # what is no event has no type, and may be sent all the same
        headers["circleci-event-type"] = payload.event_type(payload.parse(body))
    if secret is not None:
        headers[signature.HEADER] = signature.sign(body, secret)
    return headers


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    secret: bytes | None,
    verify_tls: bool = True,
) -> Answer:
    """Post *body* once; whatever goes wrong is told in the answer."""
    start = monotonic()
    try:
        async with session.post(
            url,
            data=body,
            headers=headers_of(body, secret),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            allow_redirects=False,
            ssl=verify_tls,
        ) as response:
            text = (await response.content.read(4096)).decode(errors="replace")
            return Answer(status=response.status, text=text, seconds=monotonic() - start)
    except TimeoutError:
        problem = f"no answer within {TIMEOUT:g} s"
    except (aiohttp.ClientError, OSError) as error:
        problem = str(error) or type(error).__name__
    return Answer(status=None, text=problem, seconds=monotonic() - start)
