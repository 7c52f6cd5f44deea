"""The configuration that the chart gives the relay: as it was written, and without a fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st

from circleci_relay import config
from circleci_relay.cli import main
from circleci_relay.reload import needs_restart
from support import chart_cases
from support.chart_cases import ADMIN, POSTGRESQL, RELAY_YAML, merged, release
from support.helm import Values, helm

if TYPE_CHECKING:
    from pathlib import Path

    from circleci_relay.config.load import Loaded
    from support.helm import Release

HARD = """\
# {{ .Values.config }} {{- fail "no" }} {{ `x` }} $HOME ${env:HOME} $$ $(NAME) \\ \\n %s
x-odd:
  version: 1.10
  no: yes
  on: off
  time: 12:30:45
  date: 2026-11-22
  exp: 1e3
  octal: 0777
  tab: "a\tb"\t
  anchor: &a {b: c}
  alias: *a
  trailing: x   \n  unicode: "é 日本語 🚦 \u2028 \u00a0 \u200b"
  block: |+
    text

    ---
    ...

  html: "<a href='&amp;'>"
"""
TEXT = st.text(
    st.one_of(
        st.sampled_from("{}$%#&*!|>'\"@`:,-?[]\\<= \t\n\r\u2028\u0085\u00a0\ufeff"),
        st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=0xFFFD),
        st.characters(min_codepoint=0x10000, max_codepoint=0x1F9FF, exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@settings(max_examples=15, deadline=None, database=None)
@given(text=TEXT)
@example(text=HARD)
@example(text=HARD.replace("\n", "\r\n"))
@example(text="a: b\n\n\n")
@example(text="  a: b")
@example(text="\ta: b  ")
@example(text="a\u2028b: c\n\u2029d\x85e\ufefff")
@example(text="1.10")
@example(text="no")
@example(text="{{ .Release.Name }}")
def test_relay_yaml_arrives_as_it_is(text: str) -> None:
    """Byte for byte, whatever stands in it; and so do the files beside it."""
    found = helm().render({"config": f"#\n{text}", "configFiles": {"a.yaml": text, "z.yaml": text}})
    files = found.files()
    assert files["relay.yaml"] == f"#\n{text}"
    assert files["a.yaml"] == files["z.yaml"] == text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a pod's files."""
    return tmp_path_factory.mktemp("etc")


def loaded(found: Release, folder: Path) -> Loaded:
    """Return what the program makes of the pod's files; where relay.yaml is not ours, with one."""
    for old in folder.iterdir():
        old.unlink()
    for name, text in ({"relay.yaml": RELAY_YAML} | found.files()).items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return config.load([folder], env={}, secrets=False)


def test_the_program_takes_what_every_case_makes(folder: Path) -> None:
    """No case's files have a fault; only a relay.yaml without destinations is warned of."""
    releases, _ = chart_cases.rendered()
    alike = {str(found.files()): (title, found) for title, found in releases.items()}
    for title, found in alike.values():
        told = [str(each) for each in loaded(found, folder).warnings]
        routed = "routes" in found.files().get("relay.yaml", "")
        assert not routed or told == [], title
    loaded(release("routes"), folder)
    verb = ["check", "--strict", "--no-secrets", "-c", str(folder)]
    said = CliRunner().invoke(main, verb)
    assert said.exit_code == 0, said.output


def test_values_become_settings(folder: Path) -> None:
    """Each value about the relay itself is what the program then goes by."""
    values = merged(
        ADMIN,
        POSTGRESQL,
        {
            "config": RELAY_YAML,
            "store": {"keep": "30d"},
            "shutdown": {"linger": "7s", "drain": "45s", "flush": "2m"},
            "hooks": {"tls": {"existingSecret": "own-tls"}},
        },
    )
    found = helm().render(values, name="relay", namespace="ci")
    server = (had := loaded(found, folder).config).server
    assert [str(server.listen), str(server.ops), str(server.admin)] == [
        "0.0.0.0:8080",
        "0.0.0.0:8081",
        "0.0.0.0:8082",
    ]
    stop = server.shutdown
    assert (stop.linger, stop.drain, stop.flush) == (7, 45, 120)
    assert server.external_url == "https://relay.example.com"
    assert {name: each.role for name, each in server.admin_tokens.items()} == {
        "ci-team": "operator",
        "wall": "viewer",
    }
    assert server.tls is not None
    assert had.store.keep == 30 * 86400
    assert "${env:" in found.files()["chart.yaml"]
    [service] = [
        each["metadata"]["name"]
        for each in found.all("Service")
        if each["spec"]["ports"][0]["targetPort"] == "admin"
    ]
    assert {service, f"{service}.ci", f"{service}.ci.svc"} <= set(server.admin_hosts)


def test_without_admin_the_page_is_for_the_pod_alone(folder: Path) -> None:
    """It listens at loopback, where `kubectl port-forward` reaches it and nobody else does."""
    server = loaded(release("default"), folder).config.server
    assert str(server.admin) == "127.0.0.1:8082"
    assert server.shutdown.linger == 5
    assert "linger: 5s" in release("default").files()["chart.yaml"]
    assert server.admin_tokens == {}
    assert str(loaded(release("default"), folder).config.store.url) == "sqlite:////data/relay.db"


def test_chart_yaml_and_relay_yaml_go_together(folder: Path) -> None:
    """What else relay.yaml says of the server and the store is kept beside what the chart says."""
    text = f"server: {{max_body: 2MiB}}\n{RELAY_YAML}"
    found = helm().render({"config": text})
    assert loaded(found, folder).config.server.max_body == 2 << 20


CHANGES: tuple[Values, ...] = (
    {"config": RELAY_YAML},
    {"configFiles": {"team.yaml": "routes: {}\n"}},
    {"listenAddress": "::"},
    {"store": {"keep": "30d"}},
    ADMIN,
    merged(ADMIN, {"admin": {"externalUrl": "https://other.example.com"}}),
    POSTGRESQL,
    {"metrics": {"serviceMonitor": {"enabled": True}}},
    {"hooks": {"service": {"port": 8000}}},
    {"ingress": {"enabled": True, "hosts": ["relay.example.com"]}},
)


def test_pods_are_replaced_only_where_the_program_needs_it(folder: Path) -> None:
    """A change that the program takes up while it runs changes nothing in the pod's template."""
    before = helm().render()
    running = loaded(before, folder).config
    for change in CHANGES:
        after = helm().render(change)
        restart = needs_restart(running, loaded(after, folder).config)
        replaced = _template(after) != _template(before)
        assert replaced == bool(restart), f"{change}: {restart}"
    one, other = (merged(ADMIN, {"store": {"keep": keep}}) for keep in ("7d", "8d"))
    assert _template(helm().render(one)) == _template(helm().render(other))


def _template(found: Release) -> Any:
    return yaml.safe_dump(found.template())


def test_an_upgrade_changes_nothing_that_kubernetes_forbids_to_change() -> None:
    """A workload's selector and a StatefulSet's claims are the same, whatever else is."""
    before = helm().render()
    changed = {
        "podLabels": {"a": "b"},
        "commonLabels": {"c": "d"},
        "commonAnnotations": {"e": "f"},
        "image": {"tag": "9.9.9"},
        "annotations": {"g": "h"},
    }
    after = helm().render(merged(changed, ADMIN))
    fixed = ("selector", "serviceName", "volumeClaimTemplates", "podManagementPolicy")
    for key in fixed:
        assert before.workload()["spec"].get(key) == after.workload()["spec"].get(key), key
    assert before.workload()["metadata"]["name"] == after.workload()["metadata"]["name"]
