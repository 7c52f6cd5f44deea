"""The packaged samples: every one verifies, parses, and can be given an id of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from circleci_relay.circleci import payload, samples, signature

SIGNATURES = Path(__file__).parents[1] / "fixtures" / "samples"
NAMES = samples.names()


def test_each_sample_has_its_signature() -> None:
    """The bodies in the package and the signatures beside the tests belong together."""
    assert sorted(NAMES) == sorted(path.stem for path in SIGNATURES.glob("*.sig"))
    assert len(NAMES) >= 16


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_verifies_with_its_published_signature(name: str) -> None:
    """Not a byte of it was changed on the way into the package."""
    header = (SIGNATURES / f"{name}.sig").read_text().strip()
    signature.verify(samples.load(name), header, secret=samples.SECRET)
    assert signature.sign(samples.load(name), samples.SECRET) == header


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_given_a_new_id_differs_in_nothing_else(name: str) -> None:
    """Only the event's own id changes; the ids of its workflow and project stay, byte for byte."""
    body = samples.load(name)
    old = payload.event_id(payload.parse(body))
    changed = samples.with_id(body, "brand-new")
    assert payload.event_id(payload.parse(changed)) == "brand-new"
    assert changed.replace(b'"id":"brand-new"', f'"id":"{old}"'.encode()) == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{ "id" : "a" , "x": {"id": "b"} }', b'{ "id" : "N" , "x": {"id": "b"} }'),
        (b'{"x":[{"id":"b"},"id",":"],"id":"a"}', b'{"x":[{"id":"b"},"id",":"],"id":"N"}'),
        (b'{"a":"id","id":"a\\"}{"}', b'{"a":"id","id":"N"}'),
        (b'{"n":1,"t":true,"id":"a","z":null}', b'{"n":1,"t":true,"id":"N","z":null}'),
        (b'{"id":"first","id":"last"}', b'{"id":"first","id":"N"}'),
        (b'{"\xc3\xa9":"\xf0\x9f\x9a\x80","id":"a"}', b'{"\xc3\xa9":"\xf0\x9f\x9a\x80","id":"N"}'),
    ],
)
def test_only_the_outermost_id_is_replaced(body: bytes, expected: bytes) -> None:
    """Whatever the spacing, and whatever looks like an id inside."""
    assert samples.with_id(body, "N") == expected
    assert json.loads(expected)["id"] == "N"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'["id","a"]', b"{}", b'{"x":{"id":"a"}}', b'{"id":7}']
)
def test_a_body_without_an_id_cannot_be_given_one(body: bytes) -> None:
    """Said plainly, for a file that a person names."""
    with pytest.raises(ValueError, match="`id`"):
        samples.with_id(body, "new")


def test_an_unknown_sample_is_a_key_error() -> None:
    """And no path out of the package is one."""
    for name in ("nothing", "../signature", "__init__"):
        with pytest.raises(KeyError):
            samples.load(name)
