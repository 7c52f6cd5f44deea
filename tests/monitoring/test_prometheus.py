"""A real Prometheus scrapes a real relay: every query of the rules and the dashboard has data."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import yaml

from support import promql
from support.program import Program, an_event, circleci, running, write_config
from support.prometheus import Prometheus, find, prometheus
from support.receiver import Receiver, answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.receiver import Answer

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "circleci-relay" / "files"
EXAMPLE = ROOT / "examples" / "prometheus" / "prometheus.yml"
PROGRAM = find("prometheus")
CHOSEN = {
    "namespace": "ci",
    "job": "circleci-relay",
    "source": "circleci",
    "destination": ".*",
    "__rate_interval": "1m",
}


def a_relay(folder: Path, healthy: str, gone: str) -> Path:
    """Write a relay.yaml with destinations that do well, refuse, are away, and are paused."""
    return write_config(
        folder,
        sources={"circleci": {"path": "/webhooks/circleci", "secrets": ["first", "second"]}},
        destinations={
            "healthy": {"url": healthy},
            "gone": {"url": gone},
            "away": {"url": "http://127.0.0.1:1/", "retry": {"initial": "10ms"}},
            "paused": {"url": healthy, "paused": True},
        },
        routes={
            "main": {"match": {"branch": "main"}, "to": ["healthy", "gone", "away", "paused"]},
        },
    )


def a_prometheus(folder: Path, target: str) -> Path:
    """Write the example's configuration, made quick and pointed at *target*."""
    config = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    quick = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config["global"] |= quick
    [static] = config["scrape_configs"][0]["static_configs"]
    static |= {"targets": [target], "labels": {"namespace": CHOSEN["namespace"]}}
    shutil.copy(CHART / "rules.yaml", folder / config["rule_files"][0])
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def queries() -> set[str]:
    """What must have data: queries and choices of the dashboard, what is recorded and looked at."""
    found: set[str] = set()
    dashboard = json.loads((CHART / "dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        found |= {filled_in(target["expr"]) for target in panel.get("targets", ())}
    for each in dashboard["templating"]["list"]:
        if each["type"] == "query":
            choice = re.fullmatch(r"label_values\((.+), (\w+)\)", each["definition"])
            assert choice
            found.add(f"group by ({choice[2]}) ({filled_in(choice[1])}) > 0")
    rules = [rule for group in groups() for rule in group["rules"]]
    found |= {rule["record"] for rule in rules if "record" in rule}
    # Alerts say something only when they fire: what they look at must be there all the same.
    asked = [*found, *(rule["expr"] for rule in rules)]
    found |= {each for expr in asked for each in promql.selectors(expr)}
    return {each for each in found if not each.startswith("ALERTS{")}


def groups() -> Any:
    """The rules' groups."""
    return yaml.safe_load((CHART / "rules.yaml").read_text(encoding="utf-8"))["groups"]


def filled_in(expr: str) -> str:
    """*expr* with what is chosen in place of variables."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: CHOSEN[match[1]], expr)


async def happen(program: Program) -> None:
    """Have events come in, stay out, and go wrong."""
    async with circleci(program) as sender:
        for number in range(3):
            status, _ = await sender.post(an_event(number), secret=("first", "second")[number % 2])
            assert status == 202
        dev = {"pipeline": {"id": "p", "number": 1, "vcs": {"branch": "dev"}}}
        assert (await sender.post(an_event(9, **dev), secret="first"))[0] == 202
        assert (await sender.post(an_event(9), secret="wrong"))[0] == 401
        sender.url = program.url("listen", "/webhooks/nowhere")
        assert (await sender.post(an_event(9), secret="first"))[0] == 404


async def check_rules(server: Prometheus) -> None:
    """Fail unless every rule was evaluated without an error."""
    found = [rule for group in (await server.ask("rules"))["groups"] for rule in group["rules"]]
    assert len(found) == sum(len(group["rules"]) for group in groups())
    wrong = [rule for rule in found if rule["health"] != "ok" or rule.get("lastError")]
    assert not wrong


async def receiving(answers: Sequence[Answer]) -> tuple[asyncio.Server, str]:
    """Start a receiver, and return it with its URL."""
    made = Receiver(list(answers))
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    return server, made.url()


@pytest.mark.skipif(
    PROGRAM is None, reason="prometheus is neither in PATH nor in .tools/: see scripts/prometheus"
)
async def test_every_query_has_data(tmp_path: Path) -> None:
    """The example's configuration, the chart's rules and dashboard, on what a relay serves."""
    healthy, gone = await receiving([answer(200)]), await receiving([answer(410)])
    async with (
        healthy[0],
        gone[0],
        aiohttp.ClientSession() as session,
        running(a_relay(tmp_path, healthy[1], gone[1])) as program,
    ):
        target = program.url("ops").removeprefix("http://")
        assert PROGRAM is not None
        config = a_prometheus(tmp_path, target)
        async with prometheus(PROGRAM, config, session) as server:
            # What happens from the first scrape on is an increase.
            await server.until_answered({"circleci_relay_ready == 1"})
            await happen(program)
            await program.log("attempt", 3, destination="gone", then="dead")
            await server.until_answered(queries())
            await check_rules(server)
