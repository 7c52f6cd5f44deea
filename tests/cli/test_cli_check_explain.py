"""`check`, `explain` and `schema`: what can be known of relay.yaml without running it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from circleci_relay.circleci import payload, samples
from circleci_relay.cli import main

if TYPE_CHECKING:
    from pathlib import Path

MARKED = "marked-secret-value"


def run(*args: str, secret: str | None = None, stdin: bytes = b"") -> Result:
    """Run a verb in this process, with or without the variable that the file asks for."""
    result = CliRunner().invoke(main, list(args), env={"HOOK_SECRET": secret}, input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def explained(config: Path, *args: str) -> Any:
    """What `explain --json` says."""
    result = run("explain", "-c", str(config), "--json", *args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_right_file_is_summed_up(config: Path) -> None:
    """`check` counts what a right file holds, and exits with 0."""
    result = run("check", "-c", str(config), secret=MARKED)

    assert result.exit_code == 0
    assert result.stdout == "no faults: 1 source, 2 destinations, 3 routes\n"


def test_every_fault_is_told_with_its_place(config: Path) -> None:
    """Two faults are two lines, each with file, line, column and key; exit code 1."""
    config.write_text(config.read_text().replace("to: slack", "to: slak"))

    result = run("check", "-c", str(config), secret=MARKED)

    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert len(lines) == 2
    assert all("relay.yaml:" in line and "slack" in line for line in lines)
    assert result.stderr == "circleci-relay: 2 faults\n"


def test_faults_as_json(config: Path) -> None:
    """`check --json` gives a script the same, and nothing else."""
    config.write_text(config.read_text().replace("to: warehouse", "to: warehose"))

    result = run("check", "-c", str(config), "--json", secret=MARKED)

    said = json.loads(result.stdout)
    assert (result.exit_code, said["ok"], said["warnings"], result.stderr) == (1, False, [], "")
    [fault] = said["faults"]
    assert set(fault) == {"file", "line", "column", "path", "message"}
    assert fault["line"] == 12


def test_secrets_may_be_absent_on_request(config: Path) -> None:
    """A pull request's CI has no secrets: --no-secrets finds the other faults all the same."""
    assert run("check", "-c", str(config)).exit_code == 1
    assert run("check", "-c", str(config), "--no-secrets").exit_code == 0


def test_warnings_become_faults_when_strict(config: Path) -> None:
    """What can never match is a warning, and exit code 1 only with --strict."""
    config.write_text(config.read_text().replace("[failed, error]", "failure"))

    lax = run("check", "-c", str(config), secret=MARKED)
    strict = run("check", "-c", str(config), "--strict", secret=MARKED)

    assert (lax.exit_code, strict.exit_code) == (0, 1)
    assert ": warning: " in lax.stdout
    assert ": warning: " not in strict.stdout


def test_the_configuration_may_come_from_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$CIRCLECI_RELAY_CONFIG stands in for -c."""
    monkeypatch.setenv("CIRCLECI_RELAY_CONFIG", str(config))

    assert run("check", secret=MARKED).exit_code == 0


def test_a_payload_is_explained_without_secrets(config: Path) -> None:
    """Each route says whether it takes the event and why; the secret may be absent."""
    said = explained(config, "gh_oauth_workflow_failed")

    verdicts = {verdict["route"]: verdict for verdict in said["verdicts"]}
    assert said["destinations"] == ["warehouse", "slack"]
    assert [verdicts[name]["matched"] for name in ("everything", "main-is-red", "main-broke")] == [
        True,
        True,
        False,
    ]
    assert "change" in verdicts["main-broke"]["reason"]
    assert said["facts"]["branch"] == "main"


@pytest.mark.parametrize(
    ("previous", "change"),
    [
        ("success", "broken"),
        ("failed", "still-broken"),
        ("error", "still-broken"),
        ("canceled", None),
    ],
)
def test_the_previous_outcome_tells_the_change(
    config: Path, previous: str, change: str | None
) -> None:
    """`--previous` stands for the line's last outcome, which `change` compares with."""
    said = explained(config, "gh_oauth_workflow_failed", "--previous", previous)

    assert said["facts"].get("change") == change
    matched = {verdict["route"] for verdict in said["verdicts"] if verdict["matched"]}
    assert ("main-broke" in matched) == (change == "broken")


def test_an_event_without_a_branch_has_no_change(config: Path) -> None:
    """A tag's build is on no line, so --previous says nothing of it, and that is said."""
    result = run(
        *("explain", "gh_oauth_tag_workflow_as_documented", "--previous", "failed"),
        *("-c", str(config)),
    )

    assert result.exit_code == 0
    assert "no change" in result.stderr


def test_facts_alone_are_enough(config: Path) -> None:
    """`--set` makes an event up: of a workflow, or of a job where one is named."""
    workflow = explained(config, "--set", "status=failed", "--set", "branch=main")
    job = explained(config, "--set", "status=failed", "--set", "branch=main", "--set", "job=test")

    assert workflow["facts"]["type"] == "workflow-completed"
    assert workflow["destinations"] == ["warehouse", "slack"]
    assert job["facts"]["type"] == "job-completed"
    assert job["destinations"] == ["warehouse"]


def test_facts_stand_in_for_the_payload_s(config: Path) -> None:
    """`--set` beside a PAYLOAD asks what if, an empty value taking a fact away."""
    other = explained(config, "gh_oauth_workflow_failed", "--set", "branch=dev")
    none = explained(config, "gh_oauth_workflow_failed", "--set", "branch=")

    assert other["destinations"] == none["destinations"] == ["warehouse"]
    assert "branch" not in none["facts"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("branc=main", "did you mean branch?"),
        ("branch", "is not FACT=VALUE"),
        ("source=x", "--source"),
        ("change=broke", "did you mean broken?"),
        ("pipeline_number=many", "that is no number"),
        ("type=", "every event has a type"),
    ],
)
def test_a_misspelt_fact_is_misuse(config: Path, setting: str, said: str) -> None:
    """A mistyped --set is told with what was meant, never taken for a fact."""
    result = run("explain", "-c", str(config), "--set", setting)

    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("expect", "code", "said"),
    [
        ("slack,warehouse", 0, ""),
        (" warehouse , slack ", 0, ""),
        ("slack", 1, "not as expected: sent to warehouse"),
        ("slack,warehouse,pager", 1, "not as expected: not sent to pager"),
        ("", 1, "not as expected: sent to slack, warehouse"),
    ],
)
def test_expectations_are_held(config: Path, expect: str, code: int, said: str) -> None:
    """`--expect` makes a test of a route: 1 and the difference where it does not hold."""
    result = run("explain", "gh_oauth_workflow_failed", "-c", str(config), "--expect", expect)

    assert result.exit_code == code
    assert said in result.stderr


def test_people_get_a_table(config: Path) -> None:
    """Without --json: the facts, a table of verdicts, and where the event goes."""
    result = run("explain", "gh_oauth_workflow_failed", "-c", str(config))

    assert "branch           main" in result.stdout
    assert "goes to warehouse, slack" in result.stdout


def test_an_event_that_no_route_takes_is_told(config: Path) -> None:
    """Nothing disappears silently: what matches nothing is stored and counted."""
    result = run("explain", "ping", "-c", str(config))

    assert "goes nowhere: stored, and counted unmatched" in result.stdout


def test_hostile_payloads_are_shown_escaped(config: Path) -> None:
    """A branch name cannot drive the terminal of whoever explains it."""
    body = samples.load("gh_oauth_workflow_failed").replace(b'"main"', b'"\\u001b[31mred"')
    assert payload.read_facts(payload.parse(body)).branch == "\x1b[31mred"

    result = run("explain", "-", "-c", str(config), stdin=body)

    assert result.exit_code == 0
    assert "\x1b[31mred" not in result.output
    assert "\\x1b[31mred" in result.output


def test_what_is_no_event_is_a_fault(config: Path) -> None:
    """A payload the relay would answer 400 is told so in one line."""
    result = run("explain", "-", "-c", str(config), stdin=b"[]")

    assert result.exit_code == 1
    assert result.stderr == "circleci-relay: the body is not a JSON object\n"


def test_the_source_must_be_named_where_a_route_looks_at_it(config: Path) -> None:
    """With several sources the first will do, unless a route tells them apart."""
    config.write_text(
        config.read_text().replace(
            "destinations:", "  other: {path: /other, unsigned: true}\ndestinations:", 1
        )
    )
    assert explained(config, "gh_oauth_workflow_failed")["source"] == "circleci"
    config.write_text(config.read_text().replace("branch: main", "source: other"))

    unnamed = run("explain", "gh_oauth_workflow_failed", "-c", str(config))
    unknown = run("explain", "gh_oauth_workflow_failed", "-c", str(config), "--source", "othr")

    assert (unnamed.exit_code, unknown.exit_code) == (2, 2)
    assert "did you mean other?" in unknown.stderr
    other = explained(config, "gh_oauth_workflow_failed", "--source", "other")
    assert other["destinations"] == ["warehouse", "slack"]


@pytest.mark.parametrize("command", ["check", "explain ping", "explain ping --json", "send ping"])
def test_no_verb_prints_a_secret(config: Path, command: str) -> None:
    """Neither the source's secret nor a destination's path shows in any output."""
    config.write_text(
        config.read_text()
        .replace("9/slack", f"9/{MARKED}")
        .replace("sources:", "server: {listen: '127.0.0.1:9'}\nsources:", 1)
    )

    result = run(*command.split(), "-c", str(config), secret=MARKED)

    assert MARKED not in result.output


def test_the_schema_is_json() -> None:
    """`schema` prints a JSON Schema of an object with relay.yaml's own keys."""
    result = run("schema")

    schema = json.loads(result.stdout)
    assert {"sources", "destinations", "routes"} <= set(schema["properties"])


QUIET = """\
projects:
  acme-rockets/*: {team: rockets}
sources: {circleci: {path: /hook, unsigned: true}}
destinations:
  chat: {url: https://chat.example.com/, body: {text: "{{ count }} {{ title }}"}}
  digest:
    url: https://digest.example.com/
    body: {text: "{{ events | map(attribute='title') | join('; ') }}"}
    group: {by: [workflow, labels.team], wait: 30s, max: 20}
routes:
  held: {match: {labels: {team: rockets}}, to: chat, hold: 10m, once_per: workflow}
  all: {match: {status: failed}, to: digest}
  rest: {to: chat, otherwise: true}
"""


def waits(folder: Path, *args: str) -> dict[str, str]:
    """What each destination would wait for, in words."""
    path = folder / "quiet.yaml"
    path.write_text(QUIET)
    said = explained(path, *args)
    return {name: wait["said"] for name, wait in said["waits"].items()}


def test_what_would_wait_is_told(tmp_path: Path) -> None:
    """`hold`, `once_per` and `group`, each in words and in numbers; and labels."""
    path = tmp_path / "relay.yaml"
    path.write_text(QUIET)

    people = run("explain", "gh_oauth_workflow_failed", "-c", str(path))
    said = explained(path, "gh_oauth_workflow_failed")

    assert people.stdout.splitlines()[-3:] == [
        "goes to chat, digest",
        "  chat: held 10m unless main turns good; told once per workflow, after 1m",
        "  digest: together by workflow, labels.team, 30s, 20 at most",
    ]
    assert "labels.team      rockets" in people.stdout
    assert "the route held takes it already" in people.stdout
    assert said["labels"] == {"team": "rockets"}
    assert said["waits"]["chat"] | {"said": ""} == {
        "hold": 600,
        "unless": "main",
        "mends": False,
        "once_per": "workflow",
        "group": [],
        "max": 0,
        "wait": 60,
        "said": "",
    }
    assert said["waits"]["digest"]["group"] == ["workflow", "labels.team"]


def test_what_is_good_or_on_no_branch_is_not_held(tmp_path: Path) -> None:
    """Nothing later could make it needless; what mends a failure never told is no news."""
    once = "told once per workflow, after 1m"

    assert waits(tmp_path, "gh_oauth_workflow_success") == {"chat": once}
    fixed = waits(tmp_path, "gh_oauth_workflow_success", "--previous", "failed")
    assert fixed == {"chat": f"only if the failure it mends was told; {once}"}
    tag = waits(tmp_path, "gh_oauth_tag_workflow_as_documented", "--set", "status=failed")
    assert tag["chat"] == once


def test_facts_alone_may_wait_too(tmp_path: Path) -> None:
    """An event made up by --set has no id of a run: it is held, and not told once."""
    facts = ("project=acme-rockets/launchpad", "status=error", "branch=main")
    args = [part for fact in facts for part in ("--set", fact)]

    assert waits(tmp_path, *args) == {"chat": "held 10m unless main turns good"}


def test_a_destination_named_by_a_variable_may_wait(tmp_path: Path) -> None:
    """Without the variable nobody knows which one it is; that is no reason to fail."""
    path = tmp_path / "relay.yaml"
    path.write_text(QUIET.replace("to: digest", 'to: "${env:NO_SUCH_NAME}", hold: 5m'))

    said = explained(path, "gh_oauth_workflow_failed")

    assert said["waits"]["unknown"]["said"] == "held 5m unless main turns good"


LABELLED = """\
projects:
  acme-rockets/*:
    token: "${env:HOOK_SECRET}"
    hook: https://hooks.example.com/marked
    long: "https://hooks.example.com/marked/marked-label-that-is-longer-than-what-a-reason-shows-of-it"
    mixed: "a text that goes on for a good while before it comes to a secret, ${env:HOOK_SECRET}"
sources: {circleci: {path: /hook, unsigned: true}}
destinations:
  team: {url: "https://chat.example.com/{{ labels.room }}/{{ labels.team }}", body: slack}
  chat: {url: "https://chat.example.com/{{ labels.token }}", body: slack}
routes:
  token: {match: {labels: {token: "*"}}, to: [chat, team], hold: 5m}
  hook: {match: {labels: {hook: none}}, to: chat}
  long: {match: {labels: {long: none}}, to: chat}
  mixed: {match: {labels: {mixed: none}}, to: chat}
  subject: {match: {subject: none}, to: chat}
"""


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Labels from a variable, and such as are URLs."""
    path = tmp_path / "labelled.yaml"
    path.write_text(LABELLED)
    return path


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_label_that_is_a_secret_is_explained(labelled: Path, form: list[str]) -> None:
    """Neither as it is, nor in a reason, which may cut it; nor a fact that repeats it."""
    args = [
        "gh_oauth_workflow_failed",
        "--set",
        f"subject=see {MARKED}",
        "-c",
        str(labelled),
        *form,
    ]

    result = run("explain", *args, secret=MARKED)

    assert result.exit_code == 0
    assert "marked" not in result.output
    assert "labels.token is ***" in result.stdout
    assert "see ***" in result.stdout


def test_a_project_without_a_url_s_label_is_told(labelled: Path) -> None:
    """At its destination's line, in place of what it would wait for; every missing label."""
    args = ("gh_oauth_workflow_failed", "-c", str(labelled))
    why = "the event's project has no label room and no label team"

    people = run("explain", *args, secret=MARKED)
    said = explained(labelled, "gh_oauth_workflow_failed")
    given = run("explain", *args, "--label", "room=a", "--label", "team=b", secret=MARKED)
    emptied = explained(labelled, "gh_oauth_workflow_failed", "--label", "room=a")

    held = "held 5m unless main turns good"
    assert people.stdout.splitlines()[-2:] == [f"  chat: {held}", f"  team: cannot be told: {why}"]
    assert said["cannot_be_told"] == {"team": why}
    assert said["destinations"] == ["chat", "team"]
    assert given.stdout.splitlines()[-1] == f"  team: {held}"
    assert emptied["cannot_be_told"] == {"team": "the event's project has no label team"}


def test_labels_can_be_said_by_hand(labelled: Path) -> None:
    """Routes match by them; a URL among them is not shown, what no label can be is misuse."""
    url = "hook=https://hooks.example.com/private"

    said = explained(labelled, "gh_oauth_workflow_failed", "--label", "hook=none")
    hidden = run("explain", "ping", "-c", str(labelled), "--label", url)
    wrong = run("explain", "ping", "-c", str(labelled), "--label", "Hook=x")

    assert [each["matched"] for each in said["verdicts"]][:2] == [True, True]
    assert "private" not in hidden.output
    assert wrong.exit_code == 2
    assert "a label's name is up to 63 of a-z" in " ".join(wrong.stderr.split())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["status=faild"], "(CircleCI sends no status 'faild'; did you mean failed?)\n"),
        (["status=failure"], "(CircleCI sends no status 'failure'; did you mean failed?)\n"),
        (
            ["type=workflow-complete"],
            "(CircleCI sends no type 'workflow-complete'; did you mean workflow-completed?)\n",
        ),
        (["type=something-new"], ""),
        (["type=job-completed", "status=failed"], ""),
        (["status=/(/"], ""),
    ],
)
def test_what_circleci_does_not_send_is_doubted(
    config: Path, settings: list[str], said: str
) -> None:
    """With what may have been meant; it is explained all the same."""
    args = [part for setting in settings for part in ("--set", setting)]

    result = run("explain", *args, "--json", "-c", str(config))

    assert (result.exit_code, result.stderr) == (0, said)
    name, _, value = settings[0].partition("=")
    assert json.loads(result.stdout)["facts"][name] == value
