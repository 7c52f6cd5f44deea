"""The filters for maps."""

from __future__ import annotations

import pytest

from circleci_relay.errors import RenderError
from circleci_relay.rendering.bounds import OMIT, Missing
from circleci_relay.rendering.maps import combine
from circleci_relay.rendering.structure import compile_structure


def test_combine_puts_entries_over_others() -> None:
    """The later map wins, `omit` takes a key away, and neither map is changed."""
    first, second = {"a": 1, "b": 2, "c": 3}, {"b": 20, "c": OMIT, "d": 4}
    assert combine(first, second) == {"a": 1, "b": 20, "d": 4}
    assert first == {"a": 1, "b": 2, "c": 3}


def test_combine_takes_what_is_missing_for_an_empty_map() -> None:
    """So labels that nobody gave are none."""
    assert combine(Missing(name="labels"), {"a": 1}) == {"a": 1}
    assert combine({"a": 1}, None) == {"a": 1}


def test_combine_takes_maps_only() -> None:
    """Anything else is a fault with words."""
    with pytest.raises(RenderError, match="wants maps"):
        combine([1], {})


def test_combine_in_a_template() -> None:
    """It is in reach by its name."""
    made = compile_structure("{{ labels | combine({'project': project or omit}) }}")
    assert made.render({"labels": {"team": "x"}, "project": None}) == {"team": "x"}
