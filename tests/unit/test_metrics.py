"""The series: what is documented is what is served, from zero on."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from circleci_relay import __version__
from circleci_relay.metrics import Metrics, documented, type_label
from circleci_relay.model import SECOND, Backlog, Result, State
from circleci_relay.series import PREFIX

DESIGNED = """
events_total{source,type,result} events_unmatched_total{source} route_matches_total{route}
ack_duration_seconds{source} source_last_event_timestamp_seconds{source}
secret_last_used_timestamp_seconds{source,secret} deliveries_total{destination,result}
attempts_total{destination,result} attempt_duration_seconds{destination}
delivery_duration_seconds{destination} deliveries_pending{destination}
deliveries_dead{destination} oldest_pending_seconds{destination} breaker_open{destination}
destination_paused{destination} settles_fenced_total leases_lost_total
store_commit_duration_seconds store_commit_items store_size_bytes
config_last_reload_successful config_last_reload_success_timestamp_seconds
config_reloads_total{result} config_restart_required config_info{hash} build_info{version}
"""


@pytest.fixture
def metrics() -> Metrics:
    """Series of one source, route and destination."""
    made = Metrics()
    made.declare(sources={"circleci": ["1", "2"]}, routes=["all"], destinations=["chat"])
    made.set_config("abc", now=1_700_000_000 * SECOND)
    return made


def served(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return every sample `/metrics` serves of our own, by name and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                labels = tuple(sorted(sample.labels.items()))
                found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_the_designed_series_are_all_there() -> None:
    """Every series of the design is documented with exactly its labels."""
    series = {each.name: set(each.labels) for each in documented()}
    for word in DESIGNED.split():
        name, _, labels = word.rstrip("}").partition("{")
        assert series[name] == set(filter(None, labels.split(","))), name


def test_what_is_documented_is_what_is_served(metrics: Metrics) -> None:
    """Names, types, labels and help agree, and nothing undocumented is served."""
    text = metrics.render()[0].decode()
    types = dict(re.findall(rf"^# TYPE {PREFIX}(\w+) (\w+)$", text, re.MULTILINE))
    helps = dict(re.findall(rf"^# HELP {PREFIX}(\w+) (.+)$", text, re.MULTILINE))
    assert types == {each.name: each.kind for each in documented()}
    assert helps == {each.name: each.help for each in documented()}
    samples = served(metrics)
    for each in documented():
        suffix = "_count" if each.kind == "histogram" else ""
        for labels in samples[each.full_name + suffix]:
            assert {name for name, _ in labels} == set(each.labels), each.name


def test_every_series_is_born_at_zero(metrics: Metrics) -> None:
    """A declared name has every label value of every closed set before anything happens."""
    samples = served(metrics)
    about = {"config_info", "build_info", "config_last_reload_successful"}
    about |= {"config_last_reload_success_timestamp_seconds"}
    for name, by_labels in samples.items():
        if name.removeprefix(PREFIX) not in about:
            assert set(by_labels.values()) == {0.0}, name
    results = {dict(labels)["result"] for labels in samples[PREFIX + "attempts_total"]}
    assert results == set(Result)
    assert len(samples[PREFIX + "events_total"]) == 4 * 4 + 3
    assert len(samples[PREFIX + "secret_last_used_timestamp_seconds"]) == 2
    assert (("version", __version__),) in samples[PREFIX + "build_info"]


def test_names_that_are_gone_take_their_series_along(metrics: Metrics) -> None:
    """A reload drops what is no longer configured; what is stays as it was counted."""
    chat = metrics.destination("chat")
    chat.attempts[Result.OK].inc()
    metrics.declare(
        sources={"circleci": ["2"], "two": []}, routes=["other"], destinations=["chat", "new"]
    )
    assert metrics.destination("chat") is chat
    text = metrics.render()[0].decode()
    assert 'attempts_total{destination="chat",result="ok"} 1.0' in text
    assert 'route="all"' not in text
    assert 'secret="1"' not in text

    metrics.declare(sources={"two": []}, routes=[], destinations=["new"])
    metrics.set_backlogs({}, now=0)
    text = metrics.render()[0].decode()
    assert 'source="circleci"' not in text
    assert 'destination="chat"' not in text
    assert 'deliveries_pending{destination="new"} 0.0' in text


def test_the_backlog_of_a_removed_destination_stays_visible(metrics: Metrics) -> None:
    """What waits is shown for as long as it does, configured or not."""
    owed = Backlog(pending=3, oldest=10 * SECOND, dead=1)
    metrics.set_backlogs({"chat": owed, "ghost": owed}, now=25 * SECOND)
    metrics.declare(sources={}, routes=[], destinations=[])
    samples = served(metrics)
    for name in ("chat", "ghost"):
        labels = (("destination", name),)
        assert samples[PREFIX + "deliveries_pending"][labels] == 3
        assert samples[PREFIX + "oldest_pending_seconds"][labels] == 15
        assert samples[PREFIX + "deliveries_dead"][labels] == 1
    metrics.set_backlogs({"ghost": owed}, now=25 * SECOND)
    assert list(served(metrics)[PREFIX + "deliveries_pending"]) == [(("destination", "ghost"),)]


def test_counting(metrics: Metrics) -> None:
    """What is counted is served; types CircleCI does not document are `other`."""
    source = metrics.source("circleci")
    source.count("accepted", "ping")
    source.count("accepted", "made-up")
    source.count("unauthorized", "ping")
    metrics.destination("chat").deliveries[State.DEAD].inc()
    metrics.refused("path")
    samples = served(metrics)

    def events(kind: str, result: str) -> float:
        labels = (("result", result), ("source", "circleci"), ("type", kind))
        return samples[PREFIX + "events_total"][labels]

    assert events("ping", "accepted") == 1
    assert events("other", "accepted") == 1
    assert events("other", "unauthorized") == 1
    assert samples[PREFIX + "requests_refused_total"][(("reason", "path"),)] == 1
    assert (type_label("ping"), type_label("x"), type_label(None)) == ("ping", "other", "other")


def test_only_one_configuration_is_in_force(metrics: Metrics) -> None:
    """A new digest replaces the old one."""
    metrics.set_config("def", now=1)
    assert list(served(metrics)[PREFIX + "config_info"]) == [(("hash", "def"),)]


def test_the_process_is_measured(metrics: Metrics) -> None:
    """Memory, open files and collections come along, and OpenMetrics for who asks for it."""
    text, content_type = metrics.render()
    assert b"process_resident_memory_bytes" in text
    assert content_type.startswith("text/plain; version=0.0.4")
    text, content_type = metrics.render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_names_and_help_are_as_prometheus_wants_them() -> None:
    """Counters end in _total and nothing else does; times are seconds; all have help."""
    for each in documented():
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert each.help.endswith("."), each.name
        assert not re.search(r"_(ms|milliseconds|kb|minutes|hours)\b", each.name)
        assert (each.kind == "histogram") == bool(each.buckets), each.name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing(metrics: Metrics) -> None:
    """Prometheus' own linter has nothing to say."""
    found = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607 -- wherever it is installed
        input=metrics.render()[0],
        capture_output=True,
        check=False,
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
