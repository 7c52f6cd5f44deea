"""The Dockerfile: what it is made of, and what a linter of Dockerfiles says to it."""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

from circleci_relay import config

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
JOINED = re.sub(r" *\\\n *", " ", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE))
STEPS = [tuple(line.split(" ", 1)) for line in JOINED.splitlines() if line]
LAST = STEPS[max(n for n, step in enumerate(STEPS) if step[0] == "FROM") :]


def said(instruction: str) -> list[str]:
    """What follows each *instruction* of the last stage."""
    return [rest for name, rest in LAST if name == instruction]


def test_hadolint_finds_nothing() -> None:
    """Not a warning, and no rule is set aside."""
    hadolint = Path(sys.executable).parent / "hadolint"
    run = subprocess.run(  # noqa: S603
        [hadolint, "--no-color", "--failure-threshold", "none", ROOT / "Dockerfile"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout + run.stderr == ""
    assert "hadolint ignore" not in TEXT
    assert not list(ROOT.glob(".hadolint.y*ml"))


def test_the_base_is_pinned() -> None:
    """One image, by patch version and Debian release; by digest where it is built for others."""
    images = {rest.split()[0] for name, rest in STEPS if name == "FROM"} - {"base"}
    [image] = images
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+", image)
    assert re.search(r"^# base-digest: sha256:[0-9a-f]{64}$", TEXT, re.MULTILINE)
    assert f'base.name="docker.io/library/{image}"' in TEXT
    script = (ROOT / "scripts" / "image").read_text(encoding="utf-8")
    assert "base=docker-image://docker.io/library/$base@$digest" in script


def test_packages_are_installed_by_their_hashes() -> None:
    """What pip fetches is in a lock, hash and all; nothing else is fetched."""
    commands = [one for name, rest in STEPS if name == "RUN" for one in rest.split(" && ")]
    installs = [one for one in commands if " install " in one]
    assert len(installs) == 3
    for one in installs:
        assert ("--require-hashes -r requirements/" in one) != ("--no-deps dist/" in one), one
    assert not re.search(r"apt-get|apk |curl |wget |ADD ", JOINED)


def test_it_runs_as_nobody_in_particular() -> None:
    """A numeric user, which Kubernetes can check, and the only directory it may write."""
    assert said("USER") == ["10001:10001"]
    assert said("VOLUME") == ["/data"]
    assert said("WORKDIR") == ["/data"]


def test_what_installs_is_taken_out_of_what_runs() -> None:
    """The last stage strips the base, installs nothing, and gives away but the store's place."""
    commands = [one.strip() for rest in said("RUN") for one in rest.split(" && ")]
    assert "PYTHONHASHSEED=0 python /tmp/image_strip.py" in commands
    assert "scripts/image_strip.py /tmp/" in said("COPY")
    assert [one for one in commands if re.search(r"\b(pip|venv|install)\b", one)] == []
    assert [one for one in commands if "chown" in one] == ["chown 10001:10001 /data"]


def test_the_trial_is_a_trial() -> None:
    """The image is run locked down, and what should not be in it makes the trial fail."""
    trial = (ROOT / "scripts" / "image_trial.py").read_text(encoding="utf-8")
    for locked in (
        '"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"',
        "mount -o remount,bind,ro {root}",
        "setpriv --no-new-privs chroot --userspec={user}",
    ):
        assert locked in trial
    assert 'said("the inventory", relay.command("python", "-I", "-c", INVENTORY))' in trial
    inventory = runpy.run_path(str(ROOT / "scripts" / "image_inventory.py"), run_name="inventory")
    taken = inventory["main"].__globals__
    assert (
        (ROOT / "scripts" / "image_inventory.py").read_text("utf-8").endswith("sys.exit(main())\n")
    )
    taken |= {"tools": lambda: ["pip is there"], "rights": list, "CLOSED": ()}
    assert inventory["main"]() != 0


def test_nothing_stands_between_a_signal_and_the_program() -> None:
    """SIGTERM, and exec forms throughout: no shell would pass it on."""
    assert said("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(*said("ENTRYPOINT")) == ["circleci-relay"]
    assert json.loads(*said("CMD")) == ["serve"]
    assert "CIRCLECI_RELAY_CONFIG=/etc/circleci-relay" in " ".join(said("ENV"))


def test_the_health_check_asks_where_ops_listens() -> None:
    """Python that parses, no curl, at the port that is relay.yaml's default."""
    [check] = said("HEALTHCHECK")
    words = json.loads(check[check.index("CMD ") + 4 :])
    assert words[0] == "python"
    ast.parse(words[-1])
    default = config.model.Server().ops
    assert f"'127.0.0.1:{default.port}'" in words[-1]
    assert "/healthz" in words[-1]
    assert str(default.port) in said("EXPOSE")[0].split()


def test_labels_say_what_is_known() -> None:
    """OCI's names, and no address that somebody made up."""
    [labels] = said("LABEL")
    names = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", labels))
    assert names == {"title", "description", "version", "licenses", "base.name"}
    assert "://" not in labels


def test_only_what_is_copied_is_sent_to_the_builder() -> None:
    """.dockerignore lets in what the Dockerfile copies, and keeps out all else."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    let_in = {line[1:] for line in rules if line.startswith("!")}
    assert rules[0] == "*"
    copies = [rest.split()[:-1] for name, rest in STEPS if name == "COPY"]
    copied = {one for words in copies if not words[0].startswith("--from") for one in words}
    assert {path.partition("/")[0] if path == "src" else path for path in let_in} == copied
    assert all((ROOT / path).exists() for path in copied)
