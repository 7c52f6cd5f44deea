"""What holds for a message to people whichever chat it goes to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Final

from markdown_it import MarkdownIt

from support import presets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.rendering.recipe import Made

SEVERAL: Final = (2, 6, 7, 13, 50)
"""How many events may be told together."""

HOLLOW: Final = re.compile(
    r"None|null|undefined|\(\s*\)|\[\s*\]\(|\{\{|\}\}|%\}|&lt;&gt;| ,|\bon\s*$|: *$|· *·|^ *·|· *$"
    r"|^\s|\s$|  |·\s*\n"
)


def every(name: str, **more: Any) -> Iterator[tuple[str, Made]]:
    """Every message worth a look that the preset called *name* makes, by what it is made of."""
    yield from tame(name, **more)
    yield from nasty(name, **more)


def tame(name: str, **more: Any) -> Iterator[tuple[str, Made]]:
    """
    The messages made of what CircleCI sends, or of a part of it.

    Each sample after each change, as a test and without a relay's page; bare payloads; and
    several told at once.
    """
    for sample in presets.SAMPLES:
        for change in presets.CHANGES:
            yield f"{sample} {change}", presets.rendered(name, sample, change=change, **more)
        yield f"{sample} test", presets.rendered(name, sample, test=True, **more)
        yield f"{sample} alone", presets.rendered(name, sample, external_url=None, **more)
    for payload in presets.bare():
        yield payload["id"], presets.rendered(name, payload, external_url=None, **more)
    for count in SEVERAL:
        yield f"{count} told", several(name, count, **more)


def nasty(name: str, **more: Any) -> Iterator[tuple[str, Made]]:
    """The messages made of hostile payloads, alone and many at once."""
    for payload in presets.hostile():
        for change in (None, "fixed"):
            yield payload["id"], presets.rendered(name, payload, change=change, **more)
        yield (
            f"{payload['id']}, 15 told",
            presets.rendered(name, payload, others=[payload] * 14, **more),
        )


def several(name: str, count: int, **more: Any) -> Made:
    """What is made of *count* events told together, of all samples in turn."""
    first, *others = (presets.SAMPLES * 4)[:count]
    return presets.rendered(name, first, others=others, **more)


def sensible(name: str, **more: Any) -> None:
    """
    Nothing a person would wonder at, for every sample and whatever is missing of it.

    Asserts that no text is empty, speaks of None, or has a separator with nothing behind it.
    """
    for label, made in tame(name, **more):
        for text in presets.texts(presets.said(made)):
            assert text, f"{label}: an empty text"
            assert not HOLLOW.search(text), f"{label}: {text!r}"


def only_plain_markdown(text: str, links: set[str] | None = None) -> str:
    """
    The text that a reader of Markdown sees; asserts that only bold, links and lines are markup.

    Parsed as CommonMark; what is peculiar to Discord and Mattermost (strikes, spoilers,
    mentions) is looked for in the source.
    """
    for odd in ("~~", "||", "```", "<@", "<#", "<!", "<:", "</"):
        assert not re.search(rf"(?<!\\){re.escape(odd)}", text), (odd, text)
    tokens = MarkdownIt("commonmark").parse(text)
    assert {token.type for token in tokens} <= {"paragraph_open", "paragraph_close", "inline"}, text
    seen = []
    for token in tokens:
        for each in token.children or ():
            assert each.type in {
                "text", "text_special", "softbreak", "strong_open", "strong_close", "link_open",
                "link_close",
            }, (each.type, text)  # fmt: skip
            if each.type == "link_open":
                href = str(each.attrs["href"])
                assert href.startswith(("https://", "http://", "HTTPS://")), href
                if links is not None:
                    links.add(href)
            seen.append("\n" if each.type == "softbreak" else each.content)
    return "".join(seen)


class _Tags(HTMLParser):
    """Collects what a text in Google's little HTML holds."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.seen: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Only bold, breaks, a colour and links to the web."""
        allowed = {"b": set(), "br": set(), "font": {"color"}, "a": {"href"}}
        assert tag in allowed, tag
        assert {name for name, _ in attrs} == allowed[tag], attrs
        if tag == "a":
            [(_, href)] = attrs
            assert href
            assert href.lower().startswith(("https://", "http://")), href
            self.links.append(href)
        if tag == "br":
            self.seen.append("\n")

    def handle_data(self, data: str) -> None:
        """Text as it is seen."""
        self.seen.append(data)

    def handle_comment(self, data: str) -> None:
        """There is none."""
        raise AssertionError(data)


def only_plain_html(text: str) -> str:
    """The text that a reader of HTML sees; asserts that it holds only harmless tags."""
    tags = _Tags()
    tags.feed(text)
    tags.close()
    assert text.count("<b>") == text.count("</b>"), text
    assert text.count("<a ") == text.count("</a>"), text
    return "".join(tags.seen)
