"""`send --to DESTINATION`: one marked message by the path that all messages take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from circleci_relay.cli import main
from support.brokers import Redis
from support.heard import Heard, heard

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "marked-token-value"

RELAY_YAML = """\
sources:
  circleci: {{path: /hook, secrets: [0123456789abcdef]}}
destinations:
  raw:
    url: "{url}/marked-path-of-a-hook"
    headers: {{authorization: "Bearer ${{env:TOKEN}}"}}
  chat:
    url: "{url}/{{{{ branch }}}}"
    body:
      template:
        title: "{{{{ title }}}}"
        subject: "{{{{ subject }}}}"
        test: "{{{{ test }}}}"
        all: "{{{{ events | map(attribute='change') | list }}}}"
  broken: {{url: "{url}/", body: {{text: "{{{{ 1 + branch }}}}"}}}}
  nobody: {{url: "http://127.0.0.1:9/marked-path-of-a-hook"}}
  bus: {{url: "{redis}", redis: {{stream: "ci:{{{{ branch }}}}"}}}}
routes:
  everything: {{match: {{branch: none}}, to: [raw, chat, broken, nobody, bus]}}
"""


def run(folder: Path, *args: str, url: str = "http://127.0.0.1:9", **env: str | None) -> Result:
    """Run `send` in this process on a relay.yaml whose destinations are at *url*."""
    config = folder / "relay.yaml"
    redis = env.pop("redis", None) or "redis://:marked-password@127.0.0.1:9"
    config.write_text(RELAY_YAML.format(url=url, redis=redis))
    args = ("send", *args, "-c", str(config))
    result = CliRunner().invoke(main, args, env={"TOKEN": TOKEN, **env})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "marked" not in result.output
    return result


def only(book: Heard) -> tuple[str, dict[str, str], Any]:
    """The one request there was."""
    [request] = book.requests
    return request


def test_a_destination_gets_its_own_message(tmp_path: Path) -> None:
    """Body, URL and headers as configured, and marked as a test in each."""
    with heard({"ok": True}) as book:
        result = run(tmp_path, "--to", "chat", url=book.url)

    path, headers, body = only(book)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("delivered  200  ")
    assert '{"ok": true}' in result.stdout
    assert path == "/main"
    assert headers["relay-test"] == "true"
    assert body == {
        "title": "[test] acme-rockets/launchpad: workflow build-and-ship failed on main",
        "subject": "Test message from circleci-relay",
        "test": True,
        "all": [None],
    }


def test_several_payloads_make_one_message(tmp_path: Path) -> None:
    """Told together, in the order named, each compared with what is said of its line's past."""
    payloads = ("gh_oauth_job_failed", "gh_oauth_workflow_failed")
    with heard({}) as book:
        args = ("--to", "chat", "--previous", "success", "--json")
        result = run(tmp_path, *payloads, *args, url=book.url)
        none = run(tmp_path, "ping", "--to", "chat", "--change", "fixed", url=book.url)

    (_, _, body), _ = book.requests
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["payloads"] == list(payloads)
    assert body["all"] == ["broken", "broken"]
    assert "build-and-ship failed" in body["title"]
    assert none.stderr == "(no change: its outcome or line does not allow it)\n"


def test_a_raw_body_is_marked_and_unsigned(tmp_path: Path) -> None:
    """CircleCI did not send it, so its signature is left out; each has an id of its own."""
    with heard({}) as book:
        for _ in range(2):
            assert run(tmp_path, "--to", "raw", url=book.url).exit_code == 0
        run(tmp_path, "gitlab_workflow_success", "--to", "raw", url=book.url)

    (path, headers, first), (_, _, second), (_, _, other) = book.requests
    assert path == "/marked-path-of-a-hook"
    assert headers["relay-test"] == "true"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "circleci-signature" not in headers
    assert headers["webhook-id"].endswith("-raw")
    assert first["pipeline"]["vcs"]["commit"]["subject"] == "Test message from circleci-relay"
    assert first["id"] != second["id"]
    assert json.dumps(other).count("Test message from circleci-relay") >= 1


def test_what_a_destination_answers_is_shown_masked(tmp_path: Path) -> None:
    """A refusal is exit code 1, with the status and the answer, not with secrets it echoes."""
    with heard({"error": f"no {TOKEN}", "path": "/marked-path-of-a-hook"}, status=403) as book:
        people = run(tmp_path, "--to", "raw", url=book.url)
        script = run(tmp_path, "--to", "raw", "--json", url=book.url)

    said = json.loads(script.stdout)
    assert people.exit_code == script.exit_code == 1
    assert people.stdout.startswith("client_error  403  ")
    assert '"error": "no ***"' in people.stdout
    assert people.stderr == "circleci-relay: not delivered to raw: it answered 403\n"
    assert (said["delivered"], said["result"], said["status"]) == (False, "client_error", 403)
    assert len(book.requests) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody", "cannot connect"),
        ("bus", "connection failed"),
        ("broken", "body: `+` wants"),
    ],
)
def test_what_is_not_delivered_is_exit_code_1(tmp_path: Path, name: str, said: str) -> None:
    """Nobody there, or no message to send: one attempt, and why it failed."""
    result = run(tmp_path, "--to", name)

    assert result.exit_code == 1
    assert f"not delivered to {name}: {said}" in result.stderr


@pytest.mark.skipif(bool(Redis.missing()), reason=Redis.missing() or "")
def test_a_queue_gets_a_message_too(tmp_path: Path) -> None:
    """Confirmed by a real Redis, under the name that the template makes."""
    with Redis(tmp_path / "server") as server:
        result = run(tmp_path, "--to", "bus", redis=server.url)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("delivered  0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--to", "chaat"], "there is no destination called 'chaat'; did you mean chat?"),
        (["--to", "chat", "--unsigned"], "--unsigned is for posting to a URL"),
        (["--to", "chat", "--count", "2"], "--count is for posting to a URL"),
        (["--to", "chat", "--all"], "--all is for posting to a URL"),
        (["--to", "raw", "ping", "ping"], "the body of raw tells of one event: give one PAYLOAD"),
        (["--to", "chat", *["ping"] * 201], "the body of chat tells of 200 events at most"),
        (["--to", "chat", "--change", "fixed", "--previous", "failed"], "not both"),
        (["--to", "http://127.0.0.1:9", "ping", "--change", "fixed"], "are for the test message"),
        (["--to", "chat", "pong"], "did you mean ping?"),
    ],
)
def test_misuse_is_told(tmp_path: Path, args: list[str], said: str) -> None:
    """Options that are for posting to the relay mean nothing to a destination."""
    result = run(tmp_path, *args)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_secrets_are_needed(tmp_path: Path) -> None:
    """A message without its token would prove nothing."""
    result = run(tmp_path, "--to", "raw", TOKEN=None)

    assert result.exit_code == 1
    assert "TOKEN" in result.stderr
