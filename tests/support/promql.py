"""What PromQL names: enough of its grammar for expressions of our own."""

from __future__ import annotations

import re

from circleci_relay.series import documented

_SELECTOR = re.compile(r"\b(?<!\$)([a-zA-Z_:][\w:]*)(\{(?:[^}\"]|\"[^\"]*\")*\})?(?=\s*(\()?)")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_STRING = re.compile(r'"[^"]*"')
_WORDS = {"and", "or", "unless", "offset", "bool", "w", "d", "h", "m", "s"}
_STANDARD = {"ALERTS", "up"} | {
    f"process_{each}"
    for each in (
        *("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes"),
        *("open_fds", "max_fds", "start_time_seconds"),
    )
}
"""What Prometheus itself makes, and what its client libraries tell of a process."""


def selectors(expr: str) -> list[str]:
    """Return each metric that *expr* asks for, with its labels."""
    found = []
    bare = re.sub(r"\[[^]]*\]", "", _LABELS.sub("", expr))
    for match in _SELECTOR.finditer(bare):
        name, labels, call = match.groups()
        if call or name in _WORDS or _inside_string(bare, match.start()):
            continue
        if _inside_labels(bare, match.start()):
            continue
        found.append(name + (labels or ""))
    return found


def names(expr: str) -> set[str]:
    """Return the names of the metrics that *expr* asks for."""
    return {each.partition("{")[0] for each in selectors(expr)}


def _inside_string(text: str, at: int) -> bool:
    return any(match.start() < at < match.end() for match in _STRING.finditer(text))


def _inside_labels(text: str, at: int) -> bool:
    before = _STRING.sub(lambda match: "_" * len(match[0]), text)[:at]
    return before.count("{") > before.count("}")


def served() -> set[str]:
    """Return every name that `/metrics` of a relay serves, or Prometheus makes."""
    found = set(_STANDARD)
    for each in documented():
        ends = ("_bucket", "_count", "_sum") if each.kind == "histogram" else ("",)
        found |= {each.full_name + end for end in ends}
    return found
