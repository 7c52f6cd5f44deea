"""`render`: what would be sent, exactly, and without its secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.circleci import samples
from circleci_relay.cli import main
from circleci_relay.cli.shown import shown
from circleci_relay.delivery.transport import Message
from circleci_relay.redaction import Redaction
from support.build import a_destination

if TYPE_CHECKING:
    from pathlib import Path

HOOK, TOKEN, KEY = "marked-hook-value", "marked-token-value", "marked-key-0123456789abcdef"
ENV = {"HOOK_SECRET": HOOK, "TOKEN": TOKEN, "KEY": KEY}

RELAY_YAML = """\
server: {external_url: https://relay.example.com}
projects:
  acme-rockets/*: {room: launch-pad}
sources:
  circleci: {path: /hook, secrets: ["${env:HOOK_SECRET}"]}
destinations:
  plain:
    url: http://127.0.0.1:9/private/way?key=also-private
  room:
    url: "https://rooms.example.com/private/{{ labels.room }}?key=also-private&ref={{ branch }}"
    headers:
      authorization: "Bearer ${env:TOKEN}"
      x-room: "{{ labels.room }}"
      x-mixed: "private-part {{ project }}"
      x-fixed: short
      accept: text/plain
    body:
      template: {text: "{{ title }}", failed: "{{ outcome == 'bad' }}", change: "{{ change }}"}
    sign: {scheme: standard-webhooks, secrets: ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]}
  hook:
    url: "{{ labels.hook }}"
    body: {text: "{{ subject }}\\n{{ test }}"}
  statement:
    url: "https://rooms.example.com/{% if branch %}private{% endif %}/{{ branch }}"
    body: {text: "{{ events | map(attribute='title') | join(' + ') }}"}
  pager:
    body: {preset: pagerduty, routing_key: "${env:KEY}"}
  table:
    body: {preset: airtable, token: "${env:TOKEN}", base: apples, table: "${env:KEY}"}
  team:
    url: https://rooms.example.com/
    body: {text: "see {{ labels.site }} of {{ labels.team | default('rockets', true) }}"}
  broken:
    url: https://rooms.example.com/
    body: {template: {deep: ["{{ 1 + branch }}"]}}
  stream:
    url: redis://user:marked-password@127.0.0.1:9/3
    redis: {stream: "ci:{{ project_name }}"}
routes:
  everything: {to: [plain, room, hook, statement, pager, table, team, broken, stream]}
"""
SAMPLE = "gh_oauth_workflow_failed"


@pytest.fixture(scope="module")
def relay_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Destinations of every kind."""
    path = tmp_path_factory.mktemp("render") / "relay.yaml"
    path.write_text(RELAY_YAML)
    return path


def run(
    relay_yaml: Path, *args: str, stdin: bytes = b"", env: dict[str, str | None] | None = None
) -> Result:
    """Run `render` in this process; no output holds anything marked or private."""
    env = {**ENV, **(env or {})}
    result = CliRunner().invoke(
        main, ["render", *args, "-c", str(relay_yaml)], env=env, input=stdin
    )
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "marked" not in result.output
    assert "private" not in result.output
    return result


def rendered(relay_yaml: Path, *args: str, env: dict[str, str | None] | None = None) -> Any:
    """What `render --json` says."""
    result = run(relay_yaml, *args, "--json", env=env)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_message_is_printed_as_it_would_be_sent(relay_yaml: Path) -> None:
    """Request line, headers, an empty line, the body to the byte."""
    result = run(relay_yaml, "plain", SAMPLE)

    head, _, body = result.stdout.partition("\n\n")
    line, *headers = head.splitlines()
    names = [header.partition(": ")[0] for header in headers]
    assert line == "POST http://127.0.0.1:9/***"
    assert names == [
        "content-type",
        "user-agent",
        "circleci-event-type",
        "circleci-signature",
        "webhook-id",
        "webhook-timestamp",
        "relay-attempt",
    ]
    assert "circleci-signature: v1=***" in headers
    assert "relay-attempt: 1" in headers
    assert body == samples.load(SAMPLE).decode() + "\n"


def test_the_body_alone_is_exact(relay_yaml: Path) -> None:
    """`--body-only` is for other programs: the very bytes and nothing else."""
    raw = run(relay_yaml, "plain", SAMPLE, "--body-only")
    made = run(relay_yaml, "room", SAMPLE, "--body-only", "--change", "broken")

    assert raw.stdout_bytes == samples.load(SAMPLE)
    assert json.loads(made.stdout) == {
        "text": "acme-rockets/launchpad: workflow build-and-ship failed on main",
        "failed": True,
        "change": "broken",
    }
    assert raw.stderr == made.stderr == ""


def test_what_an_event_makes_of_a_url_or_header_is_shown(relay_yaml: Path) -> None:
    """Labels and facts are shown, what is constant is not; no signature is."""
    said = rendered(relay_yaml, "room", SAMPLE)

    assert said["method"] == "POST"
    assert said["url"] == "https://rooms.example.com/***/launch-pad?***=main"
    headers = said["headers"]
    assert headers["authorization"] == headers["x-fixed"] == "***"
    assert headers["x-room"] == "launch-pad"
    assert headers["x-mixed"] == "***github/acme-rockets/launchpad"
    assert headers["accept"] == "text/plain"
    assert headers["webhook-signature"] == "v1,***"
    assert "circleci-signature" not in headers
    assert said["body"]["failed"] is True


def test_a_url_that_cannot_be_taken_apart_is_masked(relay_yaml: Path) -> None:
    """Behind a statement nobody can tell what is constant; a whole URL may be a label."""
    assert rendered(relay_yaml, "statement", SAMPLE)["url"] == "https://rooms.example.com/***"
    label = ("--label", "hook=https://other.example.com/private/way")
    assert rendered(relay_yaml, "hook", SAMPLE, *label)["url"] == "https://other.example.com/***"


def test_a_url_given_by_hand_is_masked(relay_yaml: Path) -> None:
    """As a label of a project is: in the body too, the short ones as well."""
    for url in ("https://x.example/private", "https://x.example/priv"):
        said = rendered(relay_yaml, "team", SAMPLE, "--label", f"site={url}")
        assert said["body"] == "see *** of rockets"


def test_a_secret_in_the_body_is_masked(relay_yaml: Path) -> None:
    """PagerDuty's key goes into the body; a preset's own URL is no secret."""
    said = rendered(relay_yaml, "pager", SAMPLE)
    alone = run(relay_yaml, "pager", SAMPLE, "--body-only")

    assert said["url"] == "https://events.pagerduty.com/v2/enqueue"
    assert (said["body"]["routing_key"], said["masked"]) == ("***", True)
    assert said["body"]["event_action"] == "trigger"
    assert "masked" in alone.stderr


def test_of_a_preset_s_url_only_what_was_filled_in_may_be_secret(relay_yaml: Path) -> None:
    """What a variable held is masked there too, and a token in a header."""
    said = rendered(relay_yaml, "table", SAMPLE)

    assert said["url"] == "https://api.airtable.com/v0/apples/***"
    assert said["headers"]["authorization"].endswith("***")


def test_a_queue_s_addressing_stands_for_the_path(relay_yaml: Path) -> None:
    """Where in the queue, by template; the user and password stay out."""
    result = run(relay_yaml, "stream", SAMPLE)
    said = rendered(relay_yaml, "stream", SAMPLE)

    assert result.stdout.startswith("redis://127.0.0.1:9\nstream: ci:launchpad\n\ncontent-type: ")
    assert said["address"] == {"stream": "ci:launchpad"}
    assert "method" not in said


def test_several_payloads_are_told_together(relay_yaml: Path) -> None:
    """As with `group`; a body that tells of one event takes one payload."""
    both = rendered(relay_yaml, "statement", SAMPLE, "gh_oauth_job_failed")
    alone = run(relay_yaml, "plain", SAMPLE, "ping")

    assert both["body"] == (
        "acme-rockets/launchpad: workflow build-and-ship failed on main + "
        "acme-rockets/launchpad: job unit-tests failed on main"
    )
    assert alone.exit_code == 2
    assert "tells of one event" in alone.stderr


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (["--change", "still-broken"], "still-broken"),
        (["--previous", "success"], "broken"),
        (["--previous", "error"], "still-broken"),
        (["--change", "fixed"], None),
        (["--previous", "canceled"], None),
        ([], None),
    ],
)
def test_the_line_s_past_is_what_is_said(
    relay_yaml: Path, options: list[str], change: str | None
) -> None:
    """A change that the payload's own outcome rules out is told so, and left out."""
    result = run(relay_yaml, "room", SAMPLE, "--json", *options)

    assert json.loads(result.stdout)["body"]["change"] == change
    assert ("no change" in result.stderr) == (bool(options) and change is None)


def test_a_test_message_can_be_seen_first(relay_yaml: Path) -> None:
    """`--test` is what `send --to` sends: marked, without CircleCI's signature."""
    raw = rendered(relay_yaml, "plain", SAMPLE, "--test")["headers"]
    own = rendered(relay_yaml, "room", SAMPLE, "--test")

    assert raw["relay-test"] == own["headers"]["relay-test"] == "true"
    assert "circleci-signature" not in raw
    assert own["body"]["text"].startswith("[test] ")


def test_secrets_may_be_absent_on_request(relay_yaml: Path) -> None:
    """A pull request's CI sees the message all the same, the secret ones' places filled in."""
    absent: dict[str, str | None] = dict.fromkeys(ENV)

    assert run(relay_yaml, "pager", SAMPLE, env=absent).exit_code == 1
    said = rendered(relay_yaml, "pager", SAMPLE, "--no-secrets", env=absent)
    assert said["body"]["event_action"] == "trigger"


def test_a_template_that_fails_is_told(relay_yaml: Path) -> None:
    """One line that names the leaf, exit code 1, nothing on standard output."""
    result = run(relay_yaml, "broken", SAMPLE)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(
        "circleci-relay: broken: the message cannot be made: body.deep[0]: "
    )


def test_a_terminal_obeys_nothing_that_is_shown(relay_yaml: Path) -> None:
    """What moves a cursor or turns text round is escaped; only --body-only is for programs."""
    body = samples.load("gh_oauth_workflow_failed").replace(b'"main"', '"\u202emain"'.encode())

    result = run(relay_yaml, "plain", "-", stdin=body)

    assert "\u202e" not in result.stdout
    assert "\\u202e" in result.stdout
    assert run(relay_yaml, "plain", "-", "--body-only", stdin=body).stdout_bytes == body


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["rom", SAMPLE], 2, "did you mean room?"),
        (["nothing", SAMPLE], 2, "there are plain, room, hook"),
        (["room", "gh_oauth_workflow_faild"], 2, "did you mean gh_oauth_workflow_failed?"),
        (["room", SAMPLE, "--label", "team"], 2, "is not NAME=VALUE"),
        (["room", SAMPLE, "--label", "Team=x"], 2, "a label's name is up to 63 of a-z"),
        (["room", SAMPLE, "--label", "team=a\nb"], 2, "holds a control character"),
        (["room", SAMPLE, "--source", "circlci"], 2, "did you mean circleci?"),
        (["room", SAMPLE, "--change", "fixed", "--previous", "failed"], 2, "not both"),
        (["room", SAMPLE, "--json", "--body-only"], 2, "not both"),
        (["room", "-"], 1, "the body is not JSON"),
    ],
)
def test_misuse_is_told(relay_yaml: Path, args: list[str], code: int, said: str) -> None:
    """A name that is near another one is suggested."""
    result = run(relay_yaml, *args)

    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())


@given(
    values=st.lists(st.text("ab/-?&=%2F.~", max_size=12), min_size=1, max_size=5),
    between=st.lists(st.text("ab/-?&=.", max_size=6), min_size=5, max_size=5),
)
def test_no_constant_of_a_url_or_header_is_shown(values: list[str], between: list[str]) -> None:
    """Whatever labels and facts hold, and however much they look like what stands beside them."""
    names = [f"{{{{ labels.l{number} }}}}" for number in range(len(values))]
    hidden = [f"{text}HIDDEN{text}" for text in between]

    def woven(parts: list[str]) -> str:
        return "".join(f"{constant}{part}" for constant, part in zip(hidden, parts, strict=False))

    destination = a_destination(
        f"https://example.com/{woven(names)}", headers={"x-all": woven(names)}
    )
    message = Message(
        url=f"https://example.com/{woven(values)}", headers={"x-all": woven(values)}, body=b""
    )

    said = shown(message, destination, Redaction())

    assert "HIDDEN" not in said.url + said.headers["x-all"]
    assert said.url.startswith("https://example.com/")
    assert all(value in said.headers["x-all"] for value in values)
