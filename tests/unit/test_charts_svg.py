"""Charts and the picture of routes: well-formed, within their frame, and honest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from circleci_relay.console import shapes
from circleci_relay.web.ui import charts, picture

if TYPE_CHECKING:
    from markupsafe import Markup

AT = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"

COUNTS = st.lists(st.integers(-5, 10**15) | st.integers(0, 3), max_size=700)
NAMES = st.sampled_from(["delivered", "dead", "cancelled"]) | st.text(max_size=30)


def _drawn(svg: Markup) -> ET.Element:
    return ET.fromstring(str(svg))  # noqa: S314 -- our own


def _hold_within(root: ET.Element) -> None:
    _, _, width, height = (float(each) for each in root.attrib["viewBox"].split())
    for each in root.iter(f"{SVG}rect"):
        x, y, wide, high = (float(each.attrib[key]) for key in ("x", "y", "width", "height"))
        assert x >= 0
        assert y >= 0
        assert wide > 0
        assert high > 0
        assert x + wide <= width + 0.01
        assert y + high <= height + 0.02


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, COUNTS), max_size=5), st.text(max_size=40))
def test_a_chart_is_well_formed_and_within_its_frame(
    series: list[tuple[str, list[int]]], title: str
) -> None:
    """Whatever the counts and names, it parses, nothing sticks out, and the sums are kept."""
    chart = shapes.Chart(
        span="week",
        begins_at=AT,
        step=900,
        series=[shapes.Series(name=name, counts=counts) for name, counts in series],
    )
    drawn = charts.stacked(chart, title=title)
    root = _drawn(drawn.svg)

    _hold_within(root)
    assert len(root.findall(f"{SVG}g")) <= charts.COLUMNS
    assert len(drawn.rows) <= charts.ROWS
    assert drawn.totals == [sum(max(0, each) for each in counts) for _, counts in series]
    for number, total in enumerate(drawn.totals):
        assert sum(row.counts[number] for row in drawn.rows) == total
    assert {root.findall(f"{SVG}{part}")[0].get("id") for part in ("title", "desc")} == set(
        root.attrib["aria-labelledby"].split()
    )
    assert "style" not in {key for each in root.iter() for key in each.attrib}


@settings(max_examples=40, deadline=None)
@given(COUNTS, COUNTS)
def test_a_spark_is_well_formed_and_within_its_frame(good: list[int], bad: list[int]) -> None:
    """The small chart too, however long or uneven its two rows are."""
    _hold_within(_drawn(charts.spark(good, bad, title="pager")))


@given(st.integers(0, 10**18))
def test_an_axis_ends_at_a_round_number_not_far_above(most: int) -> None:
    """It holds the largest count, and wastes less than half of the height."""
    top = charts.ceiling(most)
    assert top >= max(most, 1)
    assert top <= max(2 * most, 1)
    assert top <= 4 or top % 2 == 0


def test_the_height_tells_the_count() -> None:
    """A column of the axis's own count fills the height, one of half of it the half."""
    series = [shapes.Series(name="delivered", counts=[10, 5, 0])]
    drawn = charts.stacked(
        shapes.Chart(span="hour", begins_at=AT, step=60, series=series), title="Deliveries"
    )
    heights = [each.attrib["height"] for each in _drawn(drawn.svg).iter(f"{SVG}rect")]
    assert drawn.top == 10
    assert heights == ["120.00", "60.00"]
    assert drawn.summary == "15 delivered"


WORDS = st.text(max_size=40)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(WORDS, max_size=4, unique=True),
    st.dictionaries(
        WORDS, st.tuples(st.lists(WORDS, max_size=4, unique=True), st.booleans()), max_size=5
    ),
    st.integers(0, 10**9),
)
def test_the_picture_is_well_formed_and_within_its_frame(
    sources: list[str], routes: dict[str, tuple[list[str], bool]], count: int
) -> None:
    """Whatever the names, and wherever routes lead, known or not."""
    known: set[str] = {to for where, _ in routes.values() for to in where[:2]}
    counts: list[Any] = [
        shapes.RouteCount(source=source, route=route, destination=None, count=count)
        for source in sources[:2]
        for route in routes
    ]
    told = shapes.Routes(
        config={
            "sources": {name: {} for name in sources},
            "destinations": {name: {} for name in sorted(known)},
            "routes": {
                name: {"match": None, "to": where, "enabled": enabled}
                for name, (where, enabled) in routes.items()
            },
        },
        digest="d",
        restart_required=[],
        warnings=[],
        counts=counts,
        counted_from=None,
    )
    drawn = picture.picture(told)
    assert (drawn is None) == (not sources or not routes)
    if drawn is not None:
        _hold_within(_drawn(drawn))
        assert [way.name for way in picture.ways(told)] == list(routes)
