"""What stands in examples/ to be taken over: valid, and of a piece with the program."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jsonschema_rs
import pytest
import yaml

from circleci_relay import __version__, config
from support.documents import parsed, text_of
from support.kubernetes import VERSIONS, faults

if TYPE_CHECKING:
    from circleci_relay.config.model import Server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HOW_TO = ROOT / "docs" / "how-to"
UNIT = EXAMPLES / "systemd" / "circleci-relay.service"
USER = 10001
"""Whom the image runs as."""

NATIVE_SIDECARS = (1, 28)
"""The first version of Kubernetes whose init containers have a restart policy."""

EXPOSED = 1.5
"""The most that `systemd-analyze security` may find, of 10: nothing but what a server needs."""

AT_LEAST = 10.0
"""Seconds that whoever ends the relay waits beyond all that it may take itself."""

_FILES = re.compile(r"\$\{file:([^}]+)\}")


@cache
def sidecar() -> dict[str, Any]:
    """The objects of sidecar.yaml, by kind."""
    objects = yaml.safe_load_all((EXAMPLES / "sidecar.yaml").read_text(encoding="utf-8"))
    return {each["kind"]: each for each in objects}


def pod_labels() -> dict[str, str]:
    """What the Service of sidecar.yaml knows its pod by."""
    found: dict[str, str] = sidecar()["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    return found


@cache
def composed() -> dict[str, Any]:
    """The project of docker-compose.yaml."""
    text = (EXAMPLES / "docker-compose.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@cache
def unit() -> dict[str, list[str]]:
    """The settings of the unit, in the order they stand."""
    settings: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


def served(text: str, folder: Path) -> Server:
    """Load a relay.yaml without its secrets; it has neither faults nor warnings."""
    file = folder / "relay.yaml"
    file.write_text(text, encoding="utf-8")
    loaded = config.load([file], env={}, secrets=False)
    assert loaded.warnings == ()
    return loaded.config.server


def configured_by(words: list[str]) -> str:
    """What a command line has the program read."""
    with parsed(words) as command:
        [path] = command.params["config"]
    return str(path)


def kept_in(text: str, folder: Path) -> Path:
    """The file that a relay.yaml has its store in."""
    file = folder / "relay.yaml"
    file.write_text(text, encoding="utf-8")
    url = config.load([file], env={}, secrets=False).config.store.url
    return Path(str(url).removeprefix("sqlite:///"))


def stops_in(server: Server) -> float:
    """How long to wait for it to end, at least."""
    shutdown = server.shutdown
    return shutdown.linger + shutdown.flush + shutdown.drain + AT_LEAST


def test_the_sidecar_is_valid() -> None:
    """Every object, in every version of Kubernetes that has sidecars."""
    versions = [each for each in VERSIONS if tuple(map(int, each.split("."))) >= NATIVE_SIDECARS]
    assert len(versions) > 2
    found = [
        fault for one in sidecar().values() for each in versions for fault in faults(one, each)
    ]
    assert found == []
    assert {"StatefulSet", "Service", "ConfigMap"} == sidecar().keys()


def test_the_sidecar_fits_the_program(tmp_path: Path) -> None:
    """Ports, probes, files and times are those of the relay.yaml beside them."""
    text = sidecar()["ConfigMap"]["data"]["relay.yaml"]
    server = served(text, tmp_path)
    [relay] = sidecar()["StatefulSet"]["spec"]["template"]["spec"]["initContainers"]
    pod = sidecar()["StatefulSet"]["spec"]["template"]["spec"]
    assert relay["restartPolicy"] == "Always"
    assert relay["image"] == f"circleci-relay:{__version__}"
    assert {each["name"]: each["containerPort"] for each in relay["ports"]} == {
        "hooks": server.listen.port,
        "ops": server.ops.port,
    }
    for probe in ("startupProbe", "livenessProbe"):
        assert relay[probe]["httpGet"] == {"path": "/healthz", "port": "ops"}
    assert "readinessProbe" not in relay, "the app's own readiness is not the relay's business"
    service = sidecar()["Service"]["spec"]
    assert service["publishNotReadyAddresses"] is True
    # By its number: a name is looked for among `containers` alone by older clusters.
    assert [each["targetPort"] for each in service["ports"]] == [server.listen.port]
    assert service["selector"].items() <= pod_labels().items()
    app = pod["containers"][0]["ports"][0]["containerPort"]
    assert f"url: http://127.0.0.1:{app}/" in text
    mounts = {each["mountPath"]: each["name"] for each in relay["volumeMounts"]}
    assert {str(Path(each).parent) for each in _FILES.findall(text)} <= mounts.keys()
    assert "sqlite:////data/" in text
    [claim] = sidecar()["StatefulSet"]["spec"]["volumeClaimTemplates"]
    volumes = {each["name"] for each in pod["volumes"]} | {claim["metadata"]["name"]}
    assert set(mounts.values()) <= volumes
    assert pod["terminationGracePeriodSeconds"] > stops_in(server), "the app's own end comes first"


def test_the_sidecar_is_of_a_piece(tmp_path: Path) -> None:
    """What it refers to is in the file, or made by the command that stands at its head."""
    workload = sidecar()["StatefulSet"]
    pod = workload["spec"]["template"]["spec"]
    [relay] = pod["initContainers"]
    mounts = {each["name"]: each["mountPath"] for each in relay["volumeMounts"]}
    configured, secret = pod["volumes"]
    assert configured["configMap"]["name"] == sidecar()["ConfigMap"]["metadata"]["name"]
    assert configured_by(relay["args"]) == mounts[configured["name"]]
    assert workload["spec"]["serviceName"] == sidecar()["Service"]["metadata"]["name"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= pod_labels().items()

    head = (EXAMPLES / "sidecar.yaml").read_text(encoding="utf-8")
    [(command, name)] = re.findall(r"# +(kubectl create secret generic (\S+) .*)\n", head)
    assert secret["secret"]["secretName"] == name
    keys = re.findall(r"--from-literal=([\w-]+)=", command)
    text = sidecar()["ConfigMap"]["data"]["relay.yaml"]
    assert sorted(_FILES.findall(text)) == sorted(f"{mounts[secret['name']]}/{k}" for k in keys)

    [claim] = workload["spec"]["volumeClaimTemplates"]
    written = {
        name for name, path in mounts.items() if kept_in(text, tmp_path).is_relative_to(path)
    }
    assert written == {claim["metadata"]["name"]}
    assert pod["securityContext"]["fsGroup"] == USER
    assert {relay["securityContext"][each] for each in ("runAsUser", "runAsGroup")} == {USER}

    page = text_of(HOW_TO / "run-as-a-sidecar.md")
    [app] = pod["containers"]
    assert command in page
    assert f"rollout status statefulset/{workload['metadata']['name']}\n" in page
    assert f"exec {workload['metadata']['name']}-0 -c {relay['name']} -- circleci-relay" in page
    assert app["readinessProbe"]["httpGet"]["port"] in {each["name"] for each in app["ports"]}


def test_the_project_is_valid(tmp_path: Path) -> None:
    """By Compose's own schema; what it mounts is there, and what it reads is given to it."""
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    vendored = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text(encoding="utf-8"))
    found = [str(error) for error in jsonschema_rs.validator_for(schema).iter_errors(composed())]
    assert found == []
    services = composed()["services"]
    built = [service["image"] for service in services.values() if "build" in service]
    assert built == ["circleci-relay"], "builds run side by side: two of one name collide"
    for service in services.values():
        pinned = re.search(r":v?\d+\.\d+", service["image"])
        assert pinned or service["image"] in built, service["image"]
        assert "build" in service or pinned or service["pull_policy"] == "never"
        for volume in service.get("volumes", ()):
            place, inside = volume.split(":")[:2]
            assert (EXAMPLES / place).exists() or place in composed()["volumes"], inside
    relay = services["relay"]
    text = (EXAMPLES / "compose" / "relay.yaml").read_text(encoding="utf-8")
    server = served(text, tmp_path)
    assert {Path(each).name for each in _FILES.findall(text)} == set(relay["secrets"])
    assert set(relay["secrets"]) == composed()["secrets"].keys()
    assert [each.split(":") for each in relay["ports"]] == [
        ["8080", str(server.listen.port)],
        ["127.0.0.1", "8081", str(server.ops.port)],
        ["127.0.0.1", "8082", str(server.admin.port)],
    ]
    assert float(relay["stop_grace_period"].removesuffix("s")) >= stops_in(server)
    assert f"http://sink:{services['sink']['command'][-1].rpartition(':')[2]}/" in text


def test_the_project_is_of_a_piece(tmp_path: Path) -> None:
    """Its services reach each other, read what they are given, and write where they may."""
    services = composed()["services"]
    relay, sink, postgres = (services[each] for each in ("relay", "sink", "postgres"))
    dockerfile = text_of(ROOT / "Dockerfile")
    folder = relay["volumes"][0].split(":")[1]
    assert f"CIRCLECI_RELAY_CONFIG={folder}\n" in dockerfile
    assert "command" not in relay
    for one in (relay, sink):
        assert one["read_only"]
        assert one["tmpfs"] == ["/data"]
        assert f"\nVOLUME {one['tmpfs'][0]}\n" in dockerfile
    assert networks("relay") >= networks("sink") | networks("prometheus")
    used = set().union(*(networks(each) for each in services))
    assert used == {"default", *composed()["networks"]}
    for name, service in services.items():
        for needed in service.get("depends_on", {}):
            assert needed == "relay" or "healthcheck" in services[needed], (
                "the image has the relay's"
            )
            assert networks(name) & networks(needed)

    text = (EXAMPLES / "compose" / "relay.yaml").read_text(encoding="utf-8")
    assert {str(Path(each).parent) for each in _FILES.findall(text)} == {"/run/secrets"}
    [store] = re.findall(r"^  url: (postgresql:.*)$", text, re.MULTILINE)
    [password] = _FILES.findall(store)
    url = urlsplit(_FILES.sub("0", store))
    given = postgres["environment"]
    assert url.hostname == "postgres"
    assert networks(url.hostname) == {"database"} <= networks("relay")
    assert composed()["networks"]["database"] == {"internal": True}
    assert (url.username, url.path) == (given["POSTGRES_USER"], f"/{given['POSTGRES_DB']}")
    assert {f"--username={url.username}", f"--dbname={url.path[1:]}"} <= set(
        postgres["healthcheck"]["test"]
    )
    assert given["POSTGRES_PASSWORD_FILE"] == password
    assert postgres["secrets"] == [Path(password).name]

    with parsed(sink["command"]) as command:
        assert command.params["listen"][0] == "0.0.0.0", "another container asks"  # noqa: S104
    head = text_of(EXAMPLES / "docker-compose.yaml")
    steps = re.findall(r"^#   (.*)$", head, re.MULTILINE)
    [names] = re.findall(r"for name in (.*?); do", head)
    assert {each["file"] for each in composed()["secrets"].values()} == {
        f"secrets/{name}" for name in names.split()
    }
    assert set(names.split()) == composed()["secrets"].keys()
    assert "\n".join(steps) in text_of(HOW_TO / "run-with-compose.md")


def networks(name: str) -> set[str]:
    """What a service of the project is connected to."""
    return set(composed()["services"][name].get("networks", ["default"]))


def test_the_project_is_watched() -> None:
    """Prometheus finds the relay, and the rules where its configuration looks for them."""
    mounted = [each.split(":")[:2] for each in composed()["services"]["prometheus"]["volumes"]]
    inside = {to: EXAMPLES / place for place, to in mounted}
    watched = yaml.safe_load(inside["/etc/prometheus/prometheus.yml"].read_text(encoding="utf-8"))
    for name in watched["rule_files"]:
        assert "groups" in yaml.safe_load(inside[f"/etc/prometheus/{name}"].read_text("utf-8"))
    [job] = watched["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["relay:8081"]


def test_the_unit_fits_the_program(tmp_path: Path) -> None:
    """The files it hands over are those relay.yaml reads; it waits long enough for the end."""
    text = (EXAMPLES / "systemd" / "relay.yaml").read_text(encoding="utf-8")
    server = served(text, tmp_path)
    handed = {each.partition(":")[0] for each in unit()["LoadCredential"]}
    given = f"/run/credentials/{UNIT.name}"
    assert set(_FILES.findall(text)) == {f"{given}/{each}" for each in handed}
    [state] = unit()["StateDirectory"]
    assert f"sqlite:////var/lib/{state}/" in text
    assert float(unit()["TimeoutStopSec"][0].removesuffix("s")) >= stops_in(server)


def test_the_unit_is_put_where_the_page_says() -> None:
    """Its command lines are the program's, and name what the page's commands put there."""
    page = text_of(HOW_TO / "run-with-systemd.md")
    put = dict(re.findall(r"^install -m 644 (examples/\S+) (/\S+/)$", page, re.MULTILINE))
    file = put["examples/systemd/relay.yaml"] + "relay.yaml"
    assert put[f"examples/systemd/{UNIT.name}"] == "/etc/systemd/system/"
    [home] = re.findall(r"^python3 -m venv (\S+)$", page, re.MULTILINE)
    check, signal = unit()["ExecReload"]
    assert signal == "/bin/kill -HUP $MAINPID"
    for line, verb in ((unit()["ExecStart"][0], "serve"), (check, "check")):
        program, *words = line.split()
        assert program == f"{home}/bin/circleci-relay"
        assert words[0] == verb
        assert configured_by(words) == file
    [(names, folder)] = re.findall(
        r"for name in (.*?); do openssl rand -hex 32 > (/\S+)/\$name; done", page
    )
    assert {f"{each}:{folder}/{each}" for each in names.split()} == set(unit()["LoadCredential"])


def test_the_unit_is_valid(tmp_path: Path) -> None:
    """By the word of systemd itself, which also tells how much is left open to the relay."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not here: nobody but systemd can tell")
    program = tmp_path / "circleci-relay"
    program.touch(mode=0o755)
    file = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    file.write_text(text.replace("/opt/circleci-relay/bin/circleci-relay", str(program)), "utf-8")
    for verb in (
        ["verify", "--man=no"],
        ["security", "--offline=true", f"--threshold={EXPOSED * 10:.0f}"],
    ):
        done = subprocess.run(  # noqa: S603 - a tool of the system
            [tool, *verb, str(file)], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
