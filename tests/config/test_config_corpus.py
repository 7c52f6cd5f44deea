"""
Files that are wrong on purpose, each with every message it must give; and files that are not.

A bad or warned file begins with its messages, one `# expect:` line each; a directory has
them in `expected`, as has what cannot begin with a comment, in NAME.expect.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from circleci_relay.config import Loaded, load
from circleci_relay.errors import ConfigError

HERE = Path(__file__).parent


def cases(folder: str) -> list[str]:
    """Each file and each directory of files."""
    return sorted(
        path.name for path in (HERE / folder).iterdir() if path.is_dir() or path.suffix == ".yaml"
    )


def expected(path: Path) -> list[str]:
    """The messages that *path* must give, in order."""
    if path.is_dir():
        return (path / "expected").read_text().splitlines()
    beside = path.with_suffix(".expect")
    if beside.exists():
        return beside.read_text().splitlines()
    lines = path.read_text("utf-8", "surrogateescape").splitlines()
    return [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]


def faults(name: str, env: dict[str, str]) -> list[str]:
    """Every fault of a file in the current directory."""
    with pytest.raises(ConfigError) as caught:
        load([Path(name)], env=env)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize("name", cases("bad"))
def test_a_bad_file_gives_exactly_its_messages(
    name: str, corpus_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All faults at once, each with its place, what is wrong, and what would be right."""
    monkeypatch.chdir(HERE / "bad")
    wanted = expected(HERE / "bad" / name)
    assert wanted
    assert faults(name, corpus_env) == wanted


@pytest.mark.parametrize("name", cases("warned"))
def test_a_warned_file_loads_and_gives_its_warnings(
    name: str, corpus_env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is valid and can never match or work is said, and is no fault."""
    monkeypatch.chdir(HERE / "warned")
    wanted = expected(HERE / "warned" / name)
    assert wanted
    assert [str(one) for one in load([Path(name)], env=corpus_env).warnings] == wanted


@pytest.mark.parametrize("name", cases("good"))
def test_a_good_file_loads_without_a_word(name: str, corpus_env: dict[str, str]) -> None:
    """Good files give neither faults nor warnings."""
    loaded = load([HERE / "good" / name], env=corpus_env)
    assert loaded.warnings == ()
    assert loaded.config.sources


def test_the_corpus_is_large_and_every_message_has_a_place() -> None:
    """Over 60 bad files; a message is FILE:LINE:COLUMN: [path:] text."""
    assert len(cases("bad")) >= 60
    for name in cases("bad"):
        for message in expected(HERE / "bad" / name):
            assert re.match(r"[\w./-]+(:\d+:\d+)?: .+", message), message


def test_no_message_holds_a_secret_or_a_line_of_the_file() -> None:
    """The values that stand for secrets in the corpus are in no message."""
    secrets = ("hunter2", "corpus-secret", "correct horse", "a-secret-for-tests", "c2hvcnQ")
    for folder in ("bad", "warned"):
        for name in cases(folder):
            for message in expected(HERE / folder / name):
                assert not any(secret in message for secret in secrets), message


@pytest.fixture
def good(corpus_env: dict[str, str]) -> dict[str, Loaded]:
    """Some good files, loaded."""
    return {name: load([HERE / "good" / name], env=corpus_env) for name in cases("good")}


def test_forty_projects_have_their_own_secrets(good: dict[str, Loaded]) -> None:
    """One file a secret; NAME.next answers to NAME; hidden files are none."""
    source = good["forty-projects.yaml"].config.sources["projects"]
    assert source.named
    assert source.prefix == "/webhooks/projects"
    assert len(source.secrets) == 41
    assert {secret.group for secret in source.secrets} == {f"project-{n:02}" for n in range(1, 41)}
    seven = [s.value for s in source.secrets if s.group == "project-07"]
    assert seven == [b"made-up-secret-of-project-07", b"made-up-next-secret-of-project-07"]
    assert source.keyring.has_group("project-40")
    assert not source.keyring.has_group("project-07.next")


def test_words_are_taken_as_written(good: dict[str, Loaded]) -> None:
    """1.10 is not 1.1 and no is not false, in matches, headers, names and secrets."""
    config = good["words-as-written.yaml"].config
    match = config.routes["no"].match
    assert match is not None
    assert match["branch"] == ["1.10", "no", "0x10", "12:30", "2026-11-22", None, None, "null"]
    assert match["tag"] is None
    assert match["pipeline_number"] == "007"
    headers = {k: v.get_secret_value() for k, v in config.destinations["y"].headers.items()}
    assert headers["x-version"] == "1.10"
    assert headers["x-enabled"] == "no"
    assert headers["x-time"] == "12:30:45"
    assert config.sources["no"].secrets[0].value == b"0123"
    assert list(config.sources) == ["no", "on"]


def test_plain_scalars_of_a_template_are_json(good: dict[str, Loaded]) -> None:
    """As in YAML 1.2: `no` is text and 007 has quotes; what a variable held is text."""
    body = good["bodies.yaml"].config.destinations["typed"].body
    assert body is not None
    written = json.loads(body.written)
    assert written["no"] == "no"
    assert written["on"] == ["on", "off", "yes", None, None, "", None]
    assert written["flags"] == [True, True, "true", False, False]
    assert written["numbers"] == [1, -7, 3, 0, (1 << 63) - 1]
    assert [type(each) for each in written["floats"]] == [float] * 6
    assert written["quoted"] == ["1", "1.5", "null", "007", "5"]
    assert written["words"][3:] == ["1_000", "0x1F", "-", "v1"]
    assert (written["variable"], written["number-from-a-variable"]) == ("corpus-secret", "5")


def test_presets_fill_in_their_urls(good: dict[str, Loaded]) -> None:
    """Of constant options the URL is constant, too; a key of digits stays what it is."""
    config = good["presets.yaml"].config
    assert config.destinations["pager"].display == "https://events.eu.pagerduty.com"
    intake = config.destinations["intake"]
    assert intake.url.get_secret_value().endswith("dd-api-key=1234567890")
    assert intake.recipe is None
    assert config.destinations["pager"].retry.max_age == 3600.0
    assert config.destinations["chat"].rate_limit is None


def test_queues_have_their_settings(good: dict[str, Loaded]) -> None:
    """Each by its URL's scheme, over the defaults of its kind."""
    found = good["queues.yaml"].config.destinations
    sections = ["amqp", "amqp", "nats", "redis", "sqs", "sns", "kafka"]
    assert [each.section for each in found.values()] == sections
    assert found["rabbit"].addresses == {"routing_key": "{{ project }}.{{ type }}"}
    assert found["log"].display == "kafka+tls://kafka-1.example.com:9093,kafka-2.example.com"


def test_defaults_merge_and_null_takes_away(good: dict[str, Loaded]) -> None:
    """Maps merge key by key, header names whatever their case; null overrides."""
    config = good["defaults.yaml"].config
    plain, own = config.destinations["plain"], config.destinations["own"]
    assert (plain.timeout, own.timeout) == (5.0, 7.0)
    assert sorted(plain.headers) == ["x-gone", "x-kept", "x-team"]
    assert {k: v.get_secret_value() for k, v in own.headers.items()} == {
        "x-kept": "kept",
        "x-team": "own",
    }
    assert (plain.retry.max_attempts, own.retry.max_attempts) == (5, None)
    assert (own.retry.initial, own.retry.max_interval) == (2.0, 3600.0)
    assert plain.rate_limit is not None
    assert plain.rate_limit.rate == pytest.approx(100 / 60)
    assert plain.breaker is not None
    assert plain.breaker.failures == 3
    assert (own.rate_limit, own.breaker, own.proxy) == (None, None, None)


def test_anchors_and_merge_keys_work(good: dict[str, Loaded]) -> None:
    """What a map says itself wins over what is merged into it; the first of several wins."""
    config = good["anchors-and-merge-keys.yaml"].config
    warehouse, lake = config.destinations["warehouse"], config.destinations["lake"]
    assert (warehouse.timeout, lake.timeout) == (20.0, 30.0)
    assert lake.concurrency == 2
    assert sorted(lake.headers) == ["x-team", "x-tier"]
    assert warehouse.retry.max_age == 7 * 86400


def test_references_are_replaced(good: dict[str, Loaded], corpus_env: dict[str, str]) -> None:
    """Only ${ and $$ are special; numbers and words may come from variables too."""
    config = good["references.yaml"].config
    warehouse = config.destinations["warehouse"]
    assert warehouse.url.get_secret_value() == (
        "https://warehouse.example.com/corpus-secret?price=$5&pattern=/v\\d+$/"
    )
    assert warehouse.headers["x-literal"].get_secret_value() == "${env:SECRET} costs 5$"
    assert (warehouse.concurrency, warehouse.paused, warehouse.timeout) == (4, False, 5.0)
    assert config.routes["everything"].match == {"branch": ["main", "/v\\d+$/"]}
    values = [secret.value for secret in config.sources["circleci"].secrets]
    assert values == [corpus_env["SECRET"].encode(), b"made-up-secret-of-project-01"]
    assert config.server.listen.port == 8080


def test_several_files_merge_by_name(good: dict[str, Loaded]) -> None:
    """Directories are read in order; maps merge; x- keys are each file's own."""
    loaded = good["several-files"]
    config = loaded.config
    assert list(config.destinations) == ["api", "web"]
    assert (config.server.listen.port, config.server.ops.port) == (9080, 9081)
    assert config.destinations["web"].timeout == 5.0
    assert config.destinations["api"].concurrency == 2
    names = {path.name for path in loaded.files}
    assert names >= {"*.yaml", "10-server.yaml", "40-nothing-yet.yaml"}
    assert "ignored.txt" not in names


def test_everything_is_read(good: dict[str, Loaded]) -> None:
    """Each key in its less common form."""
    config = good["everything.yaml"].config
    assert (config.server.listen, config.server.ops.host) == (("::1", 8080), "")
    assert config.store.url == f"sqlite:///{HERE / 'good' / 'data' / 'relay.db'}"
    assert config.store.keep == 30 * 86400
    warehouse = config.destinations["warehouse"]
    assert warehouse.display == "http://[2001:db8::1]:9000"
    assert warehouse.timeout == 0.25
    assert warehouse.retry.dead_on == (410,)
    assert warehouse.paused
    assert warehouse.name == "warehouse"
    assert config.destinations["signed"].retry.dead_on == ()
    assert config.destinations["signed"].retry.max_age is None
