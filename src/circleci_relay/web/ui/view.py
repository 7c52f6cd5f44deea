"""Templates, and what all of them know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from jinja2 import DictLoader, Environment, StrictUndefined

from circleci_relay import __version__
from circleci_relay.web.access import ANYBODY, CALLER, Caller
from circleci_relay.web.gate import CSRF
from circleci_relay.web.ui import charts, words
from circleci_relay.web.ui.forms import query_of
from circleci_relay.web.ui.marks import mark_of, state_words
from circleci_relay.web.ui.notices import Notice, notice_of
from circleci_relay.web.ui.timeline import result_words, waiting_words

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES = Path(__file__).parent / "templates"

NOBODY = Caller(name="", role="viewer")
"""Whoever has not signed in yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who looks at a page, and from where they came."""

    caller: Caller = NOBODY
    csrf: str = ""
    path: str = "/"
    notice: Notice | None = None

    @property
    def operator(self) -> bool:
        """Whether they may change anything."""
        return self.caller.role == "operator"

    @property
    def known(self) -> bool:
        """Whether it is anybody."""
        return bool(self.caller.name)

    @property
    def signed_in(self) -> bool:
        """Whether there is a session to end."""
        return self.known and self.caller.name != ANYBODY

    @classmethod
    def of(cls, request: web.Request) -> Reader:
        """Return who sent *request*."""
        return cls(
            caller=request.get(CALLER, NOBODY),
            csrf=request.get(CSRF, ""),
            path=request.path,
            notice=notice_of(request.query),
        )


class View:
    """Makes pages of templates; *url* returns where a static file is found."""

    def __init__(self, url: Callable[[str], str]) -> None:
        self._environment = _environment()
        self._static = {"css": url("style.css"), "js": url("relay.js")}

    def html(self, template: str, reader: Reader, /, **values: Any) -> str:
        """Return a page."""
        return self._environment.get_template(template).render(
            reader=reader,
            static=self._static,
            now=datetime.now(UTC),
            problem=values.pop("problem", None),
            **values,
        )

    def page(
        self, request: web.Request, template: str, /, *, status: int = 200, **values: Any
    ) -> web.Response:
        """Return a page for whoever sent *request*."""
        html = self.html(template, Reader.of(request), **values)
        return web.Response(
            body=html.encode("utf-8", "replace"),
            status=status,
            content_type="text/html",
            charset="utf-8",
        )


@cache
def _environment() -> Environment:
    """Read all templates at once: later, nothing waits for the disk."""
    sources = {path.name: path.read_text("utf-8") for path in sorted(TEMPLATES.glob("*.html"))}
    found = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {
        "foreign": words.foreign,
        "lines": words.lines,
        "stamp": words.stamp,
        "span": words.span,
        "count": words.count,
        "size": words.size,
        "rate": words.rate,
        "attribute": words.attribute,
        "state_words": state_words,
        "mark_of": mark_of,
        "result_words": result_words,
        "series_words": charts.shown,
        "waiting_words": waiting_words,
    }
    found.globals |= {
        "outside": words.outside,
        "some": words.some,
        "query_of": query_of,
        "version": __version__,
    }
    return found
