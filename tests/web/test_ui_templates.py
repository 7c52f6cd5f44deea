"""Every template with everything hostile in it: nothing becomes markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from circleci_relay.console import shapes
from circleci_relay.web.access import Caller
from circleci_relay.web.ui import charts
from circleci_relay.web.ui.dead import graves
from circleci_relay.web.ui.deeds import parts_of, target_of
from circleci_relay.web.ui.events import about, whys
from circleci_relay.web.ui.jobs import Part, selected
from circleci_relay.web.ui.notices import Notice
from circleci_relay.web.ui.overview import spark_of
from circleci_relay.web.ui.picture import picture, ways
from circleci_relay.web.ui.timeline import WHY, of_delivery, timeline
from circleci_relay.web.ui.tree import tree
from circleci_relay.web.ui.view import TEMPLATES, Reader, View
from support import ui_shapes as made
from support.ui_shapes import AT, HOSTILE

if TYPE_CHECKING:
    from collections.abc import Callable

VOID = {"meta", "link", "input", "path", "rect", "circle", "line", "br"}

Values = dict[str, Any]


def _events(text: str) -> Values:
    found = shapes.Events(items=[made.an_event(text)], next="12.3", searched_to=AT)
    return _filter(text) | {"found": found, "paths": ["/webhooks/circleci"]}


def _filter(text: str) -> Values:
    typed = text[:300]
    fields = dict.fromkeys(("text", "outcome", "state", "source", "before"), typed)
    return {
        "fields": fields,
        "faults": {"text": text, "since": text, "outcome": text},
        "more": True,
        "destinations": ["pager", "chat"],
        "sources": ["circleci"],
    }


def _event(text: str) -> Values:
    event = made.an_event(text)
    return {
        "event": event,
        "moments": timeline(event),
        "tree": tree(event.payload),
        "whys": whys(event, ["chat", "pager"]),
        "about": about(event),
        "destinations": ["chat"],
    }


def _deliveries(text: str) -> Values:
    found = shapes.Deliveries(items=[made.a_delivery(text)], next="1", searched_to=AT)
    more = {"results": [("ok", "ok")], "reasons": [("refused", "refused")], "selection": text[:200]}
    return _filter(text) | more | {"found": found}


def _delivery(text: str) -> Values:
    delivery = made.a_delivery(text)
    return {"delivery": delivery, "moments": of_delivery(delivery), "why": WHY}


def _dead(text: str) -> Values:
    group = shapes.DeadGroup(
        destination="pager",
        reason=None,
        result=None,
        status=503,
        error=text[:200].replace("\0", ""),
        count=3,
        oldest=AT,
        newest=AT,
    )
    found = shapes.Dead(groups=[group], total=3, partial=True)
    return _filter(text) | {"found": found, "groups": graves(found)}


def _preview(text: str) -> Values:
    return {
        "kind": "replay",
        "total": 3,
        "partial": True,
        "by_destination": {"pager": 3},
        "examples": [made.a_delivery(text)],
        "parts": [Part(selection=text, key="key")],
        "routes": "now",
        "back": "/dead",
    }


def _overview(text: str) -> Values:
    found = made.an_overview(text)
    alert = shapes.Alert(rule="failing", subject=text, since=AT, text=text, told=False)
    return {
        "found": found,
        "alerts": shapes.Alerts(items=[alert], to=[text]),
        "others": [alert],
        "events": charts.stacked(found.events, title="Events"),
        "deliveries": charts.stacked(found.deliveries, title="Deliveries"),
        "sparks": {each.name: spark_of(each) for each in found.destinations},
        "paths": ["/webhooks/circleci"],
    }


def _routes(text: str) -> Values:
    routes = made.some_routes(text)
    fault = shapes.ConfigFault(file=text, line=1, column=2, path=text, message=text, text=text)
    tried = shapes.Explained(
        title=text,
        facts={"branch": text},
        verdicts=[made.a_verdict("nightly", text, matched=False)],
        destinations=["pager"],
    )
    names = ("event", "payload", "change", "source", "config", "since")
    typed = dict.fromkeys(names, text[:300])
    return {
        "period": "3d",
        "routes": routes,
        "ways": ways(routes),
        "picture": picture(routes),
        "tree": tree(routes.config),
        "sources": ["circleci"],
        "typed": typed,
        "tried": tried,
        "backtest": made.a_backtest(text),
        "faulty": [fault],
    }


def _destination(text: str) -> Values:
    state = made.a_state(text)
    recent = shapes.Deliveries(items=[made.a_delivery(text)], next=None)
    return {"state": state, "spark": spark_of(state), "recent": recent}


def _audit(text: str) -> Values:
    entry = shapes.Entry(id="1", at=AT, who=text, action=text, target=text, detail={text: text})
    deeds = [(entry, target_of(entry), parts_of(entry))]
    return {"found": shapes.Audit(items=[entry], next="1"), "fields": {}, "deeds": deeds}


PAGES: dict[str, Callable[[str], Values]] = {
    "overview.html": _overview,
    "events.html": _events,
    "event.html": _event,
    "deliveries.html": _deliveries,
    "delivery.html": _delivery,
    "dead.html": _dead,
    "preview.html": _preview,
    "jobs.html": lambda text: {
        "found": shapes.Jobs(items=[made.a_job(text)], next=None),
        "fields": {},
        "selected": selected,
    },
    "job.html": lambda text: {"job": made.a_job(text), "selected": selected, "working": True},
    "destination.html": _destination,
    "routes.html": _routes,
    "rejects.html": lambda text: (
        _filter(text) | {"found": shapes.Rejects(items=[made.a_reject(text)], next=None)}
    ),
    "reject.html": lambda text: {"reject": made.a_reject(text)},
    "live.html": lambda text: _events(text) | {"stream": "/api/v1/stream"},
    "audit.html": _audit,
    "login.html": lambda _: {"next": "/events"},
    "error.html": lambda text: {
        "status": 409,
        "heading": "Not as things are",
        "detail": text,
        "back": "/",
    },
}


class Seen(HTMLParser):
    """What a browser would make of a page, as far as these tests ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.targets: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.posts: list[bool] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what begins."""
        given = dict(attrs)
        self.tags.add(tag)
        self.attributes |= given.keys()
        self.targets += [given[key] or "" for key in ("href", "action", "src") if key in given]
        if tag == "script":
            self.scripts.append(given)
        if tag == "form" and given.get("method") == "post":
            self.posts.append(given.get("action") == "/login")
        if given.get("name") == "csrf":
            self.posts[-1] = given.get("value") == "token"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is empty."""
        self.tags.add(tag)
        self.attributes |= dict(attrs).keys()

    def handle_endtag(self, tag: str) -> None:
        """Hold the ends against the beginnings."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note what is read."""
        self.text.append(data)


@pytest.fixture(scope="module")
def view() -> View:
    """The templates."""
    return View(lambda name: f"/static/{name}")


def _reader(role: Any) -> Reader:
    return Reader(
        caller=Caller(name="ci-team", role=role), csrf="token", notice=Notice(text="2 replays made")
    )


def test_every_template_is_tried() -> None:
    """A page that is added is added here."""
    names = {path.name for path in TEMPLATES.glob("*.html")}
    assert names - {"base.html", "macros.html"} == PAGES.keys()


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("role", ["operator", "viewer"])
def test_nothing_hostile_becomes_markup(view: View, name: str, role: str) -> None:
    """Whatever the texts hold, the page has our elements only, well nested, and no script."""
    html = view.html(name, _reader(role), problem=HOSTILE, **PAGES[name](HOSTILE))
    seen = Seen(html)

    assert not seen.open
    assert not seen.tags & {"img", "iframe", "object", "style", "base"}
    assert not [each for each in seen.attributes if each.startswith("on") or each == "style"]
    assert seen.scripts == [{"src": "/static/relay.js", "defer": None}]
    assert all(re.match(r"(/(?!/)|#|data:image/svg\+xml,%3Csvg )", each) for each in seen.targets)
    # What somebody typed stands in its field again as it was.
    shown = re.sub(r' value="[^"]*"|<textarea.*?</textarea>', "", html, flags=re.DOTALL)
    assert not re.search("[\x00-\x08\x0e-\x1f\u202a-\u202e\u2066-\u2069]", shown)


@pytest.mark.parametrize("name", PAGES)
def test_hostile_lengths_are_cut(view: View, name: str) -> None:
    """Ten thousand letters in every text leave a page that can be read; bodies are shown whole."""
    html = view.html(name, _reader("operator"), **PAGES[name](HOSTILE))
    whole = {"event.html": 1, "reject.html": 1, "preview.html": 1}
    assert html.count("a" * 9_000) == whole.get(name, 0)


@pytest.mark.parametrize("name", PAGES)
def test_every_form_that_changes_anything_proves_itself(view: View, name: str) -> None:
    """Each POST form holds the session's token; the login alone has none yet."""
    seen = Seen(view.html(name, _reader("operator"), **PAGES[name]("plain")))
    assert all(seen.posts)


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"login.html", "error.html", "routes.html"}))
def test_a_viewer_is_shown_no_button_that_would_refuse(view: View, name: str) -> None:
    """Whoever may only look gets the reason instead of the button."""
    seen = Seen(view.html(name, _reader("viewer"), **PAGES[name]("plain")))
    posts = len(seen.posts) - 1  # signing out
    assert posts <= (1 if name == "dead.html" else 0) or name == "preview.html"


def test_a_link_to_elsewhere_is_one_only_over_http(view: View) -> None:
    """A fact's URL becomes a link that tells nobody where one came from."""
    good = made.an_event("plain", facts={"url": "https://app.circleci.com/x?a=1&b=2"})
    values = _event("plain") | {"event": good}
    html = view.html("event.html", _reader("operator"), **values)
    assert '<a href="https://app.circleci.com/x?a=1&amp;b=2" rel="noopener noreferrer">' in html


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("events.html", {"found": shapes.Events(items=[], next=None)}),
        ("deliveries.html", {"found": shapes.Deliveries(items=[], next=None)}),
        ("dead.html", {"found": shapes.Dead(groups=[], total=0, partial=False), "groups": []}),
        ("rejects.html", {"found": shapes.Rejects(items=[], next=None)}),
        ("jobs.html", {"found": shapes.Jobs(items=[], next=None)}),
        ("audit.html", {"found": shapes.Audit(items=[], next=None), "deeds": []}),
    ],
)
def test_what_is_empty_says_so(view: View, name: str, values: Values) -> None:
    """An empty list says what that means and what to do next."""
    plain = PAGES[name]("plain") | {"fields": {}, "faults": {}} | values
    html = view.html(name, _reader("operator"), **plain)
    assert 'class="empty' in html
    assert "<table" not in html
