"""Posting a body as CircleCI posts it; behind `send` and `demo`."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

import aiohttp

from circleci_relay.cli.payloads import headers_of

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
