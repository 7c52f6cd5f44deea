"""The script of docs/how-to/put-it-on-circleci.md, run against a stand-in of CircleCI's API."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "put-it-on-circleci.md"
PROJECTS = {"gh/acme/api": "id-of-api", "circleci/9x/8y": "id-of-web"}


MADE: list[dict[str, Any]] = []


class Api(BaseHTTPRequestHandler):
    """Knows two projects, and keeps the webhooks that are made for them."""

    def do_GET(self) -> None:
        """Answer for a project, or with its webhooks."""
        assert self.headers["circle-token"] == "made-up-token"
        slug = self.path.removeprefix("/project/")
        if slug in PROJECTS:
            self._answer(200, {"id": PROJECTS[slug], "name": f"My {PROJECTS[slug]}"})
        elif "scope-id=" in self.path:
            mine = [each for each in MADE if each["scope"]["id"] in self.path]
            self._answer(200, {"items": mine, "next_page_token": None})
        else:
            self._answer(404, {"message": "Project not found"})

    def do_POST(self) -> None:
        """Make a webhook."""
        MADE.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(201, {"id": "w"})

    def _answer(self, status: int, what: object) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="needs curl and jq")
def test_each_project_gets_one_webhook(tmp_path: Path) -> None:
    """Each gets a secret of its own that the relay holds too; a second run changes nothing."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (tmp_path / "projects.txt").write_text("".join(f"{slug}\n" for slug in PROJECTS))
    found = re.search(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = found[1].replace("/run/secrets/circleci", str(secrets))
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        environment = {
            "PATH": os.environ["PATH"],
            "CIRCLE_TOKEN": "made-up-token",
            "CIRCLECI_API": f"http://127.0.0.1:{server.server_port}",
        }
        for _ in range(2):
            subprocess.run(  # noqa: S603
                ["bash", "-c", script],  # noqa: S607
                cwd=tmp_path,
                env=environment,
                check=True,
                capture_output=True,
            )
        server.shutdown()
    made = {each["scope"]["id"]: each for each in MADE}
    assert len(MADE) == len(PROJECTS) == len(made)
    for name, webhook in made.items():
        file = secrets / f"my-{name}"
        assert webhook["signing-secret"] == file.read_text().strip()
        assert webhook["url"].endswith(f"/webhooks/projects/{file.name}")
        assert webhook["verify-tls"] is True
        assert file.stat().st_mode & 0o077 == 0
