"""URLs that are templates: compiled so that no event can lead them astray, and checked."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from jinja2 import nodes

from circleci_relay.errors import RenderError
from circleci_relay.rendering.leaf import Reading, names_in, parse
from circleci_relay.rendering.structure import (
    TemplateFault,
    TemplateFaults,
    Text,
    compile_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TRUSTED: Final = frozenset({"labels", "options"})
"""What comes from the configuration, and may stand in a URL as it is."""

_LONGEST: Final = 8192
_HOST: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?|[0-9a-f:.]+(?:%[a-z0-9._-]+)?")
_END: Final = re.compile(r"[/?#]")


def compile_url(raw: str, *, names: Iterable[str] | None = None) -> Text:
    """
    A URL ready to render; raises `TemplateFaults`.

    Every expression is percent-encoded, save those of labels and options alone; and only
    those may stand in front of the path.
    """
    text = compile_text(raw, names=names, escape="urlencode", trusted=TRUSTED)
    if text.constant is not None:
        return text
    try:
        pieces = list(_pieces(parse(raw)))
        if not _keeps_host(pieces):
            message = "in front of a URL's path only labels and options may stand"
            raise TemplateFaults([TemplateFault((), message)])
        return replace(text, labels=frozenset(_needed_labels(pieces)))
    except RecursionError:
        raise TemplateFaults([TemplateFault((), "it is nested too deeply")]) from None


def _needed_labels(pieces: Iterable[str | nodes.Node]) -> Iterator[str]:
    """
    Labels that make a part of the path by themselves: without one, it leads somewhere else.

    Not those with something said for their absence, and not those behind the `?`.
    """
    for piece in pieces:
        if isinstance(piece, str):
            if "?" in piece:
                return
        elif isinstance(piece, nodes.Expr) and names_in(piece) == {"labels"}:
            reading = Reading(frozenset({"labels"}), {})
            reading.read(piece)
            if not _has_other(piece):
                yield from reading.labels


def _has_other(expression: nodes.Expr) -> bool:
    """Whether *expression* says what to take where something is not there."""
    if any(expression.find_all((nodes.Or, nodes.CondExpr))):
        return True
    if isinstance(expression, (nodes.Or, nodes.CondExpr)):
        return True
    filters = [*expression.find_all(nodes.Filter), expression]
    return any(isinstance(each, nodes.Filter) and each.name in {"default", "d"} for each in filters)


def check_url(url: str) -> str:
    """*url* as it was made, if it can be one; raises `RenderError`, which does not tell it."""
    if len(url) > _LONGEST:
        raise RenderError(f"the URL would be longer than {_LONGEST:,} characters")
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise RenderError("the URL would have characters that no URL has; try the filter urlencode")
    try:
        split = urlsplit(url)
        split.port  # noqa: B018 - raises where it is no number
    except ValueError:
        raise RenderError("the URL would not be one") from None
    if split.scheme not in {"http", "https"}:
        raise RenderError("the URL would be none of http or https")
    if not split.hostname:
        raise RenderError("the URL would have no host")
    if not _HOST.fullmatch(split.hostname):
        raise RenderError("the URL would have an unusable host name")
    if "@" in split.netloc:
        raise RenderError("the URL would hold a user or password")
    if "#" in url:
        raise RenderError("the URL would hold a #; what follows it is never sent")
    if any(unquote(part) in {".", ".."} for part in split.path.split("/")):
        raise RenderError("the URL would have . or .. in its path")
    return url


def _keeps_host(pieces: Iterable[str | nodes.Node]) -> bool:
    """
    Whether nothing untrusted stands in front of the path.

    A slash inside a statement begins no path: it may be in the arm that does not count.
    """
    before, seen = "", False
    for piece in pieces:
        if isinstance(piece, str):
            before = f"{before}{piece}"
            rest = before.partition("://")[2] if "://" in before else (before if seen else "")
            if _END.search(rest):
                return True
        elif not names_in(piece) <= TRUSTED:
            return False
        else:
            seen = True
            before = f"{before}x"
    return True


def _pieces(tree: nodes.Template) -> Iterator[str | nodes.Node]:
    """Texts, expressions and statements in the order they stand."""
    for child in tree.body:
        if not isinstance(child, nodes.Output):
            yield child
            continue
        for part in child.nodes:
            yield part.data if isinstance(part, nodes.TemplateData) else part
