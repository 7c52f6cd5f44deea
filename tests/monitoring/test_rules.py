"""The rules that come with the chart: valid, tested by promtool, told of in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support import promql
from support.documents import slug
from support.prometheus import find

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RULES = ROOT / "helm" / "circleci-relay" / "files" / "rules.yaml"
EXAMPLE = ROOT / "examples" / "prometheus" / "prometheus.yml"
RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS = {
    "RelayDown",
    "RelayIngestRejecting",
    "RelayNotStoring",
    "RelayBacklogGrowing",
    "RelayDestinationFailing",
    "RelayDestinationPaused",
    "RelayDeadLetters",
    "RelayStoreSlow",
    "RelayStoreFillingUp",
    "RelayReloadFailed",
    "RelayRestartRequired",
    "RelayNoEvents",
}

PROMTOOL = find("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is neither in PATH nor in .tools/: see scripts/prometheus"
)


def rules() -> list[dict[str, Any]]:
    """Every rule, in the order of the file."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def promtool(*arguments: object) -> None:
    """Fail with what promtool says unless it finds nothing wrong."""
    run = subprocess.run(  # noqa: S603 - what was found in PATH or .tools
        [str(PROMTOOL), *map(str, arguments)], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


def squeezed() -> dict[str, Any]:
    """`RelayNoEvents` and what it needs, each of their durations a twelfth."""
    seconds = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

    def twelfth(text: str) -> str:
        spans = re.sub(
            r"\b(\d+)([mhdw])\b", lambda span: f"{int(span[1]) * seconds[span[2]] // 12}s", text
        )
        for plain, short in (("4 * 3600", "1200"), ("86400", "7200")):
            assert (plain in spans) == (plain in text)
            spans = spans.replace(plain, short)
        return spans

    wanted = [rule for rule in rules() if "max4h" in rule["expr"] + rule.get("record", "")]
    found = [
        rule | {key: twelfth(rule[key]) for key in ("expr", "for") if key in rule}
        for rule in wanted
    ]
    return {"groups": [{"name": "squeezed", "rules": found}]}


@needs_promtool
def test_promtool_finds_nothing(tmp_path: Path) -> None:
    """The file and the example's configuration are valid; each case of the alerts holds."""
    shutil.copy(RULES, tmp_path / "circleci-relay.rules.yaml")
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(HERE / "week_test.yaml", tmp_path)
    (tmp_path / "squeezed.yaml").write_text(yaml.safe_dump(squeezed()), encoding="utf-8")
    promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    promtool("check", "config", tmp_path / EXAMPLE.name)
    promtool("test", "rules", HERE / "rules_test.yaml")
    promtool("test", "rules", tmp_path / "week_test.yaml")


def test_each_alert_is_whole() -> None:
    """Those that are promised are there, with a case each, and say what and how bad it is."""
    cases = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("*_test.yaml"))
    found = [rule for rule in rules() if "alert" in rule]
    assert {rule["alert"] for rule in found} == ALERTS
    for rule in found:
        assert f'alertname="{rule["alert"]}"' in cases or f"alertname: {rule['alert']}" in cases
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert "for" in rule


def test_the_runbook_has_each_alert() -> None:
    """A link into the runbook finds the alert's section, which names it; none is left over."""
    sections = dict(
        re.findall(r"^## (.+)\n\n(.+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    )
    titles = {slug(title): title for title in sections}
    for rule in (rule for rule in rules() if "alert" in rule):
        file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", rule["alert"]).lower()
        assert (file, anchor) == ("docs/runbook.md", words)
        assert f"`{rule['alert']}`" in sections[titles[anchor]]
    told = set(re.findall(r"`(Relay[A-Z]\w+)`", RUNBOOK.read_text(encoding="utf-8")))
    assert told == ALERTS


def test_what_rules_name_is_there() -> None:
    """Each metric is one that a relay serves, or that a rule before it records."""
    known = promql.served()
    for rule in rules():
        found = promql.names(rule["expr"])
        assert found
        assert found <= known, found - known
        if "record" in rule:
            assert re.fullmatch(r"circleci_relay:[a-z_]+:[a-z0-9_]+", rule["record"])
            known.add(rule["record"])
