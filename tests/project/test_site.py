"""The documentation as one site: it builds strictly, no link is broken, nothing is from outside."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

LEADS = re.compile(r"<(\w+)\b[^<>]*?\b(?:href|src)=[\"']?([^\"' >]+)")
MARKS = re.compile(r"\b(?:id|name)=[\"']?([^\"' >]+)")

COUNTED = {"li", "table", "tr", "td", "pre", "a", "img", "blockquote", "em", "strong", "h2", "h3"}
"""What both readers of Markdown must find as often. Paragraphs in lists they see differently."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it: a warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    run = subprocess.run(  # noqa: S603
        [sys.executable, str(ROOT / "scripts/build_site.py"), "--site-dir", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, str]:
    """Every page of it, by its file."""
    return {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}


def test_links_lead_somewhere(site: Path, built: dict[Path, str]) -> None:
    """Each link and each source in the pages, in raw HTML too, finds its file and its anchor."""
    marks = {page: set(map(unescape, MARKS.findall(text))) for page, text in built.items()}
    for page, text in built.items():
        if page.name == "404.html":  # which is shown at any address, so its links are absolute
            continue
        for _, lead in set(LEADS.findall(text)):
            path, _, anchor = unquote(unescape(lead)).partition("#")
            if re.match(r"[a-z]+:", path):
                continue
            target = (page.parent / path).resolve() if path else page
            target = target / "index.html" if target.is_dir() else target
            where = f"{page.relative_to(site)}: {lead}"
            assert target.is_file(), where
            assert not anchor or target not in marks or anchor in marks[target], where


def test_nothing_is_loaded_from_elsewhere(site: Path, built: dict[Path, str]) -> None:
    """Fonts, scripts, styles and pictures are the site's own: it can be read without a network."""
    for page, text in built.items():
        for tag, lead in LEADS.findall(text):
            assert tag == "a" or not re.match(r"(https?:)?//", lead), f"{page.name}: {lead}"
        assert 'class="mermaid"' not in text, page.name  # for which a script would be fetched
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\"' ]*(https?:)?//", sheet.read_text("utf-8")), sheet


def test_pages_read_as_they_do_in_the_repository(site: Path, built: dict[Path, str]) -> None:
    """Lists, tables and code are in the site what CommonMark, by which others show them, makes."""
    commonmark = MarkdownIt("commonmark", {"html": True}).enable("table")
    for page in sorted(DOCS.rglob("*.md")):
        name = page.relative_to(DOCS).with_suffix(".html")
        html = built[site / (name.with_name("index.html") if name.stem == "README" else name)]
        article = re.search(r"<article[^>]*>(.*?)</article>", html, re.DOTALL)
        assert article is not None, name
        wanted = _Seen.of(commonmark.render(page.read_text(encoding="utf-8")))
        assert _Seen.of(article[1]) == wanted, name


class _Seen(HTMLParser):
    """What is in a piece of HTML: its words, and how many of each element."""

    @classmethod
    def of(cls, html: str) -> tuple[str, Counter[str]]:
        """Look at *html*."""
        seen = cls()
        seen.feed(html)
        return "".join("".join(seen.words).split()), seen.elements

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.elements: Counter[str] = Counter()
        self._permalink = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count it."""
        if ("class", "headerlink") in attrs:
            self._permalink = True
        elif tag in COUNTED:
            self.elements[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        """Be past a heading's own link."""
        self._permalink = self._permalink and tag != "a"

    def handle_data(self, data: str) -> None:
        """Take the words."""
        if not self._permalink:
            self.words.append(data)
