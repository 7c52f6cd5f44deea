"""
What the API answers, and the page shows: every field with its unit and its source.

Instants are RFC 3339 in UTC; spans are seconds. What came from outside (facts, headers,
excerpts, everything of a reject) is as hostile as it was there. Nothing here is secret.
"""

from __future__ import annotations

from circleci_relay.console.shapes.base import (
    Page,
    Shape,
)
from circleci_relay.console.shapes.log import (
    Attempt,
    Dead,
    DeadGroup,
    Deliveries,
    Delivery,
    DeliveryBrief,
    DeliveryLine,
    DeliveryWhole,
    Duplicates,
    EventBrief,
    Events,
    EventWhole,
    LineStanding,
    RouteVerdict,
    Waiting,
)
from circleci_relay.console.shapes.rejects import (
    Rechecked,
    Reject,
    Rejects,
    RejectWhole,
)
from circleci_relay.console.shapes.repair import (
    Audit,
    Due,
    Entry,
    Job,
    Jobs,
    JobState,
    Made,
    Preview,
)
from circleci_relay.console.shapes.standing import (
    Alert,
    Alerts,
    Chart,
    Destinations,
    DestinationState,
    Overview,
    Quantiles,
    RouteCount,
    Routes,
    Series,
    Span,
    Trouble,
)
from circleci_relay.console.shapes.trials import (
    Backtest,
    ConfigFault,
    Difference,
    Example,
    Explained,
)

__all__ = [
    "Alert",
    "Alerts",
    "Attempt",
    "Audit",
    "Backtest",
    "Chart",
    "ConfigFault",
    "Dead",
    "DeadGroup",
    "Deliveries",
    "Delivery",
    "DeliveryBrief",
    "DeliveryLine",
    "DeliveryWhole",
    "DestinationState",
    "Destinations",
    "Difference",
    "Due",
    "Duplicates",
    "Entry",
    "EventBrief",
    "EventWhole",
    "Events",
    "Example",
    "Explained",
    "Job",
    "JobState",
    "Jobs",
    "LineStanding",
    "Made",
    "Overview",
    "Page",
    "Preview",
    "Quantiles",
    "Rechecked",
    "Reject",
    "RejectWhole",
    "Rejects",
    "RouteCount",
    "RouteVerdict",
    "Routes",
    "Series",
    "Shape",
    "Span",
    "Trouble",
    "Waiting",
]
