"""What the chart hands to the Prometheus operator and to Grafana is what lies in its files."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support import chart_cases
from support.chart_cases import merged, release
from support.helm import CHART, helm
from support.prometheus import find

if TYPE_CHECKING:
    from pathlib import Path

    from support.helm import Release

RULES = CHART / "files" / "rules.yaml"
ON = {"metrics": {"prometheusRule": {"enabled": True}}}


def groups_of_file() -> list[Any]:
    """Return the groups of the plain rule file."""
    groups: list[Any] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return groups


def alerts(groups: list[Any]) -> dict[str, Any]:
    """Return the alerts of *groups* by name."""
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_rules_are_those_of_the_file() -> None:
    """Every group and rule, none of it run through a template."""
    found = helm().render(ON).one("PrometheusRule")["spec"]["groups"]
    assert found == groups_of_file()
    assert any("{{" in json.dumps(rule) for rule in alerts(found).values())


def test_rules_link_to_the_runbook_that_is_named_and_leave_out_what_is_disabled() -> None:
    """Only the part before `#` is replaced; a disabled alert is gone, all else is there."""
    found = release("monitoring").one("PrometheusRule")["spec"]["groups"]
    wanted = groups_of_file()
    for group in wanted:
        group["rules"] = [rule for rule in group["rules"] if rule.get("alert") != "RelayNoEvents"]
    for rule in (rule for group in wanted for rule in group["rules"] if "alert" in rule):
        anchor = rule["annotations"]["runbook_url"].partition("#")[2]
        rule["annotations"]["runbook_url"] = f"https://wiki.example.com/relay#{anchor}"
    assert "RelayNoEvents" in alerts(groups_of_file())
    assert found == wanted


def test_disabling_every_alert_leaves_the_recorded() -> None:
    """No empty group is left, and an alert that is not there may be disabled too."""
    names = [*alerts(groups_of_file()), "RelayNoSuch"]
    values = merged(ON, {"metrics": {"prometheusRule": {"disabled": names}}})
    found = helm().render(values).one("PrometheusRule")["spec"]["groups"]
    assert not alerts(found)
    assert all(group["rules"] for group in found)


def test_the_alert_for_a_relay_that_is_down_knows_its_job() -> None:
    """Prometheus names the job by the Service, or by the namespace and the PodMonitor."""
    asked = 0
    for title, each in chart_cases.rendered()[0].items():
        for rule in each.all("PrometheusRule"):
            expr = alerts(rule["spec"]["groups"])["RelayDown"]["expr"]
            for pattern in re.findall(r'job=~"([^"]+)"', expr):
                for job in _jobs(each):
                    asked += 1
                    assert re.fullmatch(pattern, job), f"{title}: {job}"
    assert asked > 3


def _jobs(found: Release) -> list[str]:
    home = found.values.get("namespaceOverride", found.namespace)
    services = [
        each["metadata"]["name"]
        for each in found.all("Service")
        if each["spec"]["ports"][0]["targetPort"] == "ops" and found.all("ServiceMonitor")
    ]
    pods = [f"{home}/{each['metadata']['name']}" for each in found.all("PodMonitor")]
    return services + pods


def test_the_dashboard_is_that_of_the_file() -> None:
    """It lies where Grafana's sidecar looks, with the labels that it looks for."""
    found = release("monitoring").one("ConfigMap", "dashboard")
    [(name, text)] = found["data"].items()
    assert name.endswith(".json")
    file = (CHART / "files" / "dashboard.json").read_text(encoding="utf-8")
    assert text == file
    assert json.loads(text)["title"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["namespace"] == "grafana"


def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    """Prometheus reads what the chart makes."""
    promtool = find("promtool")
    if promtool is None:
        pytest.skip("promtool is not here")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(release("monitoring").one("PrometheusRule")["spec"]))
    run = subprocess.run(  # noqa: S603
        [promtool, "check", "rules", str(file)], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
