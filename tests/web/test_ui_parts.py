"""The page's parts: words, forms, notices, trees, timelines."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import MultiDict

from circleci_relay.console.requests import DeliveryQuery, EventQuery, ReplayEvent
from circleci_relay.console.shapes import Entry
from circleci_relay.model import RELAY, Result, State
from circleci_relay.web.ui import words
from circleci_relay.web.ui.deeds import Part, parts_of, target_of
from circleci_relay.web.ui.deliveries import selection_of
from circleci_relay.web.ui.events import About, about, whys
from circleci_relay.web.ui.forms import filled, kept, query_of
from circleci_relay.web.ui.notices import _SENTENCES, notice_of, seen
from circleci_relay.web.ui.picture import conditions
from circleci_relay.web.ui.timeline import of_delivery, timeline
from circleci_relay.web.ui.tree import MANY, tree
from support.ui_shapes import AT, a_delivery, a_verdict, an_event

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


class Nested(HTMLParser):
    """Checks that elements end in the order they begin, and gathers the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.said = ""
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a beginning; none of these is foreign."""
        assert not {name for name, _ in attrs} - {"class", "open", "href", "rel"}
        assert tag in {"ul", "li", "details", "summary", "span", "bdi", "a"}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold an end against its beginning."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        self.said += data


@given(st.text())
def test_a_foreign_text_is_seen_and_never_markup(text: str) -> None:
    """What it holds is read as it was, save what cannot be seen, which is written out."""
    shown = Nested(words.foreign(text, 10_000))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown.said)
    assert shown.said == words.visible(text)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://app.circleci.com/pipelines/1", True),
        ("HTTP://example.com", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.com", False),
        ("https:///no-host", False),
        ("https://[broken", False),
        ("https://example.com/\x00", False),
        ("https://example.com/" + "a" * 3000, False),
        (None, False),
        (7, False),
    ],
)
def test_links_lead_over_http_only(url: object, safe: bool) -> None:  # noqa: FBT001
    """Anything else is shown as a text."""
    assert (words.address(url) is not None) is safe
    html = words.outside(url)
    assert ("href" in html) is safe
    assert not safe or 'rel="noopener noreferrer"' in html


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, words.NONE),
        (-1, "0 s"),
        (0.0021, "2 ms"),
        (1.24, "1.2 s"),
        (59, "59 s"),
        (75, "1 min 15 s"),
        (47 * 60 + 5, "47 min"),
        (2 * 3600 + 300, "2 h 5 min"),
        (3 * 86_400, "3 d"),
    ],
)
def test_spans_are_told_in_two_units_at_most(seconds: float | None, shown: str) -> None:
    """The second only where it still tells something."""
    assert words.span(seconds).replace("\N{NO-BREAK SPACE}", " ") == shown


def test_a_rate_that_is_not_all_is_never_told_as_all() -> None:
    """One failure among ten thousand is not 100 %."""
    assert words.rate(0.99999) == "99.9 %"
    assert words.rate(1.0) == "100 %"


@settings(max_examples=50)
@given(JSON)
def test_a_tree_is_well_nested_whatever_the_body_holds(value: Any) -> None:
    """Every value is there, and nothing of it is markup."""
    said = Nested(tree(value)).said
    assert said.startswith("body")


def test_a_tree_is_bounded() -> None:
    """Neither depth nor width nor length makes a page without end."""
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    wide = tree({str(number): {"a": "x" * 9000} for number in range(5 * MANY)})
    assert tree(deep).count("<details") < 50
    assert wide.count("<li") < MANY + 100
    assert "more, see the raw body" in wide
    assert tree(json.loads('["\\ud800"]')).encode()


def test_filters_take_what_is_given_and_say_what_cannot_be() -> None:
    """Blank fields count as not given, unknown ones are passed by, wrong ones are named."""
    query, faults = filled(
        EventQuery, MultiDict({"branch": " main ", "tag": "", "since": "3d", "done": "x"})
    )
    assert not faults
    assert query is not None
    assert query.branch == "main"
    assert query.tag is None
    nothing, faults = filled(EventQuery, MultiDict({"since": "yesterday", "outcome": "<b>"}))
    assert nothing is None
    assert faults.keys() == {"since", "outcome"}
    assert "<b>" not in "".join(faults.values())
    replay, _ = filled(ReplayEvent, MultiDict([("destinations", "a"), ("destinations", "b")]))
    assert replay is not None
    assert replay.destinations == ["a", "b"]
    assert kept(MultiDict({"branch": "x&y", "limit": "9"}), EventQuery, "limit") == {
        "branch": "x&y"
    }
    assert query_of({"branch": "x&y", "tag": None}) == "?branch=x%26y"


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_notice_is_ours_whatever_the_address_says(code: str, number: str) -> None:
    """No text of the address gets onto the page."""
    found = notice_of({"done": code, "n": number})
    plain = number if re.fullmatch(r"[0-9]{1,9}", number) else "0"
    assert found == notice_of({"done": code, "n": plain})
    assert (found is not None) == (code in _SENTENCES)
    known = notice_of({"done": "replayed", "n": number})
    assert known is not None
    assert re.fullmatch(r"[0-9,]+ replays? made; due at once\.", known.text)


def test_a_redirect_says_what_was_done() -> None:
    """The code goes into the query, before the place in the page."""
    assert seen("/events/1?a=b#x", "replayed", 2).location == "/events/1?a=b&done=replayed&n=2#x"
    assert notice_of({"done": "cancelled", "n": "2"}).text == "2 deliveries cancelled."  # type: ignore[union-attr]


def test_a_timeline_tells_all_in_order() -> None:
    """Arrival, verdicts, repeats, attempts, ends; what is to come stands last."""
    told_ = timeline(an_event("plain"))
    assert [each.ahead for each in told_] == sorted(each.ahead for each in told_)
    assert [each.at for each in told_ if not each.ahead] == sorted(
        each.at for each in told_ if not each.ahead
    )
    words_ = " | ".join(each.what for each in told_)
    for part in (
        "arrived",
        "1 route matched",
        "came again, 2 times",
        "attempt 1 failed",
        "given up",
    ):
        assert part in words_
    assert told_[-1].ahead
    assert told_[-1].what == "tried again"


def test_a_delivery_that_ended_says_how() -> None:
    """Dead, cancelled and delivered ones each have their last line."""
    later = AT + timedelta(hours=1)
    ends = {
        state: of_delivery(
            a_delivery("", state, log=[], settled_at=later, reason=None, replayed_by="9")
        )[-1].what
        for state in (State.DEAD, State.CANCELLED, State.DELIVERED)
    }
    assert ends == {
        State.DEAD: "given up, and replayed since",
        State.CANCELLED: "cancelled",
        State.DELIVERED: "delivered",
    }


def test_why_it_went_there_or_not() -> None:
    """One answer for each destination, configured or named by a route at the time."""
    event = an_event("x", verdicts=[a_verdict("red", "y", matched=False)], log=[])
    answers = {each.destination: each.answer for each in whys(event, ["chat"])}
    assert answers == {
        "chat": "it did not: no route led there",
        "pager": "it did not: of 1 route that led there, none matched",
    }


def test_a_match_in_words() -> None:
    """Conditions as the table of routes tells them."""
    assert conditions(None) == ["everything but ping"]
    assert conditions(
        {"branch": ["main", None], "not": {"workflow": "n*"}, "payload": {"a": 1}}
    ) == [
        "branch is main or absent",
        "not: workflow is n*",
        "payload a is 1",
    ]


def test_a_list_becomes_a_selection_where_a_job_can_take_it() -> None:
    """What a job cannot select by is not offered; nothing is not everything."""
    assert selection_of(DeliveryQuery()) is None
    assert selection_of(DeliveryQuery(state=State.DEAD, job="j")) is None
    assert selection_of(DeliveryQuery(state=State.DEAD, limit=5)) == '{"state":"dead"}'


def deed(action: str, target: str, **detail: Any) -> Entry:
    """A line of the audit log."""
    return Entry(id="1", at=AT, who="ci", action=action, target=target, detail=detail)


def test_the_audit_log_in_words() -> None:
    """What is not set left out, instants as times, what has a page linked."""
    select = {"destination": "pager", "since": 1_772_442_900_000_000, "job": None}
    job = deed("replay", "job 01JOB", request={"select": select, "rate": 5}, new=False)
    assert target_of(job) == Part(text="job 01JOB", link="/jobs/01JOB")
    assert [each.text for each in parts_of(job)] == [
        "destination:",
        "pager",
        "since:",
        "2026-03-02 09:15:00 UTC",
        "rate:",
        "5",
    ]
    assert parts_of(job)[1].link == "/destinations/pager"
    made = parts_of(deed("replay", "event 01E", made=["7"], destinations=["chat"]))
    assert [each.link for each in made] == [None, "/deliveries/7", None, "/destinations/chat"]
    assert target_of(deed("pause", "a/b")).link == "/destinations/a%2Fb"
    assert target_of(deed("replay", "event <x>")).link is None
    stopped = parts_of(deed("cancel", "job 01JOB", made=12))
    assert [each.text for each in stopped] == ["stopped after it had made 12"]


def test_times_are_told_in_utc() -> None:
    """With the machine's form beside, for the script and for readers of screens."""
    at = datetime(2026, 3, 2, 9, 15, 44, 999, tzinfo=UTC)
    assert 'datetime="2026-03-02T09:15:44Z"' in words.stamp(at)
    assert "2026-03-02 09:15:44 UTC" in words.stamp(at)
    assert words.NONE in words.stamp(None)


def test_what_the_relay_tells_of_itself() -> None:
    """It links to what it is about, and no route is named."""
    event = an_event("x", source=RELAY, facts={"workflow": "failing", "job": "pager"}, verdicts=[])
    link = "/destinations/pager"
    assert about(event) == About(kind="destination", name="pager", link=link)
    assert about(an_event("x")) is None
    assert [each.answer for each in whys(event, ["chat"])] == [
        "it did not: notify does not name it",
        "it went where notify says",
    ]
    first = timeline(event)[0].what
    assert first == "made by the relay, 1.5 KiB; told where notify says"


def test_an_attempt_that_nobody_saw_end() -> None:
    """It is not said to have failed."""
    delivery = a_delivery("x", State.PENDING)
    [attempt] = delivery.log
    lost = attempt.model_copy(update={"result": Result.LOST})
    [tried] = [
        each
        for each in of_delivery(delivery.model_copy(update={"log": [lost]}))
        if "attempt" in each.what
    ]
    assert tried.what.endswith("cut short when the relay ended; it may have arrived")


@pytest.mark.parametrize("given", ["yesterday", "31.01.2026", "3 days", "2026-02-30", "1e9"])
def test_a_wrong_time_is_told_how_it_is_written(given: str) -> None:
    """Beside its field."""
    _, faults = filled(EventQuery, MultiDict({"since": given}))
    told = "should be 2026-01-31T03:00:00Z, 2026-01-31, or how long ago: 90m, 3d"
    assert faults == {"since": told}


def test_a_date_is_its_midnight() -> None:
    """In UTC."""
    query, _ = filled(EventQuery, MultiDict({"since": "2026-01-31"}))
    assert query is not None
    assert query.since == datetime(2026, 1, 31, tzinfo=UTC)
