"""The files around the code: commands, CI, licence, image."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import circleci_relay

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    """The text of a file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_make_alone_lists_the_targets() -> None:
    """`make` prints one line for every target that a person may want, and does nothing."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(  # noqa: S603
        ["make", "-C", str(ROOT)],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    for target in ("demo", "test", "check", "bench", "docs", "image", "lock", "clean"):
        assert re.search(rf"^ +make {target} +\S", run.stdout, re.MULTILINE), target


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """People and CI run the same: `make test`, and nothing but it."""
    script = [
        line
        for line in read(".ci/run").splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert script == ["make test"]
    assert "make test" in read("README.md")


def test_scripts_can_be_run() -> None:
    """What the Makefile starts by name is executable, and bash scripts stop at the first fault."""
    for script in (ROOT / ".ci/run", *(ROOT / "scripts").iterdir()):
        if script.is_dir() or script.suffix == ".yaml":
            continue
        first, _, rest = script.read_text(encoding="utf-8").partition("\n")
        assert first.startswith("#!"), script
        assert os.access(script, os.X_OK), script
        assert "bash" not in first or "set -euo pipefail" in rest, script


def test_the_licence_is_whole() -> None:
    """LICENSE is the Apache License 2.0 from its title to its appendix."""
    text = read("LICENSE")
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "APPENDIX: How to apply the Apache License to your work." in text


def test_the_version_is_said_once() -> None:
    """The image's default label is the package's version."""
    assert f"ARG VERSION={circleci_relay.__version__}\n" in read("Dockerfile")


def test_the_image_is_fit_to_run() -> None:
    """Not root, stopped by SIGTERM, no shell between the signal and the program, hashes checked."""
    text = read("Dockerfile")
    stage = text[text.rindex("\nFROM ") :]
    assert "USER 10001:10001" in stage
    assert "STOPSIGNAL SIGTERM" in stage
    [entry] = re.findall(r"^ENTRYPOINT (.*)$", stage, re.MULTILINE)
    assert json.loads(entry) == ["circleci-relay"]
    [command] = re.findall(r"^CMD (.*)$", stage, re.MULTILINE)
    assert json.loads(command)[0] == "serve"
    for install in re.findall(r"install [^\n]*-r [^\n]*", text):
        assert "--require-hashes" in install
    for image in re.findall(r"^FROM (\S+:\S+)", text, re.MULTILINE):
        assert not image.endswith(":latest")
        assert re.search(r":\d+\.\d+", image), image
