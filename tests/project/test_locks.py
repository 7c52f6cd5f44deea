"""The locks under requirements/: complete, hashed, and in step with pyproject.toml."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("build.lock", "dev.lock", "runtime.lock")
ENTRY = re.compile(r"^(?P<requirement>\S.*?)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)$")


def project() -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def asked_for(lock: str) -> list[str]:
    """What pyproject.toml asks for, of that which *lock* must hold."""
    data = project()
    if lock == "build.lock":
        return [str(one) for one in data["build-system"]["requires"]]
    extras = data["project"]["optional-dependencies"].values()
    runtime = [*data["project"]["dependencies"], *itertools.chain.from_iterable(extras)]
    return runtime if lock == "runtime.lock" else [*runtime, *data["dependency-groups"]["dev"]]


def entries(lock: str) -> list[str]:
    """The logical lines of *lock*, each one requirement with its hashes."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    joined = re.sub(r" *\\\n *", " ", text)
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def pins(lock: str) -> dict[str, str]:
    """The version each package is pinned to."""
    found: dict[str, str] = {}
    for line in entries(lock):
        entry = ENTRY.match(line)
        assert entry, line
        requirement = Requirement(entry["requirement"])
        [pin] = requirement.specifier
        assert pin.operator == "==", line
        assert canonicalize_name(requirement.name) not in found, line
        found[canonicalize_name(requirement.name)] = pin.version
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_is_exact_and_hashed(lock: str) -> None:
    """Each entry of a lock names one version, and the hashes its files may have."""
    assert len(pins(lock)) > 5


@pytest.mark.parametrize("lock", LOCKS)
def test_the_pins_are_what_pyproject_asks_for(lock: str) -> None:
    """A version bound changed in pyproject.toml without `make lock` is noticed."""
    pinned = pins(lock)
    for text in asked_for(lock):
        requirement = Requirement(text)
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{text} is not in {lock}: run `make lock`"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{lock} pins {version}, pyproject.toml asks for {text}: run `make lock`"
        )


@pytest.mark.parametrize("lock", LOCKS)
def test_no_place_is_named(lock: str) -> None:
    """A lock says what to install, never from where: it works behind every mirror."""
    text = (ROOT / "requirements" / lock).read_text(encoding="utf-8")
    assert not re.findall(r"://|file:|index-url|find-links|trusted-host| @ ", text)


@pytest.mark.parametrize("lock", ["runtime.lock", "build.lock"])
def test_the_locks_agree(lock: str) -> None:
    """What is tested is what the image holds."""
    dev = pins("dev.lock")
    assert {name: version for name, version in pins(lock).items() if dev.get(name) != version} == {}
