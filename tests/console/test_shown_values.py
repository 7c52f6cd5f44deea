"""Values as the answers show them: instants, places in lists, bodies cut to what can be read."""

from __future__ import annotations

import json
import math
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from circleci_relay.circleci.payload import loosely
from circleci_relay.console.bodies import CUT, LONGEST, MOST, bounded
from circleci_relay.console.cursors import instant, key_of, moment, place_of, place_text
from circleci_relay.console.showing import Showing, titled
from circleci_relay.errors import Invalid
from circleci_relay.redaction import Redaction

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=8,
)


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_survives_both_ways(time: datetime) -> None:
    """To the microsecond."""
    found = instant(time)
    assert found is not None
    assert moment(found) == time


def test_times_without_a_zone_are_utc() -> None:
    """And one elsewhere is the same instant."""
    plain = datetime(2026, 1, 31, 3, tzinfo=UTC)
    assert instant(plain.replace(tzinfo=None)) == instant(plain)
    assert instant(plain.astimezone(timezone(timedelta(hours=5)))) == instant(plain)
    assert instant(None) is None


def test_no_instant_is_beyond_the_calendar() -> None:
    """What a clock gone mad wrote is shown as the first or the last there is."""
    assert moment(2**62).year == 9999
    assert moment(-(2**62)).year == 1


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_place_survives_both_ways(at: int, key: int) -> None:
    """Whatever the instant and the key."""
    assert place_of(place_text((at, key))) == (at, key)
    assert key_of(str(key)) == key


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "1.2.3", "٣.٣", "9" * 19 + ".1", "1_0.1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    """As a fault of whoever asks."""
    with pytest.raises(Invalid, match="next"):
        place_of(text)


@given(JSON)
def test_what_is_shown_is_json(value: object) -> None:
    """Whatever the body holds; what no JSON can write is written out."""
    written = TypeAdapter(object).dump_json(bounded(value))
    json.loads(written)


def test_small_bodies_are_shown_as_they_are() -> None:
    """Nothing is cut but what is excessive."""
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}, "d": []}
    assert bounded(value) == value


def test_excess_is_cut_and_marked() -> None:
    """In depth, in number, in length."""
    deep: object = "end"
    for _ in range(100):
        deep = [deep]
    assert CUT in json.dumps(bounded(deep), ensure_ascii=False)
    many = bounded(list(range(2 * MOST)))
    assert (len(many), many[-1]) == (MOST, CUT)
    wide = bounded({str(n): n for n in range(2 * MOST)})
    assert (len(wide), wide[CUT]) == (MOST, CUT)
    assert bounded("x" * (2 * LONGEST)) == "x" * LONGEST + CUT
    assert bounded(2**63) == str(2**63)
    assert bounded(10**5000) == hex(10**5000)
    assert bounded([math.nan, -math.inf]) == ["nan", "-inf"]
    assert bounded(loosely(b'{"n": 1.10, "m": ' + b"9" * 2000 + b"}"))["n"] == 1.1


HEAD = b'{"id":"hostile","type":"workflow-completed","x":'
SIZE = 1 << 20
BODIES = {
    "wide": HEAD + b"[" + b"0," * (SIZE // 2) + b"0]}",
    "deep": HEAD + b"[" * 900 + b"]" * 900 + b"}",
    "deeper": HEAD + b"[" * (SIZE // 2) + b"]" * (SIZE // 2) + b"}",
    "many keys": HEAD + b"{" + b",".join(b'"%d":{}' % number for number in range(80_000)) + b"}}",
    "number": HEAD + b"9" * SIZE + b"}",
    "text": HEAD + b'"' + b"\\ud800" * (SIZE // 6) + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_hostile_bodies_are_shown_in_bounded_time(body: bytes) -> None:
    """Cut where they are excessive, and as JSON that anybody can read."""
    began = time.process_time()
    written = TypeAdapter(object).dump_json(bounded(loosely(body)))
    assert time.process_time() - began < 1
    assert len(written) < 200_000
    json.loads(written)


def test_secrets_known_since_are_taken_out_of_facts() -> None:
    """Of each text alone: what remains is still JSON, and its title is as clean."""
    secret = 'x","y'
    showing = Showing(redact=Redaction({secret, "hunter2"}), configured=dict)
    stored = '{"type":"job-completed","job":"hunter2","branch":"x","tag":"y","pipeline_number":3}'
    told = showing.facts_text(stored)
    assert json.loads(told) == {
        "type": "job-completed",
        "job": "***",
        "branch": "x",
        "tag": "y",
        "pipeline_number": 3,
    }
    assert titled(told)[0] == "Job *** completed on x"
