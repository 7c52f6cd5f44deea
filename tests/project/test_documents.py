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
from circleci_relay.circleci import samples
from circleci_relay.errors import ConfigError
from circleci_relay.rendering import preset
from support.documents import anchors, fenced, parsed, text_of, with_a_source

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
HISTOGRAM_PARTS = ("_bucket", "_count", "_sum")
NO_TAGS = {"NEW", "ro"}
"""What else stands behind a colon: the version to come, and a mount."""

COMMAND = re.compile(
    r"(?:\w+=\S+ )?"
    r"(?:kubectl .*\bexec .* -- |docker (?:compose )?exec .* |/opt/circleci-relay/bin/"
    r"|docker run (?!.*--entrypoint).* )?"
    r"circleci-relay(?::\S+)? ([a-z-].*)"
)


class Block(NamedTuple):
    """A fenced block, and where it stands."""

    place: str
    text: str


@cache
def blocks(language: str | None = None) -> list[Block]:
    """Every fenced block of *language*, or of all, named by its file and line."""
    return [
        Block(f"{document.relative_to(ROOT).as_posix()}:{each.line}", each.text)
        for document in DOCUMENTS
        for each in fenced(document)
        if language in (None, each.language)
    ]


@cache
def inline() -> list[Block]:
    """All code within a line of text."""
    found = []
    for document in DOCUMENTS:
        place = document.relative_to(ROOT).as_posix()
        prose = re.sub(r"^( *)```.*?^\1```$", "", text_of(document), flags=re.MULTILINE | re.DOTALL)
        found += [
            Block(place, re.sub(r"\s+", " ", each))
            for each in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)
        ]
    return found


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


def commands() -> list[tuple[str, str, bool]]:
    """Every `circleci-relay` command line, where it stands, and whether it is shown in a block."""
    found = []
    for whole, code in ((True, blocks("console")), (False, inline())):
        for block in code:
            for line in block.text.replace("\\\n", " ").splitlines():
                match = COMMAND.match(line)
                if match:
                    words = re.split(r" [|>] ?|  #", match[1])[0]
                    found.append((block.place, words, whole))
    return found


def test_configurations_load(tmp_path: Path) -> None:
    """A relay.yaml from a document has neither faults nor warnings."""
    file = tmp_path / "relay.yaml"
    for block in configurations():
        file.write_text(with_a_source(block.text), encoding="utf-8")
        try:
            loaded = config.load([file], env={}, secrets=False)
        except ConfigError as fault:
            pytest.fail(f"{block.place}: {fault}")
        assert loaded.warnings == (), block.place


def test_there_are_configurations_and_commands() -> None:
    """The tests beside this one find what they look for."""
    assert len(configurations()) > 10
    assert len(commands()) > 100


def test_commands_parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command line from a document names a verb, options and samples there are."""
    monkeypatch.chdir(tmp_path)
    for place, line, whole in commands():
        words = shlex.split(line)
        if words[0].startswith("--"):
            continue
        for word in words[1:]:  # some files must be there
            if re.fullmatch(r"[\w-]+(\.yaml|-secret)", word):
                (tmp_path / word).touch()
            elif re.fullmatch(r"[\w.-]+/", word):
                (tmp_path / word).mkdir(exist_ok=True)
        try:
            given = parsed(words).params
        except click.UsageError as fault:
            # What is named in passing need not be all that is to be typed.
            said = fault.format_message()
            if whole or not re.search(r"^Missing|does not exist", said):
                pytest.fail(f"{place}: {line}: {said}")
            continue
        told = [*given.get("payloads", ()), given.get("payload")]
        named = {each for each in told if each and re.fullmatch(r"[a-z_]+", each)}
        assert named <= set(samples.names()), f"{place}: {line}"


def test_what_is_named_is_there() -> None:
    """Targets of make, and what lies in helm/ and examples/; images are of this version."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    code = [*blocks(), *inline()]
    named = [
        (block.place, name)
        for block in code
        for name in re.findall(r"^make ([\w-]+)", block.text, re.MULTILINE)
    ]
    assert len(named) > 20
    assert [each for each in named if each[1] not in targets] == []
    for document in DOCUMENTS:
        text = text_of(document)
        for path in re.findall(r"(?<![\w/.-])((?:helm|examples)/[\w./-]+)", text):
            assert (ROOT / path.rstrip(".")).exists(), f"{document.name}: {path}"
        if document.name != "CHANGELOG.md":  # which tells of those before, too
            tags = set(re.findall(r"\bcircleci-relay:([\w.-]*\w)", text))
            assert tags <= {__version__, *NO_TAGS}, document.name


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
