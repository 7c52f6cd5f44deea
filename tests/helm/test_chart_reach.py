"""Who reaches the chart's pods, by which way, and whom the pods reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.chart_cases import HTTP_ROUTE, INGRESS, NETWORK_POLICY, faults, release
from support.helm import Release, helm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.helm import Object

HOOKS, OPS, ADMIN = 8080, 8081, 8082


def test_hooks_alone_go_by_readiness() -> None:
    """No hook is sent to a pod that is not ready; metrics and the page are needed just then."""

    def check(release: Release) -> Iterator[str]:
        for service in release.all("Service"):
            spec = service["spec"]
            headless = spec.get("clusterIP") == "None"
            hooks = spec["ports"][0]["targetPort"] == "hooks" and not headless
            if bool(spec.get("publishNotReadyAddresses")) == hooks:
                yield service["metadata"]["name"]

    assert faults(check) == []


def admitted(policy: Object) -> dict[int, Any]:
    """Return who is let through to each port: peers, or None for anyone."""
    found: dict[int, Any] = {}
    for rule in policy["spec"]["ingress"]:
        for port in rule["ports"]:
            if "from" not in rule or found.get(port["port"], ()) is None:
                found[port["port"]] = None
            else:
                found.setdefault(port["port"], []).extend(rule["from"])
    return found


def test_a_policy_admits_whom_it_names_and_the_test() -> None:
    """Each port has its own peers; without any, hooks are for all, and the rest is for nobody."""
    found = release("network-policy")
    named = NETWORK_POLICY["networkPolicy"]
    labels = found.one("Pod")["metadata"]["labels"]
    keys = ("name", "instance", "component")
    ours = {f"app.kubernetes.io/{key}": labels[f"app.kubernetes.io/{key}"] for key in keys}
    test = {"podSelector": {"matchLabels": ours}}
    assert admitted(found.one("NetworkPolicy")) == {
        HOOKS: [*named["hooks"]["from"], test],
        OPS: [*named["ops"]["from"], test],
        ADMIN: named["admin"]["from"],
    }
    plain = {"networkPolicy": {"enabled": True}, "tests": {"enabled": False}}
    policy = helm().render(plain).one("NetworkPolicy")
    assert admitted(policy) == {HOOKS: None}
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    named_in_vain = helm().render(NETWORK_POLICY | {"tests": {"enabled": False}})
    assert admitted(named_in_vain.one("NetworkPolicy")).keys() == {HOOKS, OPS}


def test_a_policy_for_what_goes_out_leaves_names_to_be_looked_up() -> None:
    """DNS by either protocol, and the rules of the values; nothing else."""
    spec = release("network-policy").one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    dns, *rules = spec["egress"]
    assert dns == {"ports": [{"port": 53, "protocol": each} for each in ("UDP", "TCP")]}
    assert rules == NETWORK_POLICY["networkPolicy"]["egress"]["rules"]


def test_ways_in_are_as_the_values_say() -> None:
    """Class, paths, matches and filters of Ingress and HTTPRoute are those that were given."""
    assert release("ingress").one("Ingress")["spec"]["ingressClassName"] == "nginx"
    [rule] = release("ci/sqlite-values.yaml").one("Ingress")["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/webhooks/circleci", "Exact")
    hosts = [rule["host"] for rule in release("ingress").one("Ingress")["spec"]["rules"]]
    assert hosts == INGRESS["ingress"]["hosts"]
    [rule] = release("http-route").one("HTTPRoute")["spec"]["rules"]
    assert rule["filters"] == HTTP_ROUTE["httpRoute"]["filters"]
    [rule] = release("ci/everything-values.yaml").one("HTTPRoute")["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/webhooks"}}]


def test_what_kubernetes_would_choose_otherwise() -> None:
    """Each of these has a default that is wrong for the relay."""
    found = release("default")
    # A pod that waits for ever would keep the mended one from coming.
    assert found.workload()["spec"]["podManagementPolicy"] == "Parallel"
    assert found.one("ServiceAccount")["automountServiceAccountToken"] is False
    # A Service called circleci-relay would set CIRCLECI_RELAY_PORT and more.
    assert all(pod["enableServiceLinks"] is False for _, pod in found.pods())
    # Without it `helm test` works once.
    hook = found.one("Pod")["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    assert "before-hook-creation" in hook.split(",")
    scaler = release("ci/everything-values.yaml").one("HorizontalPodAutoscaler")["spec"]
    assert [each["resource"]["name"] for each in scaler["metrics"]] == ["cpu", "memory"]


def test_a_config_map_of_another_is_mounted_beside_the_charts() -> None:
    """Both are seen in the one folder that the program reads; the chart's file comes last."""
    [volume] = [
        each
        for each in release("own-config-map").template()["spec"]["volumes"]
        if each["name"] == "config"
    ]
    names = [each["configMap"]["name"] for each in volume["projected"]["sources"]]
    assert names == ["own-config", "relay-circleci-relay"]
