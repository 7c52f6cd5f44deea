"""The real Alertmanager: started once, on a loopback port, ended for sure."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

PATIENCE = 20.0
"""Seconds for a start, and for what it does by and by."""

_LISTENS = re.compile(r'msg="?Listening on"? address=(127\.0\.0\.1:[0-9]+)')
_TOOLS = Path(__file__).parents[2] / ".tools"

_CONFIG = """
global: {{resolve_timeout: 1s}}
route:
  receiver: none
  group_by: [project, branch]
  group_wait: 1ms
  group_interval: 50ms
  routes: [{{receiver: people, matchers: ['branch = "{branch}"']}}]
receivers:
  - name: none
  - {{name: people, webhook_configs: [{{url: "{hook}", send_resolved: true}}]}}
"""
"""With so short a timeout, what stays firing does so by its own `endsAt`."""

# Whatever becomes of us, our end of its standard input is closed: then it goes too.
_KEEPER = '"$@" </dev/null >>"$0" 2>&1 & read -r _; kill $! 2>&-; wait $!'


def find() -> str | None:
    """Return the path of the program, if it is here; `scripts/alertmanager` fetches it."""
    return shutil.which("prometheus-alertmanager") or shutil.which("alertmanager", path=str(_TOOLS))


class Alertmanager:
    """One that runs while its block does."""

    def __init__(self, program: str, folder: Path, hook: str, branch: str) -> None:
        """Prepare to run *program* in *folder*; it tells *hook* of the alerts of *branch*."""
        self._config = _CONFIG.format(hook=hook, branch=branch)
        self._program = program
        self._folder = folder
        self._log = folder / "log"
        self.url = ""

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        config = self._folder / "alertmanager.yml"
        config.write_text(self._config)
        self._process = subprocess.Popen(  # noqa: S603 - what was found in PATH or .tools
            [
                "/bin/sh",
                "-c",
                _KEEPER,
                str(self._log),
                self._program,
                f"--config.file={config}",
                f"--storage.path={self._folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
            ],
            stdin=subprocess.PIPE,
            cwd=_TOOLS if self._program.startswith(str(_TOOLS)) else None,  # its templates
        )
        self.until(self._ready)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)

    def ask(self, path: str, /, body: bytes | None = None, **query: str) -> Any:
        """Return the parsed answer to a GET, or to a POST of *body*; fail on any error."""
        request = urllib.request.Request(  # noqa: S310 - always http
            f"{self.url}{path}?{urllib.parse.urlencode(query)}",
            data=body,
            headers={"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
                said = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code}: {error.read().decode()}") from error
        return json.loads(said) if said.startswith((b"[", b"{")) else said.decode()

    def take(self, body: bytes) -> None:
        """Send it alerts, as the relay would."""
        self.ask("/api/v2/alerts", body)

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """Return the alerts that are firing with these labels, silenced or not."""
        found = self.ask("/api/v2/alerts")
        return [each for each in found if labels.items() <= each["labels"].items()]

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds."""
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, self._log.read_text()[-4096:]
            time.sleep(0.02)

    def _ready(self) -> bool:
        said = self._log.read_text() if self._log.exists() else ""
        found = _LISTENS.search(said)
        if found is None:
            return False
        self.url = f"http://{found[1]}"
        return bool(self.ask("/-/ready"))
