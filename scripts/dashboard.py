#!/usr/bin/env python3
"""Make the chart's Grafana dashboard of dashboard.yaml; `dashboard.json` among its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

HERE = Path(__file__).parent
PANELS = HERE / "dashboard.yaml"
TARGET = HERE.parent / "helm" / "circleci-relay" / "files" / "dashboard.json"
RUNBOOK = "docs/runbook.md"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
USUAL = 8  #: a panel's width

OURS = 'namespace=~"$namespace", job=~"$job"'
WORDS = {
    "@of_ours": "and on (cluster, namespace, job, instance) circleci_relay_build_info{@ours}",
    "@sources": '@ours, source=~"$source"',
    "@there": '@ours, destination=~"$destination"',
    "@ours": OURS,
}
"""What stands for what in dashboard.yaml, in the order in which it is put in."""


def spelt_out(expr: str) -> str:
    """PromQL as Grafana takes it."""
    for word, meaning in WORDS.items():
        expr = expr.replace(word, meaning)
    return expr


def variable(name: str, values: str, label: str) -> dict[str, Any]:
    """A choice of label values; *All* also takes what lacks the label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": values,
        "query": {"query": values, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def variables() -> list[dict[str, Any]]:
    """The choices at the top, each narrowed down by those before it."""
    chosen = 'namespace=~"$namespace"'
    return [
        {
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "current": {},
        },
        variable("namespace", "label_values(circleci_relay_build_info, namespace)", "Namespace"),
        variable("job", f"label_values(circleci_relay_build_info{{{chosen}}}, job)", "Relay"),
        variable(
            "source", f"label_values(circleci_relay_events_total{{{OURS}}}, source)", "Source"
        ),
        variable(
            "destination",
            f"label_values(circleci_relay_deliveries_pending{{{OURS}}}, destination)",
            "Destination",
        ),
    ]


def options(kind: str, limits: dict[str, float]) -> dict[str, Any]:
    """What a kind of panel wants to know."""
    if kind == "stat":
        return {
            "colorMode": "value" if limits else "none",
            "graphMode": "none",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def defaults(panel: dict[str, Any], kind: str) -> dict[str, Any]:
    """How a panel's values are written and coloured."""
    found: dict[str, Any] = {"unit": panel["unit"], "min": 0}
    if "top" in panel:
        found["max"] = panel["top"]
    if kind == "stat" and panel["unit"] == "short":
        found["decimals"] = 0
    if "limits" in panel:
        steps = [
            {"color": colour, "value": value if number else None}
            for number, (colour, value) in enumerate(panel["limits"].items())
        ]
        found["thresholds"] = {"mode": "absolute", "steps": steps}
    if kind == "timeseries":
        stacked = panel.get("stacked", False)
        found["custom"] = {
            "drawStyle": "line",
            "fillOpacity": 20 if stacked else 5,
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        }
    return found


def drawn(panel: dict[str, Any], number: int, place: dict[str, int]) -> dict[str, Any]:
    """A panel as Grafana has it."""
    kind = panel.get("kind", "timeseries")
    about = panel["about"]
    if "alert" in panel:
        about = f"{about} See {RUNBOOK}#{panel['alert']}"
    return {
        "id": number,
        "type": kind,
        "title": panel["title"],
        "description": about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": "ABCDEFGH"[at],
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": spelt_out(expr),
                "legendFormat": legend or "__auto",
                "range": kind != "stat",
                "instant": kind == "stat",
            }
            for at, (legend, expr) in enumerate(panel["queries"].items())
        ],
        "fieldConfig": {"defaults": defaults(panel, kind), "overrides": []},
        "options": options(kind, panel.get("limits", {})),
    }


def panels() -> list[dict[str, Any]]:
    """All rows and panels, from left to right and from the top down."""
    found: list[dict[str, Any]] = []
    y = 0
    for row in yaml.safe_load(PANELS.read_text(encoding="utf-8")):
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        heading = {"id": len(found) + 1, "type": "row", "title": row["row"], "gridPos": place}
        found.append({**heading, "collapsed": False, "panels": []})
        x, y = 0, y + 1
        for panel in row["panels"]:
            width = panel.get("width", USUAL)
            if x + width > WIDTH:
                x, y = 0, y + row["height"]
            place = {"h": row["height"], "w": width, "x": x, "y": y}
            found.append(drawn(panel, len(found) + 1, place))
            x += width
        y += row["height"]
    return found


def dashboard() -> dict[str, Any]:
    """The whole; Grafana 10 takes its schema, and newer ones bring it up to theirs."""
    return {
        "uid": "circleci-relay",
        "title": "circleci-relay",
        "description": "What comes in from CircleCI, where it goes, and what waits.",
        "tags": ["circleci-relay"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 38,
        "version": 1,
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {"list": variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": panels(),
    }


def text() -> str:
    """The file as it should be."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def write() -> None:
    """Write the file if it differs."""
    wanted = text()
    if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != wanted:
        TARGET.write_text(wanted, encoding="utf-8")
        click.echo("written: helm/circleci-relay/files/dashboard.json")


if __name__ == "__main__":
    write()
