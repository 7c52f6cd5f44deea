"""Labels by project: which patterns count, and which of them wins."""

from __future__ import annotations

import pytest

from circleci_relay.circleci import samples
from circleci_relay.circleci.payload import parse, read_facts
from circleci_relay.labels import NO_LABELS, Labels
from circleci_relay.matching import MatchFaults
from circleci_relay.model import Facts

API = Facts(type="x", project="gh/acme/api", project_name="api", project_id="44")


@pytest.mark.parametrize(
    "pattern", ["acme/api", "gh/acme/api", "github/acme/api", "api", "44", "acme/*", r"/acme\/.*/"]
)
def test_a_project_by_any_of_its_names(pattern: str) -> None:
    """As under `match.project`."""
    assert Labels({pattern: {"team": "payments"}}).of(API) == {"team": "payments"}


def test_all_patterns_count_and_the_later_wins() -> None:
    """What holds for most is said first, the exception after it."""
    labels = Labels(
        {
            "acme/*": {"team": "platform", "channel": "#all"},
            "acme/web": {"team": "web"},
            "acme/api": {"team": "payments"},
        }
    )
    assert labels.of(API) == {"team": "payments", "channel": "#all"}
    assert labels.names == {"team", "channel"}


def test_a_project_whose_slug_says_nothing() -> None:
    """Organization and name serve where the slug is made of letters that nobody reads."""
    facts = read_facts(parse(samples.load("gitlab_workflow_success")))
    assert facts.project is not None
    assert "acme" not in facts.project
    assert Labels({"acme-rockets/launchpad": {"team": "one"}}).of(facts) == {"team": "one"}


def test_nothing_for_who_is_not_named() -> None:
    """A ping has no project; another project has no labels."""
    labels = Labels({"acme/api": {"team": "payments"}})
    assert labels.of(Facts(type="ping")) == {}
    assert labels.of(Facts(type="x", project="gh/acme/web", project_name="web")) == {}
    assert NO_LABELS.of(API) == {}


def test_equal_where_they_say_the_same_in_the_same_order() -> None:
    """A reload asks whether anything changed; the order decides who wins."""
    one = {"a": {"x": "1"}, "b": {"x": "2"}}
    assert Labels(one) == Labels(dict(one))
    assert hash(Labels(one)) == hash(Labels(dict(one)))
    assert Labels(one) != Labels(dict(reversed(one.items())))
    assert Labels({}) == NO_LABELS


def test_secret_labels_are_known_by_name() -> None:
    """They are labels like others; whoever passes on all of them asks which to leave out."""
    one = {"acme/api": {"team": "payments", "hook": "https://hooks.example.com/s"}}
    labels = Labels(one, frozenset({"hook"}))
    assert labels.secret == {"hook"}
    assert labels.of(API) == one["acme/api"]
    assert labels == Labels(one, frozenset({"hook"}))
    assert labels != Labels(one)
    assert hash(labels) != hash(Labels(one))
    assert NO_LABELS.secret == frozenset()


def test_a_pattern_that_cannot_be() -> None:
    """Said with its place, like any under `match`."""
    with pytest.raises(MatchFaults) as caught:
        Labels({"/(/": {"team": "x"}, "//": {"team": "y"}})
    assert [fault.path for fault in caught.value.faults] == [("/(/",), ("//",)]
