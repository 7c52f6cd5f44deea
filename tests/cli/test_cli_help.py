"""What every verb has in common: help with examples, exit codes, no traceback."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from circleci_relay import __version__
from circleci_relay.cli import main
from circleci_relay.cli.output import printable
from circleci_relay.cli.verbs import VERBS, Family, Verb

if TYPE_CHECKING:
    from pathlib import Path

Relay = Callable[..., Awaitable[Any]]


def command(name: str) -> Verb:
    """The verb called *name*."""
    found = getattr(import_module(f"circleci_relay.cli.{name}"), name)
    assert isinstance(found, Verb)
    return found


def family(name: str) -> dict[str, Verb]:
    """The verb called *name* and those under it, by how they are called."""
    top = command(name)
    found = {name: top}
    if isinstance(top, Family):
        for under, verb in top.commands.items():
            assert isinstance(verb, Verb)
            found[f"{name} {under}"] = verb
    return found


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help_with_examples(name: str) -> None:
    """Someone who knows only the verb's name learns from --help how to type it."""
    for called in family(name):
        result = CliRunner().invoke(main, [*called.split(), "--help"])
        assert result.exit_code == 0
        assert f"circleci-relay {called}" in result.output.partition("Examples:\n")[2]

    result = CliRunner().invoke(main, [name, "--help"])
    assert VERBS[name] in " ".join(result.output.split())


@pytest.mark.parametrize("name", VERBS)
def test_the_examples_can_be_parsed(name: str) -> None:
    """No example names an option that does not exist."""
    verbs = family(name).values()
    text = "\n".join("\n".join(each.examples) for each in verbs).replace("\\\n", " ")
    for line in text.splitlines():
        words = [word for word in shlex.split(line, comments=True) if word != ">"]
        if f"circleci-relay {name}" not in line or line.startswith("#"):
            continue
        words = words[words.index("circleci-relay") + 2 :]
        words = words[: words.index("|")] if "|" in words else words
        options = [word for word in words if word.startswith("-") and word != "-"]
        known = {opt for each in verbs for param in each.params for opt in param.opts} | {"--help"}
        assert set(options) <= known, line


def test_help_is_quick() -> None:
    """`--help` imports no verb, and nothing that a verb needs."""
    runner = CliRunner()
    before = set(sys.modules)

    result = runner.invoke(main, ["--help"])

    assert result.exit_code == 0
    assert all(verb in result.output for verb in VERBS)
    assert not {name for name in set(sys.modules) - before if "circleci_relay" in name}


async def test_the_version_is_told(relay: Relay) -> None:
    """`--version` names the program and its version, under `python -m` too."""
    done = await relay("--version")

    assert (done.code, done.out) == (0, f"circleci-relay {__version__}\n")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["send"],
        ["send", "--nonsense"],
        ["send", "no_such_sample"],
        ["explain"],
        ["sink", "--listen", "nowhere"],
        ["sink", "--listen", "127.0.0.1:99999"],
        ["sink", "--secret-env", "NOT_SET_ANYWHERE"],
        ["serve", "--log-level", "loud"],
    ],
    ids=" ".join,
)
def test_misuse_exits_with_2(args: list[str]) -> None:
    """A command that cannot be understood is told apart from a fault that was found."""
    result = CliRunner().invoke(main, args)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize("verb", ["serve", "check", "explain ping", "send ping"])
async def test_a_missing_file_is_one_clear_line(relay: Relay, verb: str, tmp_path: Path) -> None:
    """A relay.yaml that is not there is said to be so, with exit code 1."""
    done = await relay(*verb.split(), "-c", str(tmp_path / "absent.yaml"))

    assert done.code == 1
    assert "absent.yaml" in done.out + done.err


def test_an_operating_system_error_is_one_clear_line(tmp_path: Path) -> None:
    """What the operating system refuses is told with the file it is about."""
    log = tmp_path / "absent" / "arrivals.jsonl"

    result = CliRunner().invoke(main, ["sink", "--listen", "127.0.0.1:0", "--log", str(log)])

    assert result.exit_code == 1
    assert result.stderr == f"circleci-relay: {log}: No such file or directory\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("feature/grün 漢", "feature/grün 漢"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("line\nbreak", "line\\nbreak"),
        ("\udce9", "\\udce9"),
        ("\u202eevil", "\\u202eevil"),
    ],
)
def test_nothing_is_printed_that_a_terminal_obeys(text: str, shown: str) -> None:
    """Escapes, line breaks, surrogates and direction marks are shown, not obeyed."""
    assert printable(text) == shown


def test_no_option_takes_a_secret_itself() -> None:
    """
    Command lines are visible to every user of a machine, so they hold no secrets.

    But for --token, which says so, and stands beside a file and a variable for it.
    """
    for verb in (verb for name in VERBS for verb in family(name).values()):
        options = {opt for param in verb.params for opt in param.opts}
        assert not {"--secret", "--password"} & options
        assert ("--token" in options) == ("--token-file" in options)
