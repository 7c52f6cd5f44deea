"""Every value of the chart is one that something comes of."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from support.chart_cases import defaults, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.helm import Release

Path = tuple[str, ...]

WITHIN = (
    ("admin", "tokens"),
    ("clusterDomain",),
    ("fullnameOverride",),
    ("image", "digest"),
    ("image", "registry"),
    ("image", "repository"),
    ("image", "tag"),
    ("listenAddress",),
    ("metrics", "prometheusRule", "runbookUrl"),
    ("nameOverride",),
)
"""What is written as a part of something longer."""

UNSEEN = (("store", "type"), ("metrics", "prometheusRule", "disabled"))
"""What decides on other things, and is not written itself."""

REQUIRED = (
    ("podSecurityContext", "runAsNonRoot"),
    ("securityContext", "allowPrivilegeEscalation"),
    ("securityContext", "capabilities", "drop"),
    ("securityContext", "readOnlyRootFilesystem"),
)
"""What another test wants just so of every case."""

FIXED = ("PrometheusRule", "dashboard")
"""What stands in these is the files' own, not the values'."""


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield each scalar, and each empty map or list, and where it is."""
    if isinstance(value, dict | list) and value:
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in named:
            yield from _leaves(each, (*path, str(key)))
    else:
        yield path, value


def _told(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""


def _written(release: Release) -> set[str]:
    """Return each text and number that stands anywhere in what is rendered."""
    found: list[Any] = [yaml.safe_load(release.files()["chart.yaml"])]
    for each in release.objects:
        if each["kind"] == "Pod":  # that of `helm test` has the relay's image and limits too
            continue
        kept = each
        if each["kind"] == FIXED[0]:
            links = [
                rule.get("annotations")
                for group in each["spec"]["groups"]
                for rule in group["rules"]
            ]
            kept = {"metadata": each["metadata"], "links": links[-1:]}
        elif each["metadata"]["name"].endswith(FIXED[1]):
            kept = {"metadata": each["metadata"]}
        elif each["kind"] == "Secret":
            kept = {k: base64.b64decode(v).decode() for k, v in each["data"].items()}
        found.append(kept)
    return {str(leaf) for _, leaf in _leaves(found)}


def _shown(path: Path, value: Any, written: set[str]) -> bool:
    if any(path[: len(each)] == each for each in WITHIN):
        return any(str(value) in each for each in written)
    return str(value) in written


def test_every_value_that_is_given_comes_out() -> None:
    """Each value of each case is in what is rendered of it, but labels that are the chart's."""
    missing = []
    for title, release in rendered()[0].items():
        written = _written(release)
        for path, value in _leaves(release.values):
            if not _told(value) or any(path[: len(each)] == each for each in UNSEEN):
                continue
            ours = title == "usurped" and path[-1].startswith("app.kubernetes.io/")
            # "-" is the class that is none.
            if value != "-" and not ours and not _shown(path, value, written):
                missing.append(f"{title}: {'.'.join(path)}: {value}")
    assert missing == []


def test_every_value_there_is_is_given_and_seen() -> None:
    """By one case at least, as what would not be there without it; a switch, as what it is not."""
    plain = _written(rendered()[0]["default"])
    own = dict(_leaves(defaults()))
    held: set[Path] = set(REQUIRED)
    for release in rendered()[0].values():
        given = list(_leaves(release.values))
        often = Counter(str(value) for _, value in given)
        for path, value in given:
            if own.get(path) == value:
                continue
            switch = not _told(value) or any(path[: len(each)] == each for each in UNSEEN)
            if switch or (often[str(value)] == 1 and not _shown(path, value, plain)):
                held |= {path[:end] for end in range(1, len(path) + 1)}
    assert sorted({_whole(path) for path in own} - held) == []


def _whole(path: Path) -> Path:
    """Return where the list is that this is in, or the path itself."""
    return next((path[:n] for n, each in enumerate(path) if each.isdecimal()), path)
