"""Sources, routes and destinations as a picture, with what went along each arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from circleci_relay.web.ui.words import count, some, visible

if TYPE_CHECKING:
    from circleci_relay.console.shapes import Routes

WIDTH = 960
LINE, PAD, APART = 22, 8, 12
BOX = 180
LETTERS = 22
"""Characters of a name that fit into a box."""
COLUMNS = (1, (WIDTH - BOX) // 2, WIDTH - BOX - 1)

MOST = 400
"""Arrows that are drawn; beyond, the table alone tells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One route as the table shows it."""

    name: str
    enabled: bool
    conditions: list[str]
    sources: list[tuple[str, int]]
    destinations: list[tuple[str, int]]
    quiet: list[str]


@dataclass(slots=True, kw_only=True)
class _Box:
    name: str
    left: int
    top: int = 0
    high: int = 0
    kind: str = ""
    ports: dict[str, int] = field(default_factory=dict)


def ways(routes: Routes) -> list[Way]:
    """Return the routes in force with what went along them."""
    inward: dict[str, list[tuple[str, int]]] = {}
    outward: dict[tuple[str, str], int] = {}
    for each in routes.counts:
        if each.route is None:
            continue
        if each.source is not None and each.destination is None:
            inward.setdefault(each.route, []).append((each.source, each.count))
        elif each.destination is not None:
            key = each.route, each.destination
            outward[key] = outward.get(key, 0) + each.count
    return [
        Way(
            name=name,
            enabled=bool(route.get("enabled", True)),
            conditions=conditions(route.get("match")),
            sources=sorted(inward.get(name, ())),
            destinations=[(to, outward.get((name, to), 0)) for to in route.get("to", ())],
            quiet=_quiet(route),
        )
        for name, route in routes.config.get("routes", {}).items()
    ]


def conditions(match: Any) -> list[str]:
    """Return what a route asks for, in words."""
    if not isinstance(match, Mapping) or not match:
        return ["everything but ping"]
    found = []
    for key, wanted in match.items():
        if key == "not" and isinstance(wanted, Mapping):
            found += [f"not: {each}" for each in conditions(wanted)]
        elif key == "payload" and isinstance(wanted, Mapping):
            found += [f"payload {path} is {_any_of(each)}" for path, each in wanted.items()]
        else:
            found.append(f"{key} is {_any_of(wanted)}")
    return found


def picture(routes: Routes) -> Markup | None:
    """Draw *routes*; None where there is nothing to draw, or too much."""
    known = ways(routes)
    sources = list(routes.config.get("sources", {}))
    destinations = list(routes.config.get("destinations", {}))
    arrows = sum(len(way.destinations) + max(len(way.sources), 1) for way in known)
    if not known or not sources or arrows > MOST:
        return None
    left = {name: _Box(name=name, left=COLUMNS[0], kind="source") for name in sources}
    middle = {
        way.name: _Box(name=way.name, left=COLUMNS[1], kind="route" if way.enabled else "off")
        for way in known
    }
    right = {name: _Box(name=name, left=COLUMNS[2], kind="destination") for name in destinations}
    for way in known:
        lines = max(len(way.destinations), len(way.sources), 1)
        middle[way.name].high = lines * LINE + PAD * 2
    high = max(_placed(left), _placed(middle), _placed(right))
    svg = _svg(high, known)
    for way in known:
        _arrows(svg, way, left, middle[way.name], right)
    for boxes in (left, middle, right):
        for box in boxes.values():
            _box(svg, box)
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704 -- ElementTree escapes it


def _placed(boxes: dict[str, _Box]) -> int:
    top = 1
    for box in boxes.values():
        box.high = box.high or LINE + PAD * 2
        box.top = top
        top += box.high + APART
    return top


def _svg(high: int, known: list[Way]) -> Element:
    svg = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "picture",
            "viewBox": f"0 0 {WIDTH} {high}",
            "role": "img",
            "aria-labelledby": "picture-title picture-desc",
            "focusable": "false",
        },
    )
    SubElement(svg, "title", {"id": "picture-title"}).text = "Sources, routes and destinations"
    told = f"{some(len(known), 'route')}; the table below says the same."
    SubElement(svg, "desc", {"id": "picture-desc"}).text = told
    return svg


def _arrows(
    svg: Element, way: Way, left: dict[str, _Box], box: _Box, right: dict[str, _Box]
) -> None:
    begins = way.sources or [(name, 0) for name in left if len(left) == 1]
    for number, (name, many) in enumerate(begins):
        if name in left:
            y = _port(box, number, len(begins))
            _arrow(svg, left[name], box, (_middle(left[name]), y), many)
    for number, (name, many) in enumerate(way.destinations):
        if name in right:
            y = _port(box, number, len(way.destinations))
            _arrow(svg, box, right[name], (y, _middle(right[name])), many, label_at="start")


def _port(box: _Box, number: int, of: int) -> float:
    return box.top + box.high / 2 + (number - (of - 1) / 2) * LINE


def _middle(box: _Box) -> float:
    return box.top + box.high / 2


def _arrow(
    svg: Element,
    begin: _Box,
    end: _Box,
    heights: tuple[float, float],
    many: int,
    *,
    label_at: str = "end",
) -> None:
    x1, x2 = begin.left + BOX, end.left
    y1, y2 = heights
    bend = (x2 - x1) / 2
    group = SubElement(svg, "g", {"class": "arrow" if many else "arrow idle"})
    told = f"{begin.name} to {end.name}: {count(many)}"
    SubElement(group, "title").text = visible(told)
    weight = 1 + min(len(str(many)), 6) * 0.5 if many else 1
    SubElement(
        group,
        "path",
        {
            "d": f"M{x1} {y1:.1f}C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2} {y2:.1f}",
            "stroke-width": f"{weight:.1f}",
        },
    )
    at_start = label_at == "start"
    label = SubElement(
        group,
        "text",
        {
            "x": str(x1 + 8 if at_start else x2 - 8),
            "y": f"{(y1 if at_start else y2) - 5:.1f}",
            "text-anchor": "start" if at_start else "end",
        },
    )
    label.text = count(many)


def _box(svg: Element, box: _Box) -> None:
    group = SubElement(svg, "g", {"class": f"box box-{box.kind}"})
    SubElement(group, "title").text = visible(box.name)
    SubElement(
        group,
        "rect",
        {
            "x": str(box.left),
            "y": str(box.top),
            "width": str(BOX),
            "height": str(box.high),
            "rx": "4",
        },
    )
    text = SubElement(
        group,
        "text",
        {"x": str(box.left + BOX // 2), "y": f"{_middle(box) + 4.5:.1f}", "text-anchor": "middle"},
    )
    name = visible(box.name)
    text.text = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"


def _any_of(wanted: Any) -> str:
    if isinstance(wanted, list):
        return " or ".join(map(_one, wanted)) or "nothing"
    return _one(wanted)


def _one(wanted: Any) -> str:
    return "absent" if wanted is None else str(wanted)


def _quiet(route: Mapping[str, Any]) -> list[str]:
    found = []
    if route.get("hold"):
        found.append(f"held for {route['hold']:g} s" if _number(route["hold"]) else "held")
    if route.get("once_per"):
        found.append("told once")
    if route.get("otherwise"):
        found.append("only where no other route matched")
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
