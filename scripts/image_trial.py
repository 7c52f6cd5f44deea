#!/usr/bin/env python3
"""
Run the container image as an operator would, locked down, and have it deliver a signed event.

    scripts/image_trial.py docker|podman|buildah IMAGE

Docker and Podman run it with a read-only root, no capability and no new rights. Where buildah
alone is to be had, which starts no containers, the image's files become the root directory of a
process in a mount namespace of its own: user, environment, entrypoint, read-only root and /data
are the image's; networks, capabilities and limits are not shown.
"""

from __future__ import annotations

import hmac
import http.client
import http.server
import json
import os
import queue
import re
import secrets
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
# Run by the image's own Python.
INVENTORY = (ROOT / "scripts/image_inventory.py").read_text(encoding="utf-8")
CONFIGURATION = "/etc/circleci-relay"
SECRET = "/run/secrets/circleci-webhook"  # noqa: S105 - where it lies
SAMPLE = "gh_oauth_workflow_failed"
READY_S = 60
STOP_S = 30
STRANGER = 12345
RELAY_YAML = """\
server: {{listen: "127.0.0.1:{hooks}", ops: "127.0.0.1:{ops}", admin: "127.0.0.1:{admin}"}}
store: {{url: "sqlite:////data/relay.db"}}
sources:
  circleci: {{path: /webhooks/circleci, secrets: ["${{file:/run/secrets/circleci-webhook}}"]}}
destinations:
  sink: {{url: "http://127.0.0.1:{sink}/took"}}
routes:
  everything: {{to: sink}}
"""


class Fault(Exception):  # noqa: N818 - it is what it is called
    """The image does not do what it should."""


class Runner(Protocol):
    """What runs the image: one relay, and commands beside it."""

    def start(self) -> None:
        """Begin the image's own entrypoint and command."""

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run *words* beside it, in the same files and network."""

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""

    def log(self) -> str:
        """What the relay wrote."""


def run(*words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """A command of this machine, its output caught; never without end."""
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=seconds)  # noqa: S603


def must(*words: str) -> str:
    """What a command prints, which has to succeed."""
    done = run(*words)
    if done.returncode:
        raise Fault(f"{shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


class Engine:
    """Docker or Podman."""

    def __init__(
        self, engine: str, image: str, mounts: dict[Path, str], env: dict[str, str]
    ) -> None:
        self._engine, self._image = engine, image
        self._mounts, self._env = mounts, env
        self._name = f"circleci-relay-trial-{secrets.token_hex(4)}"

    def start(self) -> None:
        """Read-only, without rights; /data is an anonymous volume, as the image makes it."""
        words = [self._engine, "run", "--detach", "--name", self._name, "--network", "host"]
        words += ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        if self._engine == "podman":
            words.append("--read-only-tmpfs=false")  # or it would put one over /tmp
        for source, target in self._mounts.items():
            words += ["--volume", f"{source}:{target}:ro"]
        for name, value in self._env.items():
            words += ["--env", f"{name}={value}"]
        must(*words, self._image)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """In the running container."""
        return run(self._engine, "exec", self._name, *words)

    def stop(self) -> int:
        """The container's own exit code: 137 would be a kill."""
        must(self._engine, "stop", "-t", str(STOP_S), self._name)
        return int(must(self._engine, "inspect", "--format", "{{.State.ExitCode}}", self._name))

    def log(self) -> str:
        """Both streams."""
        done = run(self._engine, "logs", self._name)
        return done.stdout + done.stderr

    def close(self) -> None:
        """Remove the container and its volume."""
        run(self._engine, "rm", "--force", "--volumes", self._name)


class Bare:
    """The image's files as the root of a process, by way of buildah."""

    def __init__(
        self, image: str, mounts: dict[Path, str], env: dict[str, str], work: Path
    ) -> None:
        os.environ.setdefault("BUILDAH_ISOLATION", "chroot")
        os.environ.setdefault("STORAGE_DRIVER", "vfs")
        held = json.loads(must("buildah", "inspect", "--type", "image", image))
        self._config = held["OCIv1"]["config"]
        self._container = must("buildah", "from", "--pull-never", image)
        self._root = Path(must("buildah", "mount", self._container))
        self._mounts = mounts
        self._env = [*self._config["Env"], *(f"{name}={value}" for name, value in env.items())]
        self._output = work / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The very process is the relay: nothing stands between it and a signal."""
        words = [*self._config["Entrypoint"], *self._config["Cmd"]]
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603
                self._inside(*words), stdout=output, stderr=subprocess.STDOUT
            )

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """In a namespace of its own, over the same files."""
        return run(*self._inside(*words))

    def stop(self) -> int:
        """Of the process itself."""
        if self._process is None:
            raise Fault("it was not started")
        self._process.terminate()
        return self._process.wait(STOP_S)

    def log(self) -> str:
        """Both streams."""
        return self._output.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End the process if it is still there, and remove the files."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        run("buildah", "umount", self._container)
        run("buildah", "rm", self._container)

    def _inside(self, *words: str) -> list[str]:
        """What binds the mounts, makes the root read-only, drops root, and runs *words*."""
        root = shlex.quote(str(self._root))
        lines = ["set -e", "mount --make-rprivate /", f"mount --bind {root} {root}"]
        lines += [f"mount --bind {root}{each} {root}{each}" for each in self._config["Volumes"]]
        for source, target in self._mounts.items():
            at = root + shlex.quote(target)
            make = "mkdir -p" if source.is_dir() else f"mkdir -p $(dirname {at}) && touch"
            lines += [f"{make} {at}", f"mount --bind {shlex.quote(str(source))} {at}"]
            lines += [f"mount -o remount,bind,ro {at}"]
        lines += [f"mount -t proc proc {root}/proc", f"mount -o remount,bind,ro {root}"]
        user = self._config["User"]
        lines.append(
            f"exec setpriv --no-new-privs chroot --userspec={user} --groups= {root} "
            f"/usr/bin/env -i {shlex.join(self._env)} "
            f'/bin/sh -c \'cd "$0" && exec "$@"\' {self._config["WorkingDir"]} {shlex.join(words)}'
        )
        return ["unshare", "--mount", "sh", "-c", "\n".join(lines)]


@contextmanager
def sink() -> Iterator[tuple[int, queue.Queue[tuple[str, bytes]]]]:
    """A receiver on this machine: its port, and what it took."""
    took: queue.Queue[tuple[str, bytes]] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            took.put((self.headers.get("circleci-signature", ""), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, took
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in held]


def wait_until_ready(port: int) -> None:
    """Until /readyz says so."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            link.request("GET", "/readyz")
            if link.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        finally:
            link.close()
        time.sleep(0.05)
    raise Fault(f"not ready within {READY_S} s")


def health_check() -> list[str]:
    """The command of the Dockerfile's HEALTHCHECK."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.MULTILINE)
    if found is None:
        raise Fault("the Dockerfile has no HEALTHCHECK in exec form")
    words: list[str] = json.loads(found[1])
    return words


def said(what: str, done: subprocess.CompletedProcess[str], *, code: int = 0) -> str:
    """What a command printed, which has to end with *code*."""
    if done.returncode != code:
        raise Fault(f"{what} ended with {done.returncode}: {done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


def show(text: str, began: float | None = None) -> None:
    """One line of what was shown, and how long it took."""
    spent = f" ({time.monotonic() - began:.2f} s)" if began is not None else ""
    print(f"image: {text}{spent}", flush=True)  # noqa: T201


def trial(relay: Runner, ops: int, secret: bytes, took: queue.Queue[tuple[str, bytes]]) -> None:
    """What an operator expects, in the order it happens."""
    began = time.monotonic()
    relay.start()
    wait_until_ready(ops)
    show("ready: uid 10001, read-only root, nothing but /data to write", began)

    held = said("the inventory", relay.command("python", "-I", "-c", INVENTORY))
    show(f"{held}; no pip, no compiler, no setuid file")
    show(said("check", relay.command("circleci-relay", "check", "--strict")).splitlines()[-1])

    began = time.monotonic()
    said("the health check", relay.command(*health_check()))
    show("the health check says healthy", began)

    answer = said("send", relay.command("circleci-relay", "send", SAMPLE))
    show(answer.splitlines()[-1])
    if "202" not in answer:
        raise Fault(f"not answered 202: {answer}")
    signature, body = took.get(timeout=20)
    expected = "v1=" + hmac.new(secret, body, "sha256").hexdigest()
    if not hmac.compare_digest(signature, expected):
        raise Fault("what the sink got is not what was signed")
    kept = json.loads(body)
    show(f"delivered as it was signed: {kept['type']} {kept['id']}")
    [event] = re.findall(r'"event": "(\w+)"', answer)
    listed = said("deliveries", relay.command("circleci-relay", "deliveries", "--json"))
    if event not in listed:
        raise Fault(f"{event} is not among the deliveries: {listed}")
    show("the relay's own list of deliveries has it")

    began = time.monotonic()
    code = relay.stop()
    if code:
        raise Fault(f"SIGTERM ended it with {code}")
    show("SIGTERM ended it with 0", began)


def main(engine: str, image: str) -> int:
    """0 if all of it was shown."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.chmod(0o755)
        port, took = stack.enter_context(sink())
        hooks, ops, admin = free_ports(3)
        directory = work / "etc"
        directory.mkdir()
        text = RELAY_YAML.format(hooks=hooks, ops=ops, admin=admin, sink=port)
        (directory / "relay.yaml").write_text(text, encoding="utf-8")
        secret = secrets.token_urlsafe(32).encode()
        (work / "secret").write_bytes(secret)
        for path in (directory, directory / "relay.yaml", work / "secret"):
            path.chmod(0o755)  # whatever the umask
            if os.geteuid() == 0:
                os.chown(path, STRANGER, STRANGER)  # as where a person runs this
        mounts = {directory: CONFIGURATION, work / "secret": SECRET}
        env = {"HEALTH_ADDRESS": f"127.0.0.1:{ops}"}
        relay: Engine | Bare
        if engine == "buildah":
            relay = Bare(image, mounts, env, work)
        else:
            relay = Engine(engine, image, mounts, env)
        stack.callback(relay.close)
        try:
            trial(relay, ops, secret, took)
        except (Fault, queue.Empty, subprocess.TimeoutExpired) as fault:
            print(f"image: {str(fault) or type(fault).__name__}\n{relay.log()}", file=sys.stderr)  # noqa: T201
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
