"""What the image is made of, and the pipeline that releases it."""

from __future__ import annotations

import json
import re
import runpy
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BILL = runpy.run_path(str(ROOT / "scripts" / "bill.py"))
PIPELINE = (ROOT / ".circleci" / "config.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CONFIG: dict[str, Any] = yaml.safe_load(PIPELINE)
RELEASE = r"/^v\d+\.\d+\.\d+$/"


def test_each_licence_is_known_and_allowed() -> None:
    """Every package of the lock, and for PostgreSQL's driver alone the LGPL."""
    packages = BILL["packages"]()
    assert len(packages) > 40
    for each in packages:
        names = BILL["licences_of"](each.licence)
        assert names, each.name
        assert names <= BILL["ALLOWED"], f"{each.name}: {each.licence}"
    lesser = {each.name for each in packages if "LGPL" in each.licence}
    assert lesser == {"psycopg", "psycopg-binary"}
    # What was read by a person is no longer than it has to be, and nothing in it is left over.
    assert {each.name for each in packages if each.stated_by == "text"} == BILL["READ"].keys()
    assert {each.name for each in packages} >= BILL["NOTES"].keys()


def test_the_page_of_licences_is_fresh() -> None:
    """It says what the lock holds; `make licences` writes it again."""
    found = (ROOT / "THIRD-PARTY.md").read_text(encoding="utf-8")
    assert found == BILL["page"](), "THIRD-PARTY.md is stale: run `make licences`"


def test_the_bill_of_materials_is_whole() -> None:
    """Each package with version, licence and hashes; every dependency leads to one of them."""
    document = BILL["document"]()
    held = {each["bom-ref"]: each for each in document["components"]}
    assert "pkg:pypi/psycopg-binary" in " ".join(held)
    assert "pkg:pypi/tzdata" not in " ".join(held)
    for each in held.values():
        [files] = each["externalReferences"]
        assert all(re.fullmatch("[0-9a-f]{64}", one["content"]) for one in files["hashes"])
        assert files["hashes"], each["name"]
        assert each["licenses"], each["name"]
    needed = {ref for each in document["dependencies"] for ref in each["dependsOn"]}
    assert needed == held.keys(), "something is in the lock that nothing needs"
    assert json.dumps(document) == json.dumps(BILL["document"]())


@pytest.mark.parametrize(
    ("report", "code", "words"),
    [
        ({"name": "a", "version": "1", "vulns": []}, 0, "1 of 1 packages audited"),
        ({"name": "a", "skip_reason": "not found"}, 2, "this is no clean bill"),
        (
            {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]},
            1,
            "a 1: PYSEC-1, fixed in 2",
        ),
    ],
    ids=["clean", "unasked", "vulnerable"],
)
def test_an_audit_that_learned_nothing_is_no_success(
    report: dict[str, Any], code: int, words: str
) -> None:
    """pip-audit ends with 0 when no package could be looked up; `make audit` does not."""
    lines, found = BILL["verdict"]({"dependencies": [report]})
    assert found == code
    assert words in "\n".join(lines)


def test_the_pipeline_is_valid() -> None:
    """CircleCI's published schema takes it, and nothing in it is an expression by mistake."""
    schema = resources.files("check_jsonschema") / "builtin_schemas/vendor/circle-ci.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text("utf-8"))).validate(CONFIG)
    # CircleCI reads << everywhere, here-documents included.
    expression = re.compile(r"<< parameters\.\w+ >>|^ +<<: \*\w+$", re.MULTILINE)
    plain = expression.sub("", PIPELINE)
    assert "<<" not in plain
    for name, job in CONFIG["jobs"].items():
        executor = job["executor"]
        named = executor["name"] if isinstance(executor, dict) else executor
        assert named in CONFIG["executors"], name
    # Images of Docker and of machines alike, by a version that does not move.
    images = re.findall(r"image: (\S+?):(.+)", PIPELINE)
    assert {version for _, version in images} == {"<< parameters.version >>-bookworm", "2026.05.1"}
    # The oldest Python that is supported, and the very one that the image is built on.
    [shipped] = re.findall(r"^FROM python:([\d.]+)", DOCKERFILE, re.MULTILINE)
    [oldest] = re.findall(r'^requires-python = ">=([\d.]+)"$', PROJECT, re.MULTILINE)
    [tested] = re.findall(r"version: \[(.+)\]", PIPELINE)
    assert tested.split(", ")[-1] == shipped
    assert tested.startswith(f"{oldest}.")
    assert set(re.findall(r"default: (3\S+)", PIPELINE)) == {shipped}


def test_the_pipeline_runs_what_there_is() -> None:
    """Each make target and script it names exists, and the tests are `make test`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", makefile, re.MULTILINE)
    run = re.findall(r"command: make (\w+)", PIPELINE)
    assert {"check", "test", "audit", "sbom", "image"} <= set(run) <= set(targets)


def jobs(workflow: str) -> dict[str, dict[str, Any]]:
    """The jobs of a workflow, by the name that others wait for, with what is said of each."""
    found = {}
    for each in CONFIG["workflows"][workflow]["jobs"]:
        [(job, said)] = each.items() if isinstance(each, dict) else [(each, {})]
        assert job in CONFIG["jobs"], job
        found[said.get("name", job)] = said
    return found


def test_only_a_release_is_published() -> None:
    """For a tag vX.Y.Z alone, after everything else has passed for that very tag."""
    change = jobs("change")
    publish = change.pop("publish")
    assert publish["filters"] == {"branches": {"ignore": "/.*/"}, "tags": {"only": RELEASE}}
    assert set(publish["requires"]) == change.keys()
    assert publish["context"] == "publishing"
    for name, said in change.items():
        # A job that does not run for tags would keep its dependants from running.
        assert said["filters"] == {"tags": {"only": RELEASE}}, name
        assert set(said.get("requires", ())) <= change.keys(), name


def test_what_is_out_is_audited_every_night() -> None:
    """A vulnerability that becomes known later is noticed without a change."""
    assert jobs("nightly").keys() == {"audit"}
    [trigger] = CONFIG["workflows"]["nightly"]["triggers"]
    assert trigger["schedule"]["filters"]["branches"]["only"] == "main"
