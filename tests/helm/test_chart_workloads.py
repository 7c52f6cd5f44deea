"""What runs the relay: one pod with a volume, or any number on PostgreSQL; and its upgrades."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from support import chart_cases
from support.chart_cases import CASES, MONITORING, defaults, faults, merged, release
from support.helm import CHART, Release, helm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_sqlite_is_one_pod_with_a_volume() -> None:
    """A StatefulSet of one, whose claim is its own or one that the values name."""
    found = release("default").one("StatefulSet")["spec"]
    assert found["replicas"] == 1
    [claim] = found["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    assert "storageClassName" not in claim["spec"]
    assert found["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Retain"
    [claim] = release("storage").one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == ""
    own = release("own-claim").one("StatefulSet")["spec"]
    assert not own.get("volumeClaimTemplates")
    assert {"claimName": "own-claim"} in [
        volume.get("persistentVolumeClaim") for volume in own["template"]["spec"]["volumes"]
    ]


def test_postgresql_is_a_deployment_that_loses_no_pod_to_an_upgrade() -> None:
    """A new pod is ready before an old one goes, spread over nodes where there are several."""
    several = release("several").one("Deployment")["spec"]
    assert several["replicas"] == 3
    assert several["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert several["template"]["spec"]["topologySpreadConstraints"]
    assert release("several").one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert not release("several").all("StatefulSet", "PersistentVolumeClaim")
    assert not release("one-of-postgresql").all("PodDisruptionBudget")
    assert not release("no-budget").all("PodDisruptionBudget")


def test_a_scaled_deployment_says_no_number() -> None:
    """An upgrade would set it back; the budget then says what the values say of it."""
    found = release("scaled")
    assert "replicas" not in found.one("Deployment")["spec"]
    budget = found.one("PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == 1
    assert "maxUnavailable" not in budget
    scaler = found.one("HorizontalPodAutoscaler")["spec"]
    assert scaler["minReplicas"] <= scaler["maxReplicas"]


def test_variables_that_the_configuration_reads_are_set() -> None:
    """Each `${env:...}` of chart.yaml is a variable of the container, out of a Secret."""

    def check(release: Release) -> Iterator[str]:
        variables = {each["name"]: each for each in release.relay()["env"]}
        for name in re.findall(r"\$\{env:(\w+)", release.files()["chart.yaml"]):
            if "secretKeyRef" not in variables.get(name, {}).get("valueFrom", {}):
                yield f"{name} is not set from a Secret"

    assert faults(check) == []
    assert "${env:" in release("several").files()["chart.yaml"]


def test_secrets_are_mounted_as_the_values_say() -> None:
    """Files that only the relay's group reads; variables from whole Secrets."""
    found = release("extras")
    volumes = {each["name"]: each for each in found.template()["spec"]["volumes"]}
    secrets = volumes["secrets"]["projected"]
    assert secrets["defaultMode"] == 0o440
    assert [each["secret"]["name"] for each in secrets["sources"]] == [
        "circleci-relay",
        "more-secrets",
    ]
    assert {"secretRef": {"name": "own-secrets"}} in found.relay()["envFrom"]


def test_what_else_the_values_ask_for_is_in_the_pod() -> None:
    """Each value that is handed to Kubernetes as it is, is there as it was given."""
    found = release("extras")
    pod, relay, given = found.template()["spec"], found.relay(), found.values
    for key in ("nodeSelector", "tolerations", "affinity", "dnsConfig", "hostAliases"):
        assert pod[key] == given[key]
    for key in ("priorityClassName", "runtimeClassName", "schedulerName", "dnsPolicy"):
        assert pod[key] == given[key]
    assert pod["containers"][1:] == given["extraContainers"]
    assert pod["initContainers"] == given["initContainers"]
    assert pod["imagePullSecrets"] == given["imagePullSecrets"]
    assert pod["terminationGracePeriodSeconds"] == given["terminationGracePeriodSeconds"]
    assert relay["lifecycle"] == given["lifecycle"]
    assert relay["args"][-2:] == given["extraArgs"]
    for key, there in (
        ("extraEnv", relay["env"]),
        ("extraEnvFrom", relay["envFrom"]),
        ("extraVolumeMounts", relay["volumeMounts"]),
        ("extraVolumes", pod["volumes"]),
        ("extraObjects", found.objects),
    ):
        assert [each for each in given[key] if each not in there] == [], key
    assert relay["image"] == f"registry.example.com/team/circleci-relay@sha256:{'0' * 64}"
    metadata = found.template()["metadata"]
    assert given["podLabels"].items() <= metadata["labels"].items()
    assert given["podAnnotations"].items() <= metadata["annotations"].items()


def test_what_is_on_all_objects_is_on_all_objects() -> None:
    """Common labels and annotations, but for objects that the values give whole."""
    given = release("extras").values
    for each in release("extras").objects:
        if each in given["extraObjects"]:
            continue
        assert given["commonLabels"].items() <= each["metadata"]["labels"].items()
        assert given["commonAnnotations"].items() <= each["metadata"]["annotations"].items()


def test_all_is_off_by_default_that_needs_something_else() -> None:
    """What needs an operator, a controller, a Gateway or tokens is made only when asked for."""
    kinds = {each["kind"] for each in release("default").objects}
    assert kinds == {"ConfigMap", "Pod", "Service", "ServiceAccount", "StatefulSet"}
    assert not {each["kind"] for each in release("bare").objects} & {"Pod", "ServiceAccount"}
    assert merged(defaults(), {})["secrets"]["insecure"] == {}


PARENT = {
    "apiVersion": "v2",
    "name": "parent",
    "version": "1.0.0",
    "dependencies": [
        {"name": "circleci-relay", "version": "*", "condition": "circleci-relay.enabled"},
        {"name": "circleci-relay", "version": "*", "alias": "second", "condition": "on.second"},
    ],
}


def test_it_can_be_part_of_another_chart(tmp_path: Path) -> None:
    """Twice, too, by an alias: switched by a condition, and neither in the way of the other."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/circleci-relay").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(PARENT))
    values = {
        "global": {"imageRegistry": "registry.example.com"},
        "circleci-relay": {"enabled": True},
        "second": MONITORING,
    }
    found = helm().render(values, name="app", chart=tmp_path)
    workloads = {each["metadata"]["name"]: each["spec"] for each in found.all("StatefulSet")}
    assert workloads.keys() == {"app-circleci-relay", "app-second"}
    names = [(each["kind"], each["metadata"]["name"]) for each in found.objects]
    assert len(names) == len(set(names))
    one, other = workloads.values()
    assert one["selector"] != other["selector"]
    assert "app-second)" in str(found.one("PrometheusRule"))
    values["circleci-relay"] = {"enabled": False}
    assert len(helm().render(values, name="app", chart=tmp_path).all("StatefulSet")) == 1


def test_an_upgrade_renders_the_same() -> None:
    """Nothing is drawn by lot or depends on what was there: the same values, the same objects."""
    for title in ("default", "all-of-postgresql", "in-the-clear"):
        case = CASES[title]
        again = helm().render(case.values, name=case.name, upgrade=True)
        assert again.objects == chart_cases.release(title).objects
        assert again.notes
