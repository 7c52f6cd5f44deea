"""Trials: a proposed configuration against stored events, verdicts on a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.console import requests, shapes
from circleci_relay.web.api.endpoints import Endpoint, Request

if TYPE_CHECKING:
    from circleci_relay.console.trying import Trying

MOST = 2 << 20
"""Bytes of a proposed configuration, as JSON."""


def trying_endpoints(trying: Trying) -> list[Endpoint]:
    """Return the endpoints that answer what would happen, and change nothing."""

    async def backtest(request: Request) -> shapes.Backtest:
        return await trying.backtest(request.body)

    async def explain(request: Request) -> shapes.Explained:
        return await trying.explain(request.body)

    return [
        Endpoint(
            method="POST",
            path="/backtest",
            summary="Hold a proposed configuration against stored events; nothing is sent.",
            tag="trials",
            description=(
                "Compares it with the configuration in force. `${env:}` and `${file:}` in it are"
                " not read. Answers after some two seconds with what it has looked at: go on with"
                " `next` as `before`, and add up."
            ),
            handler=backtest,
            changes=False,
            body=requests.BacktestRequest,
            max_body=MOST,
            answers={200: shapes.Backtest},
        ),
        Endpoint(
            method="POST",
            path="/explain",
            summary="Each route's verdict on a payload or a stored event.",
            tag="trials",
            handler=explain,
            changes=False,
            body=requests.ExplainRequest,
            max_body=2 * MOST,
            answers={200: shapes.Explained},
            problems=(404,),
        ),
    ]
