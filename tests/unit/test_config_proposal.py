"""A configuration that somebody proposes: judged like any other, and blind to the machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circleci_relay.config import propose
from circleci_relay.config.proposal import MOST_FAULTS
from circleci_relay.errors import ConfigError
from circleci_relay.model import Facts
from circleci_relay.routing import Subject

SOURCES = "sources: {a: {path: /a, secrets: [made-up]}}\n"
DESTINATIONS = "destinations: {d: {url: 'https://d.example.com/'}}\n"
ROUTES = "routes: {r: {to: d}}\n"
WHOLE = SOURCES + DESTINATIONS + ROUTES

# Wherever a file or directory can be named; PATH stands for one.
READING = {
    "secret": "sources: {a: {path: /a, secrets: ['${file:PATH}']}}\n" + DESTINATIONS + ROUTES,
    "secrets": "sources: {a: {path: /a, secrets: {dir: 'PATH'}}}\n" + DESTINATIONS + ROUTES,
    "tls": WHOLE + "server: {tls: {cert: 'PATH', key: 'PATH'}}\n",
    "ca": SOURCES
    + "destinations: {d: {url: 'https://d.example.com/', tls: {ca: 'PATH'}}}\n"
    + ROUTES,
    "client": SOURCES
    + "destinations: {d: {url: 'https://d.example.com/', tls: {cert: 'PATH', key: 'PATH'}}}\n"
    + ROUTES,
    "header": SOURCES
    + "destinations: {d: {url: 'https://d.example.com/', headers: {x-a: '${file:PATH}'}}}\n"
    + ROUTES,
    "url": SOURCES + "destinations: {d: {url: 'https://${file:PATH}/'}}\n" + ROUTES,
    "body": SOURCES
    + "destinations: {d: {url: 'https://d.example.com/', body: {text: '${file:PATH}'}}}\n"
    + ROUTES,
    "template": SOURCES
    + "destinations: {d: {url: 'https://d.example.com/', body: {text: '{% include \"PATH\" %}'}}}\n"
    + ROUTES,
    "queue": SOURCES
    + "destinations: {d: {url: 'sqs://sqs.eu-west-1.amazonaws.com/1/ci', sqs: {profile: PATH}}}\n"
    + ROUTES,
    "match": SOURCES + DESTINATIONS + "routes: {r: {to: d, match: {branch: '${file:PATH}'}}}\n",
    "to": SOURCES + DESTINATIONS + "routes: {r: {to: '${file:PATH}'}}\n",
    "label": WHOLE + "projects: {'acme/*': {team: '${file:PATH}'}}\n",
    "token": WHOLE + "server: {admin_tokens: {t: {token: '${file:PATH}'}}}\n",
    "store": WHOLE + "store: {url: 'sqlite:///PATH'}\n",
    "database": WHOLE + "store: {url: 'postgresql://x:${file:PATH}@db/relay?sslrootcert=PATH'}\n",
    "notify": WHOLE + "notify: {to: d, failing_for: '${file:PATH}'}\n",
}


def answer(text: str, *, without: str = "") -> str:
    """All that can be told from what comes of *text*."""
    try:
        loaded = propose({"relay.yaml": text})
    except ConfigError as fault:
        return "\n".join(map(str, fault.faults))
    told = [loaded.config, loaded.warnings, loaded.files, loaded.config.secret_values]
    whole = f"{told} {json.dumps(loaded.config.masked())} {loaded.config.store.url}"
    return whole.replace(without, "PATH") if without else whole


def complaint(files: dict[str, str]) -> str:
    """The one thing that is wrong with *files*."""
    with pytest.raises(ConfigError) as caught:
        propose(files)
    [fault] = caught.value.faults
    return str(fault)


def test_a_proposal_is_read_as_files_are() -> None:
    """Several texts by name, in their order, each fault with its place; defaults count."""
    loaded = propose(
        {
            "b.yaml": SOURCES + "routes: {z: {to: d}}\n",
            "a.yaml": DESTINATIONS + "routes: {a: {to: d, match: {branch: '${env:B:-main}'}}}\n",
        }
    )
    assert list(loaded.config.routes) == ["z", "a"]
    assert loaded.config.routes["a"].match == {"branch": "main"}
    assert (loaded.files, loaded.warnings) == ((), ())
    assert complaint({"x.yaml": SOURCES + DESTINATIONS + "routes:\n  r: {to: e}\n"}).startswith(
        "x.yaml:4:11: routes.r.to: no destination is called e; "
    )
    assert complaint({}).endswith("name at least one source, with its path and secrets")


@pytest.fixture(scope="module")
def opened() -> list[str]:
    """The paths that are opened or listed while it is not None; a hook cannot be taken away."""
    seen: list[str] = []

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in {"open", "os.listdir", "os.scandir"}:
            seen.append(str(args[0]))

    sys.addaudithook(hook)
    return seen


@pytest.mark.parametrize("setting", READING)
def test_a_file_leaves_no_trace(setting: str, opened: list[str], tmp_path: Path) -> None:
    """Wherever one is named: nothing is opened, and one that is there is as one that is not."""
    there = tmp_path / "quartz-1"
    if setting == "secrets":
        there.mkdir()
        (there / "api").write_text("a-secret-of-a-file")
    else:
        there.write_text("a-secret-of-a-file")
    text = READING[setting]
    absent = str(tmp_path / "quartz-2")
    without = answer(text.replace("PATH", absent), without=absent)
    opened.clear()
    found = answer(text.replace("PATH", str(there)), without=str(there))
    assert [path for path in opened if path.startswith(str(tmp_path))] == []
    assert found == without
    assert "a-secret-of-a-file" not in found
    for name in ("/etc/hostname", "/proc/self/environ", "/etc"):
        assert answer(text.replace("PATH", name), without=name) == without


@pytest.mark.parametrize("setting", [name for name in READING if "${file" in READING[name]])
def test_a_variable_leaves_no_trace(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is set is as one that is not."""
    text = READING[setting].replace("${file:PATH}", "${env:OF_THIS_MACHINE}")
    monkeypatch.delenv("OF_THIS_MACHINE", raising=False)
    without = answer(text)
    monkeypatch.setenv("OF_THIS_MACHINE", "a-secret-of-a-variable")
    assert answer(text) == without
    assert "a-secret-of-a-variable" not in without


def test_what_routing_hangs_on_and_is_not_read_is_said() -> None:
    """A stand-in in a match, a label or a destination's name makes a backtest doubtful."""
    text = (
        SOURCES
        + "projects: {'acme/*': {team: '${env:TEAM}'}}\n"
        + DESTINATIONS
        + "routes:\n  r: {to: d, match: {branch: ['${env:BRANCH}', main]}}\n"
        + "  s: {to: '${env:TO}'}\n"
    )
    warned = propose({"relay.yaml": text}).warnings
    places = [fault.path for fault in warned if "is not read for a proposal" in fault.message]
    assert places == ["routes.r.match.branch[0]", "routes.s.to", "projects.acme/*.team"]


def test_a_stand_in_makes_no_secret() -> None:
    """Else every branch with that word in it would be masked."""
    loaded = propose({"relay.yaml": WHOLE.replace("made-up", "'${env:SECRET}'")})
    assert loaded.config.secret_values == frozenset()


def many(text: str, item: str, count: int) -> str:
    """*text* with that many of *item*, numbered, in it."""
    return text % ", ".join(item % number for number in range(count))


BRANCHES = SOURCES + DESTINATIONS + "routes: {r: {to: d, match: {branch: %s}}}\n"
LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)
MANY_REGEXES = many("[%s]", r"'/(x%d|\pL)[\pL\pN]+/'", 400)
TOO_MUCH = {
    "laughs": (LAUGHS, "aliases make the file too large"),
    "deep": ("[" * 500_000, "nested more than 40 levels deep"),
    "keys": ("".join(f"k{n}: x\n" for n in range(100_000)), "too many keys and values"),
    "routes": (
        WHOLE.replace(ROUTES, "routes:\n" + "".join(f"  r{n}: {{to: d}}\n" for n in range(1001))),
        "routes: a proposal may hold 1000 entries",
    ),
    "defaults": (
        SOURCES
        + many("defaults: {headers: {%s}}\n", "h%d: x", 100)
        + many("destinations: {%s}\n", "d%d: {url: 'https://d'}", 500),
        "defaults: counts once for each destination",
    ),
    "templates": (
        SOURCES
        + many("destinations: {d: {url: 'https://d', headers: {%s}}}", "h%d: '{{ title }}'", 1001),
        "a proposal may hold 1000 templates",
    ),
    "template": (
        SOURCES + many("destinations: {d: {url: 'https://d', body: '%s'}}", "{{ %d }}", 20_000),
        "a proposal may hold 128KiB of templates",
    ),
    "pattern": (BRANCHES % r"'/[\pL\pN]{200}/'", "comes to more than a pattern may"),
    "patterns": (BRANCHES % MANY_REGEXES, "the patterns come to more"),
    "long pattern": (BRANCHES % ("'" + "*a" * 5000 + "'"), "is longer than 4096 characters"),
    "bytes": ("#" * ((1 << 20) + 1), "relay.yaml: a proposal has 1MiB at most"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_too_much_is_one_clear_fault(what: str) -> None:
    """What would keep a running relay busy is refused before it does."""
    text, said = TOO_MUCH[what]
    assert said in complaint({"relay.yaml": text})


def test_too_many_files_and_names_that_are_none() -> None:
    """64 files; a name is shown, and must be fit for that."""
    assert "64 files at most" in complaint({f"{n}.yaml": "" for n in range(65)})
    for name in ("", "a\nb", "\x1b[2J", "x" * 201, "\ud800"):
        assert "printable characters" in complaint({name: ""})


def test_a_bomb_in_every_file_takes_no_longer_than_a_few() -> None:
    """What cannot be read counts, and soon no more is looked at."""
    with pytest.raises(ConfigError) as caught:
        propose({f"{n}.yaml": LAUGHS for n in range(64)})
    assert 1 < len(caught.value.faults) < 8


def test_a_hundred_faults_are_enough() -> None:
    """A thousand routes to nowhere are told a hundred times, each compared with few names."""
    text = (
        SOURCES
        + "destinations:\n"
        + "".join(f"  d{n}x: {{url: 'https://d.example.com'}}\n" for n in range(1000))
        + "routes:\n"
        + "".join(f"  r{n}: {{to: y{n}d}}\n" for n in range(1000))
    )
    with pytest.raises(ConfigError) as caught:
        propose({"relay.yaml": text})
    assert len(caught.value.faults) == MOST_FAULTS


def test_no_file_is_passed_over_in_silence() -> None:
    """Where all of them together are too much, that is said, and what was read is not used."""
    half = f"[{'a,' * 10_000}]"
    files = {"a.yaml": WHOLE, "b.yaml": f"projects: {half}", "c.yaml": f"projects: {half}"}
    assert complaint(files) == "c.yaml: a proposal may hold 20000 values; propose a part of it"


def test_a_near_miss_among_a_thousand_is_told() -> None:
    """What is likely meant is looked for among names that begin alike."""
    names = "".join(f"  n{n}: {{url: 'https://d.example.com'}}\n" for n in range(900))
    text = f"{SOURCES}destinations:\n{names}  pager: {{url: 'https://d'}}\n"
    assert "did you mean pager?" in complaint({"a": f"{text}routes: {{r: {{to: pgaer}}}}\n"})


PIECES = st.sampled_from(
    [
        *(
            "\n",
            "  ",
            "- ",
            "&a ",
            "*a",
            "{{",
            "}}",
            "{%",
            "<<: ",
            "!x",
            "{",
            "}",
            "[",
            "]",
            ": ",
            ",",
        ),
        *("notify:", "rejects:", "projects:", "match:", "relay", "null", "~", "0B", "1e999", "***"),
        *("'/('", "${env:A}", "${", "\ud800", "\0", '"', "'", "%", "@", "|"),
    ]
)
CORPUS = [
    path.read_bytes().decode("utf-8", "surrogateescape")
    for folder in ("good", "bad", "warned")
    for path in sorted((Path(__file__).parents[1] / "config" / folder).glob("*.yaml"))
]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A file of the corpus with a few pieces in other places, or anything."""
    text = draw(st.sampled_from(CORPUS) | st.text(max_size=60))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        until = at + draw(st.integers(0, 12))
        text = text[:at] + draw(PIECES | st.text(max_size=8)) + text[until:]
    return text


@given(texts())
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_configuration_or_faulty(text: str) -> None:
    """Nothing but `ConfigError` ever comes of a text; what loads can route."""
    try:
        loaded = propose({"relay.yaml": text})
    except ConfigError as fault:
        assert fault.faults  # noqa: PT017 - it may as well load
        return
    loaded.config.table.choose(Subject(Facts(type="workflow-completed"), "a", {}), None)
    assert json.dumps(loaded.config.masked())
