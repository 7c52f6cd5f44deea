"""
Counts over time as SVG, drawn here.

The drawing holds shapes only and is stretched to whatever width there is; all text stands
around it as text, so that it is never shrunk. Colours come by class.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import count as counting
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from circleci_relay.web.ui.words import count, instant, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from circleci_relay.console.shapes import Chart

WIDTH, HEIGHT = 680, 120
"""Of the drawing, in its own units."""

COLUMNS = 170
"""How many a chart has at most; where there are more steps, several make one."""

ROWS = 24
"""How many the table of figures has at most."""

SPARK_WIDTH, SPARK_HEIGHT = 120, 28

GAP = 0.15
"""Of a column, what stays free."""

LEAST = 1.5
"""How high the least count is drawn."""

_numbers = counting(1)

KNOWN = frozenset(
    {"accepted", "duplicate", "conflict", "rejected", "delivered", "dead", "cancelled", "failed"}
)
"""Names of series that have a colour of their own."""


SHOWN = {"duplicate": "came again", "conflict": "with other bytes", "rejected": "turned away"}
"""What series are called where another word is used elsewhere on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table of figures."""

    at: datetime
    counts: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A chart for its template."""

    svg: Markup
    top: int  #: what the upper edge stands for
    begins_at: datetime
    middle_at: datetime
    ends_at: datetime
    names: list[str]
    totals: list[int]
    rows: list[Row]  #: the same as figures
    step: int  #: seconds of a row
    summary: str


def stacked(chart: Chart, *, title: str) -> Drawn:
    """Draw *chart* as columns, the series one upon the other in their order."""
    names = [each.name for each in chart.series]
    counts = [[max(0, each) for each in one.counts] for one in chart.series]
    steps = max((len(each) for each in counts), default=0)
    counts = [each + [0] * (steps - len(each)) for each in counts]
    together = max(1, -(-steps // COLUMNS))
    columns = _gathered(counts, steps, together)
    top = ceiling(max((sum(each) for each in columns), default=0))
    totals = [sum(each) for each in counts]
    ends_at = chart.begins_at + timedelta(seconds=chart.step * max(steps, 1))
    summary = _summary(names, totals)
    svg = _columns(
        columns,
        names,
        top,
        labels=[
            chart.begins_at + timedelta(seconds=chart.step * together * number)
            for number in range(len(columns))
        ],
        title=title,
        summary=summary,
    )
    by_row = max(1, -(-steps // ROWS))
    rows = [
        Row(at=chart.begins_at + timedelta(seconds=chart.step * by_row * number), counts=each)
        for number, each in enumerate(_gathered(counts, steps, by_row))
    ]
    return Drawn(
        svg=svg,
        top=top,
        begins_at=chart.begins_at,
        middle_at=chart.begins_at + (ends_at - chart.begins_at) / 2,
        ends_at=ends_at,
        names=names,
        totals=totals,
        rows=rows,
        step=chart.step * by_row,
        summary=summary,
    )


def spark(good: Sequence[int], bad: Sequence[int], *, title: str) -> Markup:
    """Draw a small chart of what went well, and upon it what did not."""
    steps = max(len(good), len(bad))
    counts = [[max(0, each) for each in one] + [0] * (steps - len(one)) for one in (good, bad)]
    columns = _gathered(counts, steps, 1)
    names = ["delivered", "failed"]
    top = max((sum(each) for each in columns), default=0)
    sheet = _Sheet(width=SPARK_WIDTH, height=SPARK_HEIGHT, top=max(1, top), of=len(columns))
    svg = sheet.begun("spark", title, _summary(names, map(sum, counts)))
    svg.set("width", str(SPARK_WIDTH))
    svg.set("height", str(SPARK_HEIGHT))
    sheet.line(svg, SPARK_HEIGHT - 0.5, "axis")
    for number, column in enumerate(columns):
        if any(column):
            sheet.column(svg, number, column, names)
    return _written(svg)


def ceiling(most: int) -> int:
    """Return the round number at or above *most* that an axis ends at."""
    if most <= 4:  # noqa: PLR2004 -- below, every number is round
        return max(most, 1)
    magnitude: int = 10 ** (len(str(most)) - 1)
    tenths = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
    return next(
        value
        for tenth in tenths
        if (value := -(-magnitude * tenth // 10)) >= most and value % 2 == 0
    )


def _gathered(counts: list[list[int]], steps: int, together: int) -> list[list[int]]:
    """Return columns: of each, a count for each series."""
    return [
        [sum(each[begin : begin + together]) for each in counts]
        for begin in range(0, steps, together)
    ]


def _columns(
    columns: list[list[int]],
    names: list[str],
    top: int,
    *,
    labels: list[datetime],
    title: str,
    summary: str,
) -> Markup:
    sheet = _Sheet(width=WIDTH, height=HEIGHT, top=top, of=len(columns))
    svg = sheet.begun("chart", title, summary)
    svg.set("preserveAspectRatio", "none")
    for part in (0.0, 0.5):
        sheet.line(svg, HEIGHT * part + 0.5, "grid")
    for number, (column, at) in enumerate(zip(columns, labels, strict=True)):
        if any(column):
            tip = Element("title")
            tip.text = visible(f"{instant(at)} UTC: {_summary(names, column)}")
            sheet.column(svg, number, column, names).insert(0, tip)
    sheet.line(svg, HEIGHT - 0.5, "axis")
    return _written(svg)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sheet:
    """What is drawn on: its size, and what its height and width stand for."""

    width: int
    height: int
    top: int  #: the count at the upper edge
    of: int  #: columns

    def begun(self, kind: str, title: str, summary: str) -> Element:
        """Return a drawing with nothing on it."""
        number = next(_numbers)
        svg = Element(
            "svg",
            {
                "xmlns": "http://www.w3.org/2000/svg",
                "class": kind,
                "viewBox": f"0 0 {self.width} {self.height}",
                "role": "img",
                "aria-labelledby": f"chart-{number}-title chart-{number}-desc",
                "focusable": "false",
            },
        )
        SubElement(svg, "title", {"id": f"chart-{number}-title"}).text = visible(title)
        SubElement(svg, "desc", {"id": f"chart-{number}-desc"}).text = visible(summary)
        return svg

    def line(self, svg: Element, y: float, kind: str) -> None:
        """Draw a line from left to right."""
        ends = {"x1": "0", "y1": f"{y:.1f}", "x2": str(self.width), "y2": f"{y:.1f}"}
        SubElement(svg, "line", {"class": kind, **ends})

    def column(self, svg: Element, number: int, column: list[int], names: list[str]) -> Element:
        """Draw one column, its parts upon each other."""
        group = SubElement(svg, "g")
        wide = self.width / self.of
        # What is there at all can be seen: a single dead one among thousands.
        least = LEAST * sum(map(bool, column))
        whole = min(max(self.height * sum(column) / self.top, least), self.height)
        below = 0.0
        for name, each in zip(names, column, strict=True):
            if not each:
                continue
            high = LEAST + (whole - least) * each / sum(column)
            below += high
            shape = {
                "class": f"s-{name if name in KNOWN else 'other'}",
                "x": f"{(number + GAP / 2) * wide:.2f}",
                "y": f"{max(0.0, self.height - below):.2f}",
                "width": f"{wide * (1 - GAP):.2f}",
                "height": f"{high:.2f}",
            }
            SubElement(group, "rect", shape)
        return group


def shown(name: str) -> str:
    """Return what a series is called on the page."""
    return SHOWN.get(name, name)


def _summary(names: Sequence[str], totals: Iterable[int]) -> str:
    told = ", ".join(
        f"{count(total)} {shown(name)}" for name, total in zip(names, totals, strict=True) if total
    )
    return told or "nothing yet"


def _written(svg: Element) -> Markup:
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704 -- ElementTree escapes it
