"""The dashboard that comes with the chart: fresh, whole, and of metrics that are there."""

from __future__ import annotations

import json
import re
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from support import promql
from support.documents import anchors

ROOT = Path(__file__).parents[2]
FILE = ROOT / "helm" / "circleci-relay" / "files" / "dashboard.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
BUILT_IN = {"__all", "__rate_interval"}


@pytest.fixture(scope="module")
def dashboard() -> Any:
    """The file, parsed."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_it_is_fresh() -> None:
    """The file is what its generator makes of dashboard.yaml."""
    wanted = runpy.run_path(str(ROOT / "scripts" / "dashboard.py"))["text"]()
    stale = f"{FILE.name} is stale: run `make docs`"
    assert FILE.read_text(encoding="utf-8") == wanted, stale


def test_every_panel_is_whole(dashboard: Any) -> None:
    """Each has an id, a place that no other has, words, a unit, and a link that leads somewhere."""
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        for anchor in re.findall(r"docs/runbook\.md#(\S+)", panel["description"]):
            assert anchor in anchors(RUNBOOK)
    for one, other in combinations((panel["gridPos"] for panel in panels), 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_what_it_names_is_there(dashboard: Any) -> None:
    """Each metric is served, each variable defined, by what is served; each choice is used."""
    known = promql.served()
    choices = {each["name"]: each for each in dashboard["templating"]["list"]}
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    assert len(queries) > 40
    for expr in queries:
        found = promql.names(expr)
        assert found, expr
        assert found <= known, found - known
    for each in choices.values():
        if each["type"] == "query":
            metric = re.match(r"label_values\(([a-z_]+)", each["definition"])
            assert metric
            assert metric[1] in known
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard)))
    assert used == choices.keys() | BUILT_IN
