#!/usr/bin/env python3
"""Build the site of the docs; as MkDocs' hook, bring along what docs/ links to outside itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from markdown import Extension, Markdown
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"

INTO = "repository"
"""The folder of the site that shows files of the repository."""

LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")

SHOWN: dict[str, Path] = {}
"""The files that pages of the site were made for, by where these stand."""

LANGUAGES = {".example": "yaml", ".py": "python", ".mjs": "javascript", ".service": "ini"}
"""How files are coloured whose ending is not the language's name."""


class ShortIndents(Extension):
    """Let two spaces nest a list, as CommonMark does; Python-Markdown wants four."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Set it."""
        md.tab_length = 2
        md.build_parser()  # what reads lists has asked for the length already


def on_config(config: MkDocsConfig) -> None:
    """Read Markdown more as it is read elsewhere."""
    config.markdown_extensions.insert(0, ShortIndents())  # type: ignore[arg-type]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file outside docs/ that a page, or such a file, links to."""
    SHOWN.clear()
    waiting = list(DOCS.rglob("*.md"))
    while waiting:
        for target in _linked(waiting.pop()):
            uri = _uri(target)
            if uri in SHOWN or not uri.startswith(f"{INTO}/"):
                continue
            SHOWN[uri] = target
            files.append(File.generated(config, uri, content=_shown(target)))
            if target.suffix == ".md":
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, **_more: object) -> str:
    """Turn links out of docs/ into links to the pages made of what is there."""
    here = page.file.src_uri
    source = SHOWN.get(here, DOCS / here)

    def turned(match: re.Match[str]) -> str:
        target = _target(source, match[1])
        if target is None:
            return match[0]
        return f"]({'../' * here.count('/')}{_uri(target)}{match[2] or ''})"

    # What shows a file as code is none of Markdown's.
    return markdown if source.suffix != ".md" else LINK.sub(turned, _spelled_out(markdown))


def _spelled_out(markdown: str) -> str:
    """Return the same without what Python-Markdown reads otherwise than CommonMark does."""
    lines: list[str] = []
    fence = ""
    for line in markdown.splitlines():
        marker = re.match(r" *(`{3,})", line)
        lines.append(line)
        if marker and not fence:
            fence = marker[1]
        elif marker and line.strip() == fence:
            fence = ""
            lines.append("")  # or, in a list, what follows is lost in the item
        elif not fence and line.startswith("|"):
            # It leaves a table's escaped bar in code as it is.
            lines[-1] = re.sub(r"`[^`]*`", lambda code: code[0].replace("\\|", "|"), line)
        elif not fence and line.endswith("\\"):
            lines[-1] = line[:-1] + "  "
    return "\n".join(lines)


def _linked(source: Path) -> Iterator[Path]:
    """Give what *source* links to."""
    for match in LINK.finditer(source.read_text(encoding="utf-8")):
        target = _target(source, match[1])
        if target is not None:
            yield target


def _target(source: Path, link: str) -> Path | None:
    """Return the file that *link* leads to; None if there is none, which MkDocs will say."""
    target = (source.parent / link).resolve()
    if (target / "README.md").is_file():
        target /= "README.md"
    return target if target.exists() and target.is_relative_to(ROOT) else None


def _uri(target: Path) -> str:
    """Return where *target* stands in the site, as a source of MkDocs."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    if target == ROOT / "README.md":
        return "README.md"
    # MkDocs leaves out what begins with a dot.
    name = "/".join([INTO, *(part.lstrip(".") for part in target.relative_to(ROOT).parts)])
    return name if target.suffix == ".md" else f"{name}.md"


def _shown(target: Path) -> str:
    """Return the page that shows a file: itself, or its text as code; of a folder all its files."""
    if target.suffix == ".md":
        return target.read_text(encoding="utf-8")
    found = (each for each in target.rglob("*") if "__pycache__" not in each.parts)
    inside = sorted(each for each in found if each.is_file()) or [target]
    parts = [f"# {target.relative_to(ROOT).as_posix()}"]
    for each in inside:
        if each != target:
            parts.append(f"## {each.relative_to(target).as_posix()}")
        language = LANGUAGES.get(each.suffix, each.suffix.removeprefix(".") or "text")
        parts.append(f"````{language}\n{each.read_text(encoding='utf-8')}\n````")
    return "\n\n".join(parts)


def main() -> int:
    """Build; any warning is a fault. What is given goes to MkDocs."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", *sys.argv[1:]]
    # Material tells at each start which product comes after it.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, check=False, cwd=ROOT, env=quiet).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
