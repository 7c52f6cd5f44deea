"""The chart's pods: who reaches them, what they may do, and what of the program they count on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from circleci_relay.cli import main
from circleci_relay.config import values as settings
from support.chart_cases import defaults, faults, merged, release
from support.helm import ROOT, Object, Release

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LISTENERS = {"hooks": 8080, "ops": 8081, "admin": 8082}


def test_selectors_find_the_relay_and_nothing_else() -> None:
    """Of Services, budgets, policies, monitors: each finds the relay's pods, and not the test's."""

    def check(release: Release) -> Iterator[str]:
        relay = release.template()["metadata"]["labels"]
        others = [each["metadata"]["labels"] for each in release.all("Pod")]
        for where, selector in _selectors(release):
            if not selector or not selector.items() <= relay.items():
                yield f"{where} does not select the relay: {selector}"
            if any(selector.items() <= other.items() for other in others):
                yield f"{where} selects the test too"

    assert faults(check) == []


def test_two_releases_beside_each_other() -> None:
    """Selectors of one release do not find the pods of another in the same namespace."""
    one, other = release("default"), release("in-the-clear")
    labels = other.template()["metadata"]["labels"]
    assert not any(selector.items() <= labels.items() for _, selector in _selectors(one))


def test_services_lead_to_ports_there_are() -> None:
    """By name, and so do monitors; policies allow ports that are listened at."""

    def check(release: Release) -> Iterator[str]:
        ports = {each["name"]: each["containerPort"] for each in release.relay()["ports"]}
        if ports != LISTENERS:
            yield f"the container's ports are {ports}"
        for service in release.all("Service"):
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"{service['metadata']['name']} leads to {port['targetPort']}"
        for policy in release.all("NetworkPolicy"):
            allowed = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
            if not set(allowed) <= {*ports, *ports.values()}:
                yield f"the NetworkPolicy allows {allowed}"

    assert faults(check) == []


def test_monitors_find_the_metrics() -> None:
    """A ServiceMonitor selects one Service of the release, and a port of it that is `ops`."""

    def check(release: Release) -> Iterator[str]:
        for monitor in release.all("ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"]
            found = [
                (port["name"], port["targetPort"])
                for service in release.all("Service")
                if wanted.items() <= service["metadata"]["labels"].items()
                for port in service["spec"]["ports"]
            ]
            if found != [(each["port"], "ops") for each in monitor["spec"]["endpoints"]]:
                yield f"the ServiceMonitor finds {found}"
        for monitor in release.all("PodMonitor"):
            if {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]} != {"ops"}:
                yield "the PodMonitor finds nothing"
        for monitor in release.all("ServiceMonitor", "PodMonitor"):
            home = release.values.get("namespaceOverride", release.namespace)
            if monitor["spec"]["namespaceSelector"] != {"matchNames": [home]}:
                yield "a monitor looks elsewhere"

    assert faults(check) == []


def test_hooks_alone_are_reached_from_outside() -> None:
    """Ingress, HTTPRoute and a load balancer lead to the hooks' port, never to the page's."""

    def check(release: Release) -> Iterator[str]:
        outside = list(_backends(release))
        for service in release.all("Service"):
            own = service["metadata"]["labels"]["app.kubernetes.io/component"]
            asked = release.values.get(own, {}).get("service", {}).get("type", "ClusterIP")
            if (kind := service["spec"].get("type", "ClusterIP")) != asked:
                yield f"{service['metadata']['name']} is a {kind}"
            # The page goes out only where the values say it word for word.
            if kind != "ClusterIP" and own != "admin":
                outside += (
                    (service["metadata"]["name"], port["port"]) for port in service["spec"]["ports"]
                )
        for name, asked in outside:
            [service] = [
                each for each in release.all("Service") if each["metadata"]["name"] == name
            ]
            targets = [
                port["targetPort"]
                for port in service["spec"]["ports"]
                if asked in {port["name"], port["port"]}
            ]
            if targets != ["hooks"]:
                yield f"{name}:{asked} leads to {targets}"

    assert faults(check) == []
    assert len(list(_backends(release("ingress")))) == 2
    assert len(list(_backends(release("http-route")))) == 1


def test_the_page_is_reached_only_where_it_is_asked_for() -> None:
    """There is a Service for it where it is enabled; it leads to pods that are not ready, too."""

    def check(release: Release) -> Iterator[str]:
        found = [
            each
            for each in release.all("Service")
            if any(port["targetPort"] == "admin" for port in each["spec"]["ports"])
        ]
        enabled = merged(defaults(), release.values)["admin"]["enabled"]
        if len(found) != int(enabled):
            yield f"{len(found)} Services"
        if any(not each["spec"].get("publishNotReadyAddresses") for each in found):
            yield "the page is away when it is needed"

    assert faults(check) == []


SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def test_pods_are_restricted() -> None:
    """Each pod is allowed in a namespace that enforces the restricted Pod Security Standard."""

    def check(release: Release) -> Iterator[str]:
        for where, pod in release.pods():
            for fault in (*_pod_faults(pod), *_container_faults(pod)):
                yield f"{where}: {fault}"

    assert faults(check) == []


def _pod_faults(pod: Object) -> Iterator[str]:
    # Kubernetes docs, "Pod Security Standards", Baseline and Restricted.
    context = pod.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", ()):
        if not volume.keys() - {"name"} <= VOLUMES:
            yield f"a volume of {sorted(volume)}"
    for sysctl in context.get("sysctls", ()):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    # Beyond the standard: the relay has nothing to ask of Kubernetes.
    if pod.get("automountServiceAccountToken") is not False:
        yield "it is given a token"


def _container_faults(pod: Object) -> Iterator[str]:
    of_pod = pod.get("securityContext", {})
    # What else runs in the pod is the values' own to restrict.
    for container in (each for each in pod["containers"] if each["name"] in {"relay", "test"}):
        own = container.get("securityContext", {})
        context = of_pod | own
        name = container["name"]
        wanted = {
            "no privileges": not context.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser") != 0,
            "drop ALL": "ALL" in own.get("capabilities", {}).get("drop", ()),
            "add": set(own.get("capabilities", {}).get("add", ())) <= {"NET_BIND_SERVICE"},
            "seccomp": context.get("seccompProfile", {}).get("type")
            in {"RuntimeDefault", "Localhost"},
            "AppArmor": context.get("appArmorProfile", {}).get("type") != "Unconfined",
            "SELinux": not {"user", "role"} & context.get("seLinuxOptions", {}).keys(),
            "procMount": own.get("procMount", "Default") == "Default",
            "Windows": not context.get("windowsOptions", {}).get("hostProcess"),
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", ())),
            "a probe's host": not any("host" in handler for handler in _handlers(container)),
            # Beyond the standard.
            "read-only root": own.get("readOnlyRootFilesystem") is True,
            "resources": "requests" in container["resources"],
        }
        yield from (f"{name}: {rule}" for rule, holds in wanted.items() if not holds)


def _handlers(container: Object) -> Iterator[Object]:
    for key in ("startupProbe", "livenessProbe", "readinessProbe"):
        yield from (each for each in container.get(key, {}).values() if isinstance(each, dict))
    for each in container.get("lifecycle", {}).values():
        yield from each.values()


def test_the_end_is_waited_for() -> None:
    """Kubernetes gives a pod longer than lingering, flushing and draining can take together."""

    def check(release: Release) -> Iterator[str]:
        stop = merged(defaults(), release.values)["shutdown"]
        longest = sum(settings.duration(stop[key] or "0s") for key in ("linger", "flush", "drain"))
        given = release.template()["spec"]["terminationGracePeriodSeconds"]
        asked = release.values.get("terminationGracePeriodSeconds")
        if not (given == asked or longest + 5 < given < longest + 20):
            yield f"{given} s for {longest} s"

    assert faults(check) == []


def test_probes_differ() -> None:
    """Liveness does not ask for the store, readiness does, and start-up is given minutes."""
    relay = release("default").relay()
    asked = {key: relay[f"{key}Probe"]["httpGet"] for key in ("startup", "liveness", "readiness")}
    assert {each["port"] for each in asked.values()} == {"ops"}
    assert asked["startup"]["path"] == asked["liveness"]["path"] == "/healthz"
    assert asked["readiness"]["path"] == "/readyz"
    patience = {
        key: relay[f"{key}Probe"]["periodSeconds"] * relay[f"{key}Probe"]["failureThreshold"]
        for key in asked
    }
    assert patience["startup"] >= 120
    assert patience["readiness"] < patience["liveness"] < patience["startup"]


def test_the_command_line_is_the_programs() -> None:
    """What the container is started with parses, and names the folder that is mounted."""

    def check(release: Release) -> Iterator[str]:
        relay = release.relay()
        verb, *arguments = relay["args"]
        parent = click.Context(main, **main.context_settings)
        command = main.get_command(parent, verb)
        assert command is not None
        variables = {each["name"]: each.get("value") for each in relay.get("env", ())}
        with command.make_context(verb, arguments, parent=parent) as parsed:
            [folder] = parsed.params["config"]
            if str(folder) != "/etc/circleci-relay":
                yield f"reads {folder}"
        for option in ("log_level", "log_format"):
            value = variables.get(f"CIRCLECI_RELAY_{option.upper()}")
            [known] = [each for each in command.params if each.name == option]
            assert isinstance(known.type, click.Choice)
            if value is not None and value not in known.type.choices:
                yield f"{option} is {value}"

    assert faults(check) == []


def test_the_pod_is_made_for_the_image() -> None:
    """Its user, group, volume and entry point are the Dockerfile's."""
    template = release("default").template()["spec"]
    context = template["securityContext"]
    [user] = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    assert (context["runAsUser"], context["runAsGroup"]) == tuple(map(int, user))
    assert context["fsGroup"] == context["runAsGroup"]
    [volume] = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    mounts = {each["mountPath"]: each for each in release("default").relay()["volumeMounts"]}
    assert not mounts[volume].get("readOnly")
    assert 'ENTRYPOINT ["circleci-relay"]' in DOCKERFILE
    assert "command" not in release("default").relay()
    assert {int(each) for each in re.findall(r"\d+", _line("EXPOSE"))} <= set(LISTENERS.values())


def _line(instruction: str) -> str:
    [found] = re.findall(rf"^{instruction} .*$", DOCKERFILE, re.MULTILINE)
    return str(found)


def test_mounts_are_where_the_configuration_looks() -> None:
    """Every file that chart.yaml or the default relay.yaml names lies in a volume of the pod."""

    def check(release: Release) -> Iterator[str]:
        mounts = {Path(each["mountPath"]) for each in release.relay()["volumeMounts"]}
        own = {each["name"] for each in release.template()["spec"]["volumes"]}
        own |= {
            each["metadata"]["name"]
            for each in release.workload()["spec"].get("volumeClaimTemplates", ())
        }
        for each in release.relay()["volumeMounts"]:
            if each["name"] not in own:
                yield f"{each['name']} is no volume"
            if "subPath" in each:
                yield f"{each['name']} would never change"
        text = "".join(release.files().values())
        named = {
            *re.findall(r"\$\{file:([^}]+)\}", text),
            *re.findall(r"/run/secrets[\w./-]+", text),
        }
        for name in {*named, *re.findall(r"sqlite:///(/\S+)", text)}:
            if not mounts & {Path(name), *Path(name).parents}:
                yield f"{name} is in no volume"

    assert faults(check) == []


def _selectors(release: Release) -> Iterator[tuple[str, dict[str, str]]]:
    for each in release.objects:
        named = f"{each['kind']}/{each['metadata']['name']}"
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            yield named, spec["selector"]
        elif each["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"}:
            yield named, spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            yield named, spec["podSelector"]["matchLabels"]
    for spread in release.template()["spec"].get("topologySpreadConstraints", ()):
        yield "topologySpreadConstraints", spread["labelSelector"]["matchLabels"]


def _backends(release: Release) -> Iterator[tuple[str, int | str]]:
    for ingress in release.all("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield service["name"], service["port"].get("name") or service["port"]["number"]
    for route in release.all("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                yield backend["name"], backend["port"]
