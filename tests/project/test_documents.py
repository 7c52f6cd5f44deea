"""README.md, docs/ and what lies beside them: what they show can be typed, loaded and found."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from circleci_relay import __version__, config, series
from circleci_relay.cli import main
from circleci_relay.errors import ConfigError
from circleci_relay.rendering import preset

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in ("docs", "examples", "helm")
            for path in (ROOT / folder).rglob("*.md")
        ),
    ],
    key=lambda path: path.as_posix(),
)
A_SOURCE = "\nsources:\n  circleci: {path: /webhooks/circleci, secrets: [made-up-secret]}\n"
HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")


@cache
def text_of(document: Path) -> str:
    """What stands in a file."""
    return document.read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block of a document."""

    place: str
    language: str
    text: str


@cache
def blocks(language: str) -> list[Block]:
    """Every fenced block of *language*, named by its file and line."""
    found = []
    for document in DOCUMENTS:
        text = text_of(document)
        for match in re.finditer(r"^( *)```(\w+)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            place = f"{document.relative_to(ROOT).as_posix()}:{line}"
            body = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
            found.append(Block(place, match[2], body))
    return [block for block in found if block.language == language]


@cache
def mappings() -> list[tuple[Block, dict[str, Any]]]:
    """The YAML blocks that are one mapping, and it. All of them are YAML."""
    found = []
    for block in blocks("yaml"):
        documents = list(yaml.safe_load_all(block.text))
        if len(documents) == 1 and isinstance(documents[0], dict):
            found.append((block, documents[0]))
    return found


def configurations() -> list[Block]:
    """The YAML blocks that are a whole relay.yaml: they have routes and destinations."""
    return [block for block, what in mappings() if {"routes", "destinations"} <= what.keys()]


def commands() -> list[tuple[str, str]]:
    """Every `circleci-relay` command line in a console block, and where it stands."""
    found = []
    for block in blocks("console"):
        joined = block.text.replace("\\\n", " ")
        for line in joined.splitlines():
            match = re.match(r"(?:\w+=\S+ )?circleci-relay (.*)", line)
            if match:
                found.append((block.place, re.split(r" [|>] ?|  #", match[1])[0]))
    return found


def test_configurations_load(tmp_path: Path) -> None:
    """A relay.yaml from a document has neither faults nor warnings."""
    file = tmp_path / "relay.yaml"
    for block in configurations():
        text = block.text if "\nsources:" in f"\n{block.text}" else block.text + A_SOURCE
        file.write_text(text, encoding="utf-8")
        try:
            loaded = config.load([file], env={}, secrets=False)
        except ConfigError as fault:
            pytest.fail(f"{block.place}: {fault}")
        assert loaded.warnings == (), block.place


def test_there_are_configurations_and_commands() -> None:
    """The tests beside this one find what they look for."""
    assert len(configurations()) > 10
    assert len(commands()) > 10


def test_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line from a document names a verb and options there are."""
    monkeypatch.chdir(tmp_path)
    # With the settings of the program: a command keeps the help option it is first asked for.
    parent = click.Context(main, **main.context_settings)
    for place, line in commands():
        verb, *arguments = shlex.split(line)
        if verb == "--version":
            continue
        for argument in arguments:  # some files must be there
            if re.fullmatch(r"[\w-]+(\.yaml|-secret)", argument):
                (tmp_path / argument).touch()
            elif re.fullmatch(r"[\w.-]+/", argument):
                (tmp_path / argument).mkdir(exist_ok=True)
        command = main.get_command(parent, verb)
        assert command is not None, place
        try:
            command.make_context(verb, arguments, parent=parent)
        except click.UsageError as fault:
            pytest.fail(f"{place}: {line}: {fault.message}")


def test_generated_pages_are_fresh() -> None:
    """The reference says what the code and the chart say; `make docs` writes it again."""
    stale = runpy.run_path(str(ROOT / "scripts" / "pages"), run_name="pages")["stale"]()
    assert not stale, f"run `make docs`: {', '.join(path.name for path in stale)}"


def test_no_page_of_a_preset_is_left_over() -> None:
    """A preset that is gone takes its page along."""
    pages = {each.stem for each in (ROOT / "docs" / "reference" / "presets").glob("*.md")}
    assert pages == set(preset.names())


def test_links_lead_somewhere() -> None:
    """A link to a file, or to a heading in one, finds it."""
    broken = []
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            file = (document.parent / path) if path else document
            if not file.exists() or (anchor and anchor not in anchors(file.resolve())):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert broken == []


@cache
def anchors(document: Path) -> set[str]:
    """What can be linked to in a document."""
    return {slug(each) for each in re.findall(r"^#+ (.*)$", text_of(document), re.MULTILINE)}


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_metrics_exist() -> None:
    """A document names only series that are served."""
    known = {one.full_name for one in series.documented()}
    for document in DOCUMENTS:
        for name in re.findall(r"\bcircleci_relay_[a-z_]*[a-z]", text_of(document)):
            base = name
            for part in HISTOGRAM_PARTS:
                base = base.removesuffix(part)
            assert name in known or base in known, f"{document.relative_to(ROOT)}: {name}"


def test_tests_named_as_proof_exist() -> None:
    """Each test that the guarantees point to is there."""
    text = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert named
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        if test:
            assert re.search(
                rf"^\s*(async )?def {test}\(", path.read_text("utf-8"), re.MULTILINE
            ), f"{file}::{test}"


def test_the_readme_fits_on_a_screen() -> None:
    """It is short, says the two commands, and shows a picture that loads at once."""
    text = text_of(ROOT / "README.md")
    assert len(text.splitlines()) <= 60
    assert {"make demo", "make test"} <= {line.split("  ")[0] for line in text.splitlines()}
    [picture] = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert (ROOT / picture).stat().st_size < 250_000


def test_every_document_is_found() -> None:
    """Each page of docs/ is linked from docs/README.md."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for document in (ROOT / "docs").rglob("*.md"):
        name = document.relative_to(ROOT / "docs").as_posix()
        assert name == "README.md" or f"({name}" in index, name


def test_alert_rules_are_valid(tmp_path: Path) -> None:
    """Prometheus takes the alerts that the documents propose."""
    promtool = shutil.which("promtool") or shutil.which("promtool", path=str(ROOT / ".tools"))
    if promtool is None:
        pytest.skip("promtool is not here")
    rules = [block for block, what in mappings() if "groups" in what]
    assert rules
    for number, block in enumerate(rules):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block.text, encoding="utf-8")
        run = subprocess.run(  # noqa: S603
            [promtool, "check", "rules", str(file)], check=False, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr


def test_the_changelog_knows_the_version() -> None:
    """The changelog has a section for the version, or for what leads up to it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[(Unreleased|{re.escape(__version__)})\]", text, re.MULTILINE)
