"""`/metrics` of the running program: all that is documented, from zero on, and counted right."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from circleci_relay import __version__
from circleci_relay.model import Result
from circleci_relay.series import DELIVERY_RESULTS, EVENT_RESULTS, PREFIX, TYPES, documented
from support.program import PATIENCE, Program, an_event, circleci, running, write_config
from support.receiver import Receiver, answer

StartReceiver = Callable[..., Awaitable[Receiver]]

ROOT = Path(__file__).parents[2]
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
"""The list of the design, section 6."""

SOURCES = {"circleci": ("1", "2"), "projects": ("api", "web")}
DESTINATIONS = ("healthy", "flaky", "gone", "refused", "paused")
ROUTES = ("everything", "red", "off")
NEVER_ZERO = {
    "build_info",
    "config_info",
    "config_last_reload_success_timestamp_seconds",
    "config_last_reload_successful",
    "store_size_bytes",
    "store_filled_ratio",
    "ready",
    # The start itself writes: which destinations there are, and the configuration.
    "store_commit_duration_seconds",
    "store_commit_items",
}

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


async def scrape(program: Program) -> str:
    """Return what `/metrics` says now."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(program.url("ops", "/metrics")) as response,
    ):
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        return await response.text()


def samples(text: str) -> Samples:
    """Return every sample of the relay's own, by its name without prefix, and labels."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith(PREFIX):
                labels = frozenset(sample.labels.items())
                found.setdefault(sample.name.removeprefix(PREFIX), {})[labels] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    """Return the one sample of *name* with exactly these *labels*."""
    return samples(text)[name][frozenset(labels.items())]


def counted(text: str, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of *name* with these *labels* that are not zero, by the other labels."""
    wanted = set(labels.items())
    return {
        tuple(value for _, value in sorted(each - wanted)): number
        for each, number in samples(text)[name].items()
        if wanted <= each and number
    }


async def gauged(program: Program, **wanted: float) -> str:
    """Return what is scraped once the background count shows *wanted* as `deliveries_pending`."""
    async with asyncio.timeout(PATIENCE):
        while True:
            text = await scrape(program)
            shown = "".join(
                line for line in text.splitlines(keepends=True) if "deliveries_pending{" in line
            )
            pending = counted(shown, "deliveries_pending")
            if pending == {(name,): number for name, number in wanted.items()}:
                return text
            await program.moment()


def a_config(folder: Path, healthy: Receiver, flaky: Receiver, gone: Receiver) -> Path:
    """Write a relay.yaml with every kind of name."""
    return write_config(
        folder,
        server={"max_body": "4KiB"},
        sources={
            "circleci": {"path": "/webhooks/circleci", "secrets": ["first", "second"]},
            "projects": {
                "path": "/webhooks/projects/{secret}",
                "secrets": {"api": "api-secret", "web": "web-secret"},
            },
        },
        destinations={
            "healthy": {"url": healthy.url()},
            "flaky": {"url": flaky.url(), "retry": {"initial": "10ms"}},
            "gone": {"url": gone.url()},
            "refused": {"url": "http://127.0.0.1:1/", "retry": {"max_attempts": 1}},
            "paused": {"url": healthy.url(), "paused": True},
        },
        routes={
            "everything": {"match": {"branch": "main"}, "to": list(DESTINATIONS)},
            "red": {"match": {"branch": "main", "status": "failed"}, "to": "healthy"},
            "off": {"to": "healthy", "enabled": False},
        },
    )


def on_page() -> dict[str, tuple[str, set[str]]]:
    """Return kind and labels of each series that docs/reference/metrics.md lists."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(rf"^\| `{PREFIX}(\w+)` \| (\w+) \| ([^|]*) \|", page, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def check_names(text: str) -> None:
    """Fail unless what is served, the catalogue, the page and the design agree."""
    types = dict(re.findall(rf"^# TYPE {PREFIX}(\w+) (\w+)$", text, re.MULTILINE))
    helps = dict(re.findall(rf"^# HELP {PREFIX}(\w+) (.+)$", text, re.MULTILINE))
    assert types == {each.name: each.kind for each in documented()}
    assert helps == {each.name: each.help for each in documented()}
    assert {name: (each.kind, set(each.labels)) for name, each in _catalogue().items()} == on_page()
    for word in DESIGNED.split():
        name, _, labels = word.rstrip("}").partition("{")
        assert on_page()[name][1] == set(filter(None, labels.split(","))), name
    served = samples(text)
    for name, each in _catalogue().items():
        if each.kind == "histogram":
            assert {len(labels) for labels in served[f"{name}_bucket"]} == {len(each.labels) + 1}
        shown = served[f"{name}_count" if each.kind == "histogram" else name]
        for pairs in shown:
            assert {label for label, _ in pairs} == set(each.labels), name
    counted_by_histograms = {
        f"{each.name}_{end}"
        for each in documented()
        if each.kind == "histogram"
        for end in ("bucket", "count", "sum")
    }
    assert set(served) <= set(types) | counted_by_histograms


def _catalogue() -> dict[str, Any]:
    return {each.name: each for each in documented()}


def check_birth(text: str) -> None:
    """Fail unless each configured name has each of its series, at zero."""
    served = samples(text)

    def born(name: str, *labels: str) -> set[tuple[str, ...]]:
        return {tuple(dict(each)[label] for label in labels) for each in served[name]}

    def each_with(names: Iterable[str], more: Iterable[str]) -> set[tuple[str, ...]]:
        return {(name, other) for name in names for other in more}

    assert born("events_total", "source", "result") == each_with(SOURCES, EVENT_RESULTS)
    assert born("events_total", "source", "type") == each_with(SOURCES, TYPES)
    assert born("secret_last_used_timestamp_seconds", "source", "secret") == {
        (source, secret) for source, secrets in SOURCES.items() for secret in secrets
    }
    assert born("attempts_total", "destination", "result") == each_with(DESTINATIONS, Result)
    ends = each_with(DESTINATIONS, DELIVERY_RESULTS)
    assert born("deliveries_total", "destination", "result") == ends
    assert born("route_matches_total", "route") == {(name,) for name in ROUTES}
    for each in documented():
        name = f"{each.name}_count" if each.kind == "histogram" else each.name
        if each.labels == ("source",):
            assert born(name, "source") == {(source,) for source in SOURCES}, name
        if each.labels == ("destination",):
            assert born(name, "destination") == {(there,) for there in DESTINATIONS}, name
        if each.name not in NEVER_ZERO:
            about_paused = each.name == "destination_paused"
            assert set(served[name].values()) == ({0.0, 1.0} if about_paused else {0.0}), name
    assert value(text, "build_info", version=__version__) == 1
    assert value(text, "config_last_reload_successful") == 1
    assert value(text, "destination_paused", destination="paused") == 1
    assert len(counted(text, "config_info")) == 1


async def happen(program: Program) -> None:
    """Have everything happen that is counted, so many times each."""
    red = an_event(3, workflow={"id": "f", "name": "build", "status": "failed"})
    off_main = {"pipeline": {"id": "p", "number": 1, "vcs": {"branch": "dev"}}}
    async with circleci(program) as sender:
        for wanted, body, secret in (
            (202, an_event(1), "first"),
            (202, an_event(2), "second"),
            (202, red, "first"),
            (200, red, "first"),
            (200, red, "first"),
            (200, an_event(1, happened_at="another time"), "first"),
            (202, an_event(4, type="job-completed", **off_main), "first"),
            (202, an_event(5, type="ping"), "first"),
            (202, an_event(6, type="made-up", **off_main), "first"),
            (401, an_event(7), "wrong"),
            (401, an_event(8), "wrong"),
            (400, b"[]", "first"),
            (413, b" " * 5000, "first"),
        ):
            assert (await sender.post(body, secret=secret))[0] == wanted
        sender.url = program.url("listen", "/webhooks/projects/web")
        assert (await sender.post(an_event(9, **off_main), secret="web-secret"))[0] == 202
        sender.url = program.url("listen", "/webhooks/projects/nobody")
        assert (await sender.post(an_event(9), secret="web-secret"))[0] == 404


def check_events(text: str, began: float) -> None:
    """Fail unless what came in is counted as it was."""
    assert counted(text, "events_total", source="circleci") == {
        ("accepted", "workflow-completed"): 3,
        ("accepted", "job-completed"): 1,
        ("accepted", "ping"): 1,
        ("accepted", "other"): 1,
        ("duplicate", "workflow-completed"): 2,
        ("conflict", "workflow-completed"): 1,
        ("unauthorized", "other"): 2,
        ("malformed", "other"): 1,
        ("too_large", "other"): 1,
    }
    assert counted(text, "events_total", source="projects") == {
        ("accepted", "workflow-completed"): 1
    }
    assert counted(text, "requests_refused_total") == {("path",): 1}
    assert counted(text, "events_unmatched_total") == {("circleci",): 3, ("projects",): 1}
    assert counted(text, "route_matches_total") == {("everything",): 3, ("red",): 1}
    assert counted(text, "ack_duration_seconds_count") == {("circleci",): 9, ("projects",): 1}
    now = time.time()
    for source in SOURCES:
        last = value(text, "source_last_event_timestamp_seconds", source=source)
        assert began <= last <= now
    used = counted(text, "secret_last_used_timestamp_seconds")
    assert set(used) == {("1", "circleci"), ("2", "circleci"), ("web", "projects")}
    assert all(began <= when <= now for when in used.values())
    assert used["2", "circleci"] < used["1", "circleci"]


def check_deliveries(text: str) -> None:
    """Fail unless what went out is counted as it was."""
    assert counted(text, "attempts_total") == {
        ("healthy", "ok"): 3,
        ("flaky", "server_error"): 1,
        ("flaky", "throttled"): 1,
        ("flaky", "ok"): 3,
        ("gone", "client_error"): 3,
        ("refused", "connection"): 3,
    }
    assert counted(text, "deliveries_total") == {
        ("healthy", "delivered"): 3,
        ("flaky", "delivered"): 3,
        ("gone", "dead"): 3,
        ("refused", "dead"): 3,
    }
    assert counted(text, "attempt_duration_seconds_count") == {
        ("healthy",): 3,
        ("flaky",): 5,
        ("gone",): 3,
        ("refused",): 3,
    }
    assert counted(text, "delivery_duration_seconds_count") == {("healthy",): 3, ("flaky",): 3}
    assert counted(text, "deliveries_dead") == {("gone",): 3, ("refused",): 3}
    assert set(counted(text, "oldest_pending_seconds")) == {("paused",)}
    assert counted(text, "breaker_open") == {}
    assert value(text, "settles_fenced_total") == value(text, "leases_lost_total") == 0
    assert value(text, "store_size_bytes") > 0
    commits = value(text, "store_commit_duration_seconds_count")
    assert 0 < commits == value(text, "store_commit_items_count")
    # Seven accepted, three known already; and fourteen attempts were settled.
    assert value(text, "store_commit_items_sum") >= 7 + 3 + 14


async def test_what_is_served_is_documented_and_right(
    tmp_path: Path, receiver: StartReceiver
) -> None:
    """Names, kinds and labels are the documented ones; all begins at zero; counts are right."""
    healthy, gone = await receiver(), await receiver(answer(410))
    flaky = await receiver(answer(500), answer(429), answer(200))
    began = time.time()
    async with running(a_config(tmp_path, healthy, flaky, gone)) as program:
        text = await scrape(program)
        check_names(text)
        check_birth(text)
        await linted(text)
        await happen(program)
        for name, then in (("healthy", "delivered"), ("flaky", "delivered"), ("gone", "dead")):
            await program.log("attempt", 3, destination=name, then=then)
        await program.log("attempt", 3, destination="refused", then="dead")
        text = await gauged(program, paused=3)
        check_names(text)
        check_events(text, began)
        check_deliveries(text)
        await linted(text)
        assert await program.stop() == 0


PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".tools")


async def linted(text: str) -> None:
    """Fail if promtool, where there is one, has anything to say."""
    if PROMTOOL is None:
        return
    process = await asyncio.create_subprocess_exec(
        *(PROMTOOL, "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(text.encode())
    assert (process.returncode, said.decode()) == (0, "")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is neither in PATH nor in .tools/")
async def test_promtool_would_find_something() -> None:
    """What the other test asks is really asked: a wrong name is told."""
    with pytest.raises(AssertionError, match="suffix"):
        await linted("# HELP relay_events Events.\n# TYPE relay_events counter\nrelay_events 1\n")
