#!/usr/bin/env python3
"""
Pack the chart as `helm package` would, the same bytes every time, and have Helm's engine read it.

    scripts/chart_package.py DIRECTORY
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import sys
import tarfile
from pathlib import Path

from helm_python import Chart

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "circleci-relay"


def ignored(path: Path, patterns: list[str]) -> bool:
    """Whether .helmignore leaves *path* out, by a name of it or as a whole."""
    names = [*path.parts, path.as_posix()]
    return any(fnmatch.fnmatch(name, each) for each in patterns for name in names)


def packed() -> bytes:
    """The archive: names in order, no time, no owner."""
    listed = CHART / ".helmignore"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    patterns = [line.strip("/ ") for line in lines if line.strip() and not line.startswith("#")]
    whole = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=whole, mode="wb", mtime=0) as thin,
        tarfile.open(fileobj=thin, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(CHART.rglob("*")):
            within = path.relative_to(CHART)
            if not path.is_file() or ignored(within, patterns):
                continue
            entry = tarfile.TarInfo(f"{CHART.name}/{within.as_posix()}")
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return whole.getvalue()


def main(directory: str) -> None:
    """Write it, named as Helm names it."""
    data = packed()
    chart = Chart.load_archive(data)
    to = Path(directory) / f"{chart.name}-{chart.version}.tgz"
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(data)
    print(f"chart: {to}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["dist"])
