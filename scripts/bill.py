#!/usr/bin/env python3
"""
What the image's Python packages are: their licences, a bill of materials, an audit.

    scripts/bill.py licences    write THIRD-PARTY.md
    scripts/bill.py sbom FILE   write a CycloneDX bill of materials of the image
    scripts/bill.py audit       ask the advisory database about every package of the lock

The lock says which packages, versions and hashes; the metadata installed in .venv, which is held
to the same versions, says the rest.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "runtime.lock"
PAGE = "THIRD-PARTY.md"
ADVICE_S = 300
# What may be in the image. The weak copyleft ones are named one by one in NOTES.
ALLOWED = {
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "LGPL-3.0-only",
    "MIT",
    "MPL-2.0",
    "PSF-2.0",
}
# Where the metadata holds no SPDX expression: what the licence's text says.
READ = {
    "aiosignal": "Apache-2.0",
    "async-timeout": "Apache-2.0",
    "google-re2": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
    "markdown-it-py": "MIT",
    "mdurl": "MIT",
    "python-dateutil": "BSD-3-Clause",  # all of it; newer parts under Apache-2.0 as well
    "tzdata": "Apache-2.0",  # for Windows alone, so hardly ever installed
    "uvloop": "Apache-2.0 OR MIT",
}
NOTES = {
    "aiohttp": "holds llhttp (MIT)",
    "google-re2": "holds RE2 (BSD-3-Clause) and Abseil (Apache-2.0)",
    "orjson": "holds crates of Rust (MIT, Apache-2.0, MPL-2.0)",
    "psycopg": "a library, unchanged and replaceable: see below",
    "psycopg-binary": "holds libpq (PostgreSQL), OpenSSL (Apache-2.0), Kerberos (MIT), "
    "OpenLDAP (OLDAP-2.8), Cyrus SASL (of BSD's kind), libcrypt and libkeyutils (LGPL-2.1)",
    "pydantic-core": "holds crates of Rust (MIT, Apache-2.0)",
    "pyyaml": "holds libyaml (MIT)",
    "uvloop": "holds libuv (MIT)",
}
HEAD = """\
# What comes from others

<!-- Made by scripts/bill.py: `make licences` writes it again. -->

What the image holds beside circleci-relay itself, which is under Apache-2.0. Each package brings
the text of its licence along, in
`/opt/circleci-relay/lib/python3.*/site-packages/*.dist-info/`.

| package | version | licence | stated by | remarks |
|---|---|---|---|---|
"""
TAIL = """
Libraries that a package holds compiled are named under *remarks*. *Stated by* is `metadata` where
the package itself holds an SPDX expression, `text` where somebody read its licence.

- **psycopg** (LGPL-3.0) is used as a library, unchanged. Whoever passes the image on passes its
  licence on with it, which is inside, and may not keep others from putting a changed psycopg in its
  place: it is a directory of plain files that can be replaced. Nothing of this reaches the relay's
  own code. A relay without PostgreSQL does without it: it is an extra of its own when installed
  with pip.
- **orjson** (MPL-2.0 in part) is used unchanged; its source is published by its authors.
- **The base** is Python (PSF-2.0 and, for what it includes, the licences in
  `/usr/local/lib/python3.13/LICENSE.txt`) on Debian 13, whose packages each state theirs in
  `/usr/share/doc/*/copyright`: GPL-2.0 and GPL-3.0 (coreutils, bash, util-linux, dpkg), LGPL-2.1
  (glibc), MIT, BSD and others. Debian publishes the source of all of it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One entry of the lock, and what its metadata says."""

    name: str
    version: str
    requirement: Requirement
    hashes: tuple[str, ...]  #: SHA-256 of each file that may be installed for it.
    licence: str  #: An SPDX expression.
    stated_by: str
    summary: str
    needs: frozenset[str]  #: Names it may depend on, whatever the extra.

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"

    def in_the_image(self) -> bool:
        """Whether it is installed there."""
        return on_linux(self.requirement)


def on_linux(requirement: Requirement) -> bool:
    """Whether CPython on Linux wants it."""
    on = {"sys_platform": "linux", "implementation_name": "cpython"}
    return requirement.marker is None or requirement.marker.evaluate(on)


def licence(name: str, metadata: dict[str, str]) -> tuple[str, str]:
    """The SPDX expression of package *name*, and whether its metadata states it."""
    for key in ("License-Expression", "License"):
        try:
            return canonicalize_license_expression(metadata.get(key, "")), "metadata"
        except InvalidLicenseExpression:
            continue
    return READ.get(name, "unknown"), "text"


def packages() -> list[Package]:
    """Every package of the lock, in its order."""
    text = re.sub(r" *\\\n *", " ", LOCK.read_text(encoding="utf-8"))
    found = []
    for line in text.splitlines():
        stated, *hashes = line.split(" --hash=sha256:")
        requirement = Requirement(stated)
        name = canonicalize_name(requirement.name)
        [pin] = requirement.specifier
        said, needs = {}, []
        # What is for another system may be here all the same, or not: the page is to be one.
        if on_linux(requirement):
            held = importlib.metadata.metadata(name)
            if held["Version"] != pin.version:
                raise SystemExit(f"bill: .venv holds {name} {held['Version']}, the lock another")
            said = {key: held[key] for key in held}
            needs = held.get_all("Requires-Dist") or []
        expression, stated_by = licence(name, said)
        found.append(
            Package(
                name=name,
                version=pin.version,
                requirement=requirement,
                hashes=tuple(hashes),
                licence=expression,
                stated_by=stated_by,
                summary=said.get("Summary", ""),
                needs=frozenset(canonicalize_name(Requirement(one).name) for one in needs),
            )
        )
    return found


def licences_of(expression: str) -> set[str]:
    """The names in an SPDX expression."""
    return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}


def page() -> str:
    """THIRD-PARTY.md, anew."""
    rows = []
    for each in packages():
        notes = [] if each.in_the_image() else ["not in the image: Windows alone"]
        notes += [NOTES[each.name]] if each.name in NOTES else []
        cells = (each.name, each.version, each.licence, each.stated_by, "; ".join(notes))
        rows.append(f"| {' | '.join(cells)} |".replace("|  |", "| |"))
    return HEAD + "\n".join(rows) + "\n" + TAIL


def component(package: Package) -> dict[str, Any]:
    """A package as CycloneDX has it; the hashes are of the files that pip may fetch for it."""
    known: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "licenses": [{"expression": package.licence, "acknowledgement": "declared"}],
        "externalReferences": [
            {
                "type": "distribution",
                "url": package.purl,
                "comment": "one hash for each file that may be installed",
                "hashes": [{"alg": "SHA-256", "content": one} for one in package.hashes],
            }
        ],
    }
    return known | ({"description": package.summary} if package.summary else {})


def document() -> dict[str, Any]:
    """The image's Python packages as CycloneDX 1.6 has them; the same every time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (ROOT / "src/circleci_relay/__init__.py").read_text(encoding="utf-8")
    [version] = re.findall(r'^__version__ *= *"(.*)"', source, re.MULTILINE)
    held = {each.name: each for each in packages() if each.in_the_image()}
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    direct = {canonicalize_name(Requirement(one).name) for one in wanted} & held.keys()
    own = f"pkg:pypi/circleci-relay@{version}"
    needs = {own: direct} | {each.purl: each.needs & held.keys() for each in held.values()}
    components = [component(each) for each in held.values()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        # Of what is in it, so that the same image has the same document.
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own, components]))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "circleci-relay",
                "version": version,
                "description": project["description"],
                "purl": own,
                "licenses": [{"expression": "Apache-2.0", "acknowledgement": "declared"}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(held[one].purl for one in names)}
            for ref, names in needs.items()
        ],
    }


def sbom() -> str:
    """The document as text, which CycloneDX's own schema has taken."""
    text = json.dumps(document(), indent=2, ensure_ascii=False) + "\n"
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - it takes long
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault is not None:
        raise SystemExit(f"bill: the document is not CycloneDX: {str(fault)[:500]}")
    return text


def verdict(report: dict[str, Any]) -> tuple[list[str], int]:
    """What pip-audit's JSON comes to, in lines, and the exit code."""
    known = report["dependencies"]
    unasked = [each["name"] for each in known if "skip_reason" in each]
    lines = [
        f"{each['name']} {each['version']}: {one['id']}"
        + (
            f", fixed in {', '.join(one['fix_versions'])}"
            if one["fix_versions"]
            else ", no fix yet"
        )
        for each in known
        for one in each.get("vulns", ())
    ]
    bad = bool(lines)
    lines.append(f"{len(known) - len(unasked)} of {len(known)} packages audited")
    if unasked:
        # pip-audit itself calls this success.
        lines.append(f"nothing is known of {', '.join(unasked)}: this is no clean bill")
    return lines, 1 if bad else 2 if unasked else 0


def audit(*arguments: str) -> int:
    """0: nothing known against any; 1: something is; 2: it could not be learned."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes"]
    words += ["--disable-pip", "--progress-spinner", "off", "--format", "json", *arguments]
    try:
        done = subprocess.run(  # noqa: S603
            words, check=False, capture_output=True, text=True, timeout=ADVICE_S
        )
        lines, code = verdict(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        lines, code = [f"the advisory database did not answer within {ADVICE_S} s"], 2
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        lines, code = [f"the advisory database could not be asked: {last}"], 2
    print(*(f"audit: {line}" for line in lines), sep="\n")  # noqa: T201
    return code


def main(verb: str, *arguments: str) -> int:
    """Do what *verb* says."""
    match verb, *arguments:
        case "licences", *_:
            (ROOT / PAGE).write_text(page(), encoding="utf-8")
        case "sbom", file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(sbom(), encoding="utf-8")
            print(f"sbom: {file}")  # noqa: T201
        case "audit", *rest:
            return audit(*rest)
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [""])))
