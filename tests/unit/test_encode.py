"""Keys made of names: the same bytes whichever library writes the tables' JSON."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.store import encode

orjson = pytest.importorskip("orjson")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_digest_does_not_depend_on_an_extra(names: list[str]) -> None:
    """Replicas with and without `fast` agree on lines, and one that loses it forgets none."""
    written = hashlib.blake2b(orjson.dumps(names), digest_size=16).digest()
    assert encode.digest(names) == written
