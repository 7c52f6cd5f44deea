"""The real program on the files that the chart gives it: what Kubernetes asks of it is answered."""

from __future__ import annotations

import asyncio
import base64
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from support.chart_cases import ADMIN, MONITORING, RELAY_YAML, merged
from support.helm import Release, helm
from support.program import SECRET, an_event, circleci, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = merged(
    ADMIN,
    MONITORING,
    {
        "config": RELAY_YAML,
        "secrets": {"files": [], "insecure": {"circleci-webhook-secret": SECRET}},
    },
)
LISTENERS = {"hooks": "listen", "ops": "ops", "admin": "admin"}
TOKEN = "a-token-of-at-least-twenty-characters"


def lay_out(release: Release, root: Path) -> Path:
    """Write what the pod finds below *root*; ports are the system's to choose."""
    [secret] = release.all("Secret")
    written = {
        "circleci-relay": {k: base64.b64decode(v) for k, v in secret["data"].items()},
        "circleci-relay-admin": {"ci-team": TOKEN.encode(), "wall-token": TOKEN[::-1].encode()},
    }
    for folder, files in written.items():
        (root / "run/secrets" / folder).mkdir(parents=True)
        for name, content in files.items():
            (root / "run/secrets" / folder / name).write_bytes(content)
    (root / "data").mkdir()
    (root / "etc").mkdir()
    for name, text in release.files().items():
        for port in LISTENERS:
            text = text.replace(f"0.0.0.0:{release.port(port)}", "127.0.0.1:0")  # noqa: PLW2901 - it becomes ours
        for place in ("/run/secrets/", "/data/"):
            text = text.replace(place, f"{root}{place}")  # noqa: PLW2901
        (root / "etc" / name).write_text(text, encoding="utf-8")
    return root / "etc"


async def test_the_program_answers_as_the_chart_expects(tmp_path: Path) -> None:
    """Probes, metrics, a signed event, the page under its Service's name, and `helm test`."""
    release = helm().render(VALUES)
    async with (
        running(lay_out(release, tmp_path)) as program,
        aiohttp.ClientSession() as session,
        circleci(program) as sender,
    ):
        relay = release.relay()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = relay[probe]["httpGet"]
            async with session.get(program.url(LISTENERS[asked["port"]], asked["path"])) as answer:
                assert answer.status == 200, probe
        [endpoint] = release.one("ServiceMonitor")["spec"]["endpoints"]
        async with session.get(program.url("ops", endpoint["path"])) as answer:
            assert "circleci_relay_build_info{" in await answer.text()
        status, _ = await sender.post(an_event())
        assert status == 202
        service = release.one("Service", "-admin")["metadata"]["name"]
        for host, wanted in (
            (service, 200),
            (f"{service}.ci.svc.cluster.local:8082", 200),
            ("relay.example.com", 200),
            ("elsewhere.example.com", 403),
        ):
            headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
            url = program.url("admin", "/api/v1/config")
            async with session.get(url, headers=headers) as answer:
                assert answer.status == wanted, host
        ended, said = await _helm_test(release, program.url)
        assert ended == 0, said


@pytest.mark.parametrize(
    ("ready", "refusal"), [(200, {"message": "Not Found"}), (503, {"error": "no such path"})]
)
async def test_helm_test_fails_where_the_relay_is_not(ready: int, refusal: dict[str, str]) -> None:
    """Neither another server that is ready will do, nor a relay that is not."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/readyz":
            return web.Response(status=ready)
        return web.json_response(refusal, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        url = str(server.make_url(""))
        status, said = await _helm_test(
            helm().render(VALUES), lambda _, path: f"{url.rstrip('/')}{path}"
        )
    assert status != 0, said
    assert "answers hooks" not in said


AT_ONCE = "import time; time.sleep = lambda _: None\n"


async def _helm_test(release: Release, url: Callable[[str, str], str]) -> tuple[int | None, str]:
    """Run what the test's pod runs, its Services leading to *url*; return its status, and words."""
    [container] = release.one("Pod")["spec"]["containers"]
    python, option, script = container["command"]
    assert (python, option) == ("python", "-c")
    environment = {}
    for each in container["env"]:
        asked = urlsplit(each["value"])
        service = release.one("Service", asked.hostname or "")
        [port] = service["spec"]["ports"]
        assert port["port"] == (asked.port or 80)
        environment[each["name"]] = url(LISTENERS[port["targetPort"]], asked.path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        option,
        AT_ONCE + script,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()
