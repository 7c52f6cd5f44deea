"""Helm's own engine in a process of its own: a request a line in, an answer a line out.

Apart from the tests, because it is a library in Go: its threads and signal handlers would be in
every process that the tests make of theirs.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from helm_python import Chart, HelmError, lint, values_from_yaml


def main() -> None:
    """Answer until there are no more requests."""
    charts: dict[str, Chart] = {}
    for line in sys.stdin:
        try:
            answer = _answer(charts, **json.loads(line))
        except HelmError as error:
            answer = {"refused": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(
    charts: dict[str, Chart],
    *,
    do: str,
    chart: str,
    values: dict[str, Any] | str,
    name: str,
    namespace: str,
    upgrade: bool,
) -> dict[str, Any]:
    # What is text is a values file, and read as Helm reads one.
    given = values_from_yaml(values) if isinstance(values, str) else values
    if do == "lint":
        return {"lint": lint(chart, given, strict=True, namespace=namespace)}
    if chart not in charts:
        charts[chart] = Chart.load(chart)
    files = charts[chart].render(
        given,
        name=name,
        namespace=namespace,
        revision=1 + upgrade,
        is_install=not upgrade,
        is_upgrade=upgrade,
    )
    return {"files": files}


if __name__ == "__main__":
    main()
