"""The values that the chart is rendered with in the tests, by name."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from support.helm import CHART, Refused, helm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from support.helm import Release, Values

IN_THE_CLEAR = "a-secret-in-the-clear"
"""What no object but a Secret may hold."""

RELAY_YAML = """\
sources:
  circleci:
    path: /webhooks/circleci
    secrets: ["${file:/run/secrets/circleci-relay/circleci-webhook-secret}"]
destinations:
  app:
    url: http://127.0.0.1:9/ingest
routes:
  everything:
    to: app
"""

POSTGRESQL: Values = {"store": {"type": "postgresql", "postgresql": {"existingSecret": "relay-db"}}}
ADMIN: Values = {
    "admin": {
        "enabled": True,
        "existingSecret": "relay-admin",
        "tokens": {
            "ci-team": {"role": "operator"},
            "wall": {"role": "viewer", "key": "wall-token"},
        },
        "externalUrl": "https://relay.example.com",
    }
}
MONITORING: Values = {
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {
            "enabled": True,
            "runbookUrl": "https://wiki.example.com/relay",
            "disabled": ["RelayNoEvents"],
        },
        "dashboard": {"enabled": True, "namespace": "grafana"},
    }
}
INGRESS: Values = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"example.com/size": "1m"},
        "hosts": ["relay.example.com", "*.hooks.example.com"],
        "tls": [{"secretName": "relay-tls", "hosts": ["relay.example.com"]}],
    }
}
HTTP_ROUTE: Values = {
    "httpRoute": {
        "enabled": True,
        "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
        "hostnames": ["relay.example.com"],
        "filters": [
            {
                "type": "RequestHeaderModifier",
                "requestHeaderModifier": {"remove": ["x-forwarded-for"]},
            }
        ],
    }
}
NETWORK_POLICY: Values = {
    "networkPolicy": {
        "enabled": True,
        "hooks": {"from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]},
        "ops": {"from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
        "admin": {"from": [{"podSelector": {"matchLabels": {"app": "proxy"}}}]},
        "egress": {
            "enabled": True,
            "rules": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}],
        },
    }
}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
EXTRAS: Values = {
    "extraArgs": ["--log-level", "debug"],
    "extraEnv": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ],
    "extraEnvFrom": [{"configMapRef": {"name": "own-env"}}],
    "extraVolumes": [
        {"name": "ca", "configMap": {"name": "own-ca"}},
        {"name": "scratch", "emptyDir": {}},
    ],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
    "extraContainers": [{"name": "beside", "image": "beside:1.0", "securityContext": RESTRICTED}],
    "initContainers": [{"name": "before", "image": "before:1.0", "securityContext": RESTRICTED}],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own-env"}}],
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "ci", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "arch", "operator": "Exists"}]}]}}},
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "schedulerName": "own",
    "dnsPolicy": "ClusterFirst",
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["warehouse"]}],
    "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    "terminationGracePeriodSeconds": 300,
    "revisionHistoryLimit": 157,
    "annotations": {"example.com/team": "of-the-workload"},
    "podAnnotations": {"example.com/pod": "noted-pod"},
    "podLabels": {"example.com/pod": "labelled-pod"},
    "commonLabels": {"example.com/cost": "labelled-all"},
    "commonAnnotations": {"example.com/owner": "noted-all"},
    "imagePullSecrets": [{"name": "own-registry"}],
    "image": {"registry": "registry.example.com/team", "digest": "sha256:" + "0" * 64},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "secrets": {"env": ["own-secrets"], "files": ["circleci-relay", "more-secrets"]},
    "configFiles": {"team-a.yaml": "routes: {}\n"},
    "serviceAccount": {"name": "own-account", "annotations": {"example.com/role": "ci"}},
    "updateStrategy": {"type": "RollingUpdate"},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Values, and what the release is called."""

    values: Values | str = field(default_factory=dict)
    name: str = "relay"


def merged(*parts: Values) -> Values:
    """Return *parts* as one, each over those before it."""
    whole: Values = {}
    for part in parts:
        for key, value in part.items():
            old = whole.get(key)
            if isinstance(old, dict) and isinstance(value, dict):
                whole[key] = merged(old, value)
            else:
                whole[key] = value
    return whole


def _service(listener: str, **values: Any) -> Values:
    return {listener: {"service": values}}


CASES: dict[str, Case] = {
    "default": Case(),
    "routes": Case({"config": RELAY_YAML}),
    "own-claim": Case({"store": {"sqlite": {"existingClaim": "own-claim"}}}),
    "storage": Case(
        {
            "store": {
                "sqlite": {
                    "storageClass": "-",
                    "size": "20Gi",
                    "whenDeleted": "Delete",
                    "annotations": {"example.com/backup": "daily"},
                },
                "keep": "30d",
            }
        }
    ),
    "several": Case(merged(POSTGRESQL, {"replicas": 3})),
    "one-of-postgresql": Case(POSTGRESQL),
    "scaled": Case(
        merged(
            POSTGRESQL,
            {
                "autoscaling": {
                    "enabled": True,
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
                },
                "podDisruptionBudget": {"maxUnavailable": None, "minAvailable": 1},
            },
        )
    ),
    "admin": Case(ADMIN),
    "ingress": Case(INGRESS),
    "http-route": Case(HTTP_ROUTE),
    "monitoring": Case(MONITORING),
    "pods-monitored": Case(
        {
            "metrics": {
                "podMonitor": {
                    "enabled": True,
                    "annotations": {"example.com/monitor": "noted-pods"},
                    "labels": {"release": "prometheus-of-pods"},
                    "namespace": "watchers",
                    "interval": "49s",
                    "scrapeTimeout": "14s",
                    "relabelings": [{"action": "labeldrop", "regex": "pod_of_pods"}],
                    "metricRelabelings": [{"action": "labeldrop", "regex": "le_of_pods"}],
                }
            }
        }
    ),
    "network-policy": Case(merged(NETWORK_POLICY, ADMIN)),
    "extras": Case(EXTRAS),
    "in-the-clear": Case(
        {
            "secrets": {
                "files": [],
                "insecure": {
                    "circleci-webhook-secret": IN_THE_CLEAR,
                    "odd": f"{IN_THE_CLEAR}: é\n",
                },
            }
        },
        name="circleci-relay",
    ),
    "own-config-map": Case({"existingConfigMap": "own-config"}),
    "load-balancer": Case(
        _service(
            "hooks",
            type="LoadBalancer",
            port=8443,
            loadBalancerClass="example.com/lb",
            loadBalancerSourceRanges=["192.0.2.0/24"],
            externalTrafficPolicy="Local",
        )
    ),
    "node-port": Case(merged(_service("hooks", type="NodePort", nodePort=30080))),
    "tls": Case(merged({"hooks": {"tls": {"existingSecret": "own-tls"}}}, INGRESS)),
    "flush": Case({"shutdown": {"linger": "500ms", "drain": "1m", "flush": "0.75h"}}),
    "bare": Case(
        {
            "serviceAccount": {"create": False},
            "tests": {"enabled": False},
            "nameOverride": "own-name",
        }
    ),
    "share": Case(
        merged(
            POSTGRESQL,
            {
                "replicas": 67,
                "podDisruptionBudget": {
                    "maxUnavailable": None,
                    "minAvailable": "59%",
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                },
                "podSecurityContext": {"fsGroupChangePolicy": "Always"},
            },
        )
    ),
    "no-budget": Case(
        merged(POSTGRESQL, {"replicas": 61, "podDisruptionBudget": {"enabled": False}})
    ),
    "usurped": Case(
        merged(
            MONITORING,
            {
                key: {"app.kubernetes.io/name": "other", "app.kubernetes.io/component": "other"}
                for key in ("podLabels", "commonLabels")
            },
        )
    ),
    "longest": Case(
        merged(ADMIN, MONITORING, INGRESS, NETWORK_POLICY, {"secrets": {"insecure": {"a": "b"}}}),
        name="r" * 53,
    ),
    "odd": Case(merged(ADMIN, {"fullnameOverride": "relay-7"}), name="7-up"),
    "numeric": Case(merged(MONITORING, {"fullnameOverride": "relay"}), name="1234"),
    "float": Case(merged(POSTGRESQL, {"fullnameOverride": "on"}), name="1e3"),
    "renamed": Case(merged(POSTGRESQL, ADMIN, {"nameOverride": "hooks"}), name="ci"),
    "renamed-long": Case(
        merged(ADMIN, {"fullnameOverride": "f" * 52, "namespaceOverride": "other"})
    ),
    "all-of-postgresql": Case(
        merged(POSTGRESQL, ADMIN, MONITORING, INGRESS, HTTP_ROUTE, NETWORK_POLICY, EXTRAS)
    ),
} | {
    f"ci/{path.name}": Case(path.read_text(encoding="utf-8"))
    for path in sorted((CHART / "ci").glob("*-values.yaml"))
}


@functools.cache
def rendered() -> tuple[dict[str, Release], dict[str, str]]:
    """Return what could be rendered, by case; and what could not, and why."""
    releases, refused = {}, {}
    for title, case in CASES.items():
        try:
            releases[title] = helm().render(case.values, name=case.name)
        except Refused as error:
            refused[title] = str(error)
    return releases, refused


def release(title: str) -> Release:
    """Return what Helm makes of that case."""
    found, refused = rendered()
    assert title in found, refused.get(title)
    return found[title]


def faults(check: Callable[[Release], Iterable[str]]) -> list[str]:
    """Return what *check* finds wrong with each release there is, and with which."""
    releases, _ = rendered()
    return [f"{title}: {fault}" for title, each in releases.items() for fault in check(each)]


@functools.cache
def defaults() -> Values:
    """Return the chart's own values."""
    whole: Values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return whole
