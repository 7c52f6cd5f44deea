"""`check` makes each destination's message of every sample, and says where that fails."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from circleci_relay.circleci import samples
from circleci_relay.cli import main, trial
from circleci_relay.config import load
from circleci_relay.model import Change
from circleci_relay.rendering import preset

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
sources: {circleci: {path: /hook, unsigned: true}}
routes: {everything: {match: {type: workflow-completed}, to: chat}}
"""


def check(folder: Path, text: str, *args: str, env: dict[str, str] | None = None) -> Result:
    """Run `check` in this process on the destinations in *text*."""
    path = folder / "relay.yaml"
    path.write_text(HEAD + text)
    result = CliRunner().invoke(main, ["check", "-c", str(path), *args], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def lines(result: Result) -> list[str]:
    """What it said, without the folder; there were faults."""
    assert result.exit_code == 1, result.output
    return [line.partition("relay.yaml:")[2] for line in result.stdout.splitlines()]


def test_a_template_that_fails_on_one_sample_is_a_fault(tmp_path: Path) -> None:
    """With the leaf's place, the sample's name and what is wrong; not only at its first event."""
    text = """\
destinations:
  chat:
    url: https://example.com/
    body:
      template:
        title: "{{ title }}"
        list:
          - "{{ (1 if type == 'ping' else 'x') + 'y' }}"
"""
    result = check(tmp_path, text)

    [line] = lines(result)
    assert line.startswith(
        "10:13: destinations.chat.body.template.list[0]: fails on the sample ping: `+` wants "
    )
    assert result.stderr == "circleci-relay: 1 fault\n"


def test_a_fault_is_told_once_for_all_samples(tmp_path: Path) -> None:
    """However often a sample is tried, it counts once; also for scripts."""
    text = "destinations: {chat: {url: https://example.com/, body: {text: '{{ 1 + title }}'}}}\n"

    [line] = lines(check(tmp_path, text))
    said = json.loads(check(tmp_path, text, "--json").stdout)

    assert "fails on every sample: `+` wants " in line
    [fault] = said["faults"]
    assert (fault["line"], fault["path"]) == (3, "destinations.chat.body.text")


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("url: 'https://example.com/{{ 1 + title }}'", "destinations.chat.url"),
        (
            "url: https://example.com/, headers: {X-Ref: '{{ 1 + title }}'}",
            "destinations.chat.headers",
        ),
        ("url: redis://127.0.0.1, redis: {stream: '{{ 1 + title }}'}", "destinations.chat.redis"),
        (
            "url: https://example.com/, body: {preset: slack, title: '{{ 1 + title }}'}",
            "destinations.chat.body.title",
        ),
    ],
)
def test_every_part_of_a_message_is_tried(tmp_path: Path, settings: str, place: str) -> None:
    """URL, headers, a queue's addressing and a preset's options, each at its own key."""
    [line] = lines(check(tmp_path, f"destinations: {{chat: {{{settings}}}}}\n"))

    assert f": {place}" in line
    assert "fails on every sample" in line


def test_what_the_defaults_say_is_told_there(tmp_path: Path) -> None:
    """A body under `defaults` has its place there."""
    text = """\
defaults:
  body: {text: "{{ 1 + title }}"}
destinations:
  chat: {url: https://example.com/}
"""
    [line] = lines(check(tmp_path, text))

    assert line.startswith("4:16: defaults.body.text: ")


def test_changes_and_groups_are_tried_too(tmp_path: Path) -> None:
    """A template that fails only once something was fixed, or only for several events."""
    changed = "{{ 1 + title if change == 'fixed' }}"
    grouped = "{{ 1 + title if count > 1 }}"
    body = '{chat: {url: https://example.com/, body: {text: "%s"}%s}}\n'

    [first] = lines(check(tmp_path, "destinations: " + body % (changed, "")))
    [second] = lines(
        check(tmp_path, "destinations: " + body % (grouped, ", group: {by: workflow}"))
    )

    assert "fails on the sample gh_oauth_workflow_success, fixed: " in first
    assert "fails on three samples at once: " in second


def test_samples_count_once(tmp_path: Path) -> None:
    """A sample that fails after every change is one more, and not five."""
    text = 'destinations: {chat: {url: https://example.com/, body: {text: "%s"}}}\n'
    workflows = "{{ 1 + title if type == 'workflow-completed' }}"
    two = "{{ 1 + title if type == 'ping' or change == 'broken' and job }}"

    [many] = lines(check(tmp_path, text % workflows))
    [few] = lines(check(tmp_path, text % two))

    types = [json.loads(samples.load(name))["type"] for name in samples.names()]
    assert f" and on {types.count('workflow-completed') - 1} more samples: " in many
    assert " and on 1 more sample: " in few


def test_projects_count_once(tmp_path: Path) -> None:
    """Of the labels that make no URL, the first project is named and the others counted."""
    text = """\
projects:
  acme/api: {team: "pay ments"}
  acme/web: {team: "shop ping"}
  acme/app: {team: mobile}
destinations:
  chat: {url: "https://example.com/{{ labels.team }}", body: {text: "{{ title }}"}}
"""
    [line] = lines(check(tmp_path, text))

    assert "fails with the labels of acme/api and of 1 more: the URL would have " in line


def test_a_full_group_is_tried(tmp_path: Path) -> None:
    """What would grow too large only when as many events come as may be told together."""
    text = """\
destinations:
  chat:
    url: https://example.com/
    body: {text: "{% for e in events %}{{ e.payload | json }}{% endfor %}"}
    group: {by: project, max: 200}
"""
    [line] = lines(check(tmp_path, text))

    assert "fails on 200 samples at once: " in line
    assert check(tmp_path, text.replace("200", "20")).exit_code == 0


def test_labels_are_those_of_the_projects(tmp_path: Path) -> None:
    """The samples' own project has none: any project's will do; one that makes no URL is told."""
    text = """\
projects:
  acme/api: {hook: "https://example.com/api"}
  acme/web: {hook: "https://example.com/a b"}
destinations:
  chat: {url: "{{ labels.hook }}", body: {text: "{{ title }}"}}
"""
    found = lines(check(tmp_path, text))
    right = check(tmp_path, text.replace("a b", "ab"))

    assert right.exit_code == 0
    assert any("fails with the labels of acme/web" in line for line in found)
    assert not any("a b" in line for line in found)


STANDING_IN = [
    "url: '{{ labels.hook }}', body: {text: '{{ title }}'}",
    "url: '{{ labels[\"hook\"] }}', body: {text: '{{ title }}'}",
    "url: 'https://example.com/{{ 1 + labels.hook | length - labels.hook }}'",
    "url: 'https://example.com/${env:NO_SUCH_HOOK}{{ 1 + title }}'",
    "url: https://example.com/, headers: {X-Ref: '${env:NO_SUCH_HOOK}{{ 1 + title }}'}",
    "url: https://example.com/, body: {text: '{{ 1 / (\"${env:NO_SUCH_HOOK}\" | int) }}'}",
    "url: https://example.com/, body: {preset: slack, title: '${env:NO_SUCH_HOOK}{{ 1 + title }}'}",
]


@pytest.mark.parametrize("settings", STANDING_IN)
def test_what_stands_in_for_a_variable_is_no_fault(tmp_path: Path, settings: str) -> None:
    """Nobody knows what would come of what the variable holds: in labels, URLs, headers, bodies."""
    text = "projects: {acme/api: {hook: '${env:NO_SUCH_HOOK}'}}\n"
    text += f"destinations: {{chat: {{{settings}}}}}\n"

    assert check(tmp_path, text, "--no-secrets", "--strict").exit_code == 0


@pytest.mark.parametrize(
    "settings",
    [
        "url: 'https://example.com/{{ labels.team }}'",
        "url: 'https://example.com/{{ labels[\"team\"] }}'",
        "url: 'https://example.com/{{ 1 + title }}'",
        "url: https://example.com/, headers: {X-Ref: '{{ 1 + title }}', X-Key: '${env:NO_SUCH}'}",
        "url: 'https://example.com/${env:NO_SUCH}', body: {text: '{{ 1 + title }}'}",
    ],
)
def test_all_else_is_tried_without_secrets_too(tmp_path: Path, settings: str) -> None:
    """A label, URL, header or body in which nothing is made up fails as it does with secrets."""
    text = "projects: {acme/api: {team: 'pay ments', hook: '${env:NO_SUCH}'}}\n"
    text += f"destinations: {{chat: {{{settings}}}}}\n"

    without = lines(check(tmp_path, text, "--no-secrets", "--strict"))

    assert len(without) == 1
    assert without == lines(
        check(tmp_path, text, "--strict", env={"NO_SUCH": "https://x.example/"})
    )


def test_no_fault_repeats_a_secret(tmp_path: Path) -> None:
    """Whatever a variable held is left out of what is said of a failure."""
    text = """\
destinations:
  chat: {url: https://example.com/, body: {text: "{{ title | date('${env:HELD}') ~ (1 + title) }}"}}
"""
    result = check(tmp_path, text, env={"HELD": "marked-held-value"})

    assert result.exit_code == 1
    assert "marked" not in result.output


def test_every_sample_and_every_change_is_tried(tmp_path: Path) -> None:
    """Each sample once, each change of a workflow and of a job, three events at once."""
    path = tmp_path / "relay.yaml"
    path.write_text(HEAD + "destinations: {chat: {url: https://example.com/, body: slack}}\n")

    trials = trial.Trials(load([path]).config)
    tried = list(trials.alone())
    together = trials.together(50)

    names = [each.name for each in tried]
    assert {f"on the sample {name}" for name in samples.names()} <= set(names)
    assert {each.scene["change"] for each in tried} >= {None, *Change}
    assert [each.scene["count"] for each in together] == [3, 50]
    assert len(names) == len(set(names))


def _forty() -> str:
    chats = [name for name in preset.names() if name in {"slack", "discord", "msteams"}]
    parts = ["projects:"]
    parts += [f"  acme/p{number}: {{hook: h{number}}}" for number in range(40)]
    parts.append("destinations:")
    for number in range(40):
        name = "chat" if not number else f"chat{number}"
        url = f"https://example.com/{number}/{{{{ labels.hook }}}}"
        parts.append(f"  {name}: {{url: '{url}', body: {chats[number % len(chats)]}}}")
    return "\n".join(parts) + "\n"


def test_forty_destinations_are_tried_fast(tmp_path: Path) -> None:
    """Some thousand messages take a fraction of a second of the processor's time."""
    path = tmp_path / "relay.yaml"
    path.write_text(HEAD + _forty())
    config = load([path]).config
    begun = time.process_time()

    found: list[Any] = trial.faults(config, [path])

    assert found == []
    assert time.process_time() - begun < 2
