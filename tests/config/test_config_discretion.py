"""Secrets that stand where they do not belong: what is said of them never repeats them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from circleci_relay.config import load
from circleci_relay.config.discretion import sayable, shown
from circleci_relay.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = {
    "base64": "qL9xT0vZk3WmN7eR2yB8uA==",
    "hexadecimal": "9f2c4e7ab01d63f58e90c7a4",
    "lower case hexadecimal name": "deadbeefcafedeadbeefcafe",
    "base32": "JBSWY3DPEHPK3PXPJBSWY3DP",
    "UUID": "550e8400-e29b-41d4-a716-446655440000",
    "words": "correct-horse-battery-staple-again",
    "words with spaces": "correct horse battery staple",
    "prefixed": "ghp_a81Bc93Dd02Ee57Ff64Gg",
    "marked": "mk07-somewhere-0042-secret",
    "URL": "https://hooks.example.com/T0000/B1111/abcdEFGHijkl",
    "long name": "thisisaverylongtokenwithoutanydigits",
}
"""By what they look like."""

SOURCE = "sources: {a: {path: /a, secrets: [made-up-for-tests]}}\n"
DESTINATION = "destinations: {d: {url: 'https://d.example.com/', %s}}\n"
ROUTE = "routes: {r: {to: d%s}}\n"
URL = SOURCE + "destinations: {d: {url: '%s'}}\n" + ROUTE % ""
QUEUE = SOURCE + "destinations: {d: {url: 'amqp://rabbit.example.com', amqp: {%s}}}\n" + ROUTE % ""


def destination(settings: str) -> str:
    """A file whose one destination has *settings*."""
    return SOURCE + DESTINATION % settings + ROUTE % ""


def match(text: str) -> str:
    """A file whose one route matches *text*."""
    return SOURCE + DESTINATION % "" + ROUTE % f", match: {text}"


def server(settings: str) -> str:
    """A file whose server has *settings*."""
    return f"server: {settings}\n" + destination("")


MISPLACED = {
    "alias": "sources: {a: {path: /a, secrets: *SECRET}}\n",
    "alias in a list": "sources:\n  a:\n    path: /a\n    secrets:\n    - *SECRET\n",
    "anchor": "sources: {a: {path: /a, secrets: &SECRET}}\n",
    "tag": "sources: {a: {path: /a, secrets: !SECRET}}\n",
    "route to it": SOURCE + DESTINATION % "" + "routes: {r: {to: 'SECRET'}}\n",
    "routes to it": SOURCE + DESTINATION % "" + "routes: {r: {to: [d, 'SECRET']}}\n",
    "destination's name": SOURCE + "destinations: {'SECRET': {timeout: 10}}\n" + ROUTE % "",
    "destination without settings": SOURCE + "destinations: {'SECRET'}\n" + ROUTE % "",
    "destination that is a text": SOURCE + "destinations: {'SECRET': x}\n" + ROUTE % "",
    "route's name": SOURCE + DESTINATION % "" + "routes: {'SECRET'}\n",
    "source's name": "sources: {'SECRET': x}\n",
    "two sources of one path": "sources: {'SECRET !': {path: /a, secrets: [x]}, "
    "b: {path: /a, secrets: [x]}}\n",
    "header that becomes a key": destination("headers: {authorization Bearer SECRET}"),
    "header without a value": destination("headers: {'SECRET'}"),
    "header twice": destination("headers: {'SECRET': '', 'SECRET': x}"),
    "header of the relay": destination("headers: {'webhook-SECRET': x}"),
    "secret that becomes a key": "sources: {a: {path: /a, secrets: {'SECRET'}}}\n",
    "secret over a map": "sources: {a: {path: /a, secrets: {'SECRET': {x: y}}}}\n",
    "empty secret of a name": "sources: {a: {path: /a, secrets: {'SECRET/': ''}}}\n",
    "directory": "sources: {a: {path: /a, secrets: {dir: 'SECRET', 'SECRET': x}}}\n",
    "signing secret that becomes a key": destination(
        "sign: {scheme: circleci, secrets: {'SECRET'}}"
    ),
    "signing secret": destination("sign: {scheme: standard-webhooks, secrets: ['SECRET']}"),
    "token that becomes a key": server("{admin_tokens: {'SECRET': operator}}"),
    "token without anything": server("{admin_tokens: {'SECRET'}}"),
    "token's name": server("{admin_tokens: {'SECRET': {token: short}}, admin: ':SECRET'}"),
    "role": server("{admin_tokens: {a: {token: made-up-made-up-made-up, role: 'SECRET'}}}"),
    "token twice": server("{admin_tokens: {'SECRET': x, 'SECRET': y}}"),
    "scheme": destination("sign: {scheme: 'SECRET', secrets: [x]}"),
    "unknown key": destination("'SECRET': x"),
    "unknown key in a map": destination("retry: {'SECRET': x}"),
    "unknown key at the top": "'SECRET': x\n" + destination(""),
    "unknown section": "'SECRET': {x: y}\n" + destination(""),
    "key twice": destination("'SECRET': x, 'SECRET': y"),
    "extension twice": "x-SECRET: a\nx-SECRET: b\n" + destination(""),
    "variable without env": destination("timeout: '${SECRET}'"),
    "no variable's name": destination("timeout: '${env:SECRET-x}'"),
    "variable that is unset": destination("timeout: '${env:SECRET}'"),
    "file that is absent": destination("timeout: '${file:SECRET}'"),
    "path of a file": destination("timeout: '${file:/run/SECRET/x}'"),
    "reference of no kind": destination("timeout: '${vault:SECRET}'"),
    "reference never closed": destination("timeout: '${env:SECRET'"),
    "timeout": destination("timeout: 'SECRET'"),
    "concurrency": destination("concurrency: 'SECRET'"),
    "factor": destination("retry: {factor: 'SECRET', dead_on: ['SECRET']}"),
    "rate": destination("rate_limit: 'SECRET'"),
    "flag": destination("paused: 'SECRET'"),
    "proxy": destination("proxy: 'SECRET'"),
    "certificate": destination("tls: {ca: 'SECRET'}"),
    "size": server("{max_body: 'SECRET'}"),
    "address": server("{listen: 'SECRET'}"),
    "address with a port": server("{listen: 'SECRET:99999'}"),
    "external URL": server("{external_url: 'ftp://SECRET'}"),
    "store": "store: {url: 'SECRET', keep: 'SECRET'}\n" + destination(""),
    "path": "sources: {a: {path: 'SECRET', secrets: [x]}}\n",
    "path's segment": "sources: {a: {path: '/SECRET/?', secrets: [x]}}\n",
    "unknown key to match": match("{'SECRET': x}"),
    "dotted key to match": match("{'SECRET.x': x}"),
    "key to match by in not": match("{not: {'SECRET': x}}"),
    "map in payload": match("{payload: {'a.SECRET': {'SECRET': x}}}"),
    "match": match("'SECRET'"),
    "regular expression": match("{branch: '/SECRET(/'}"),
    "set in a regular expression": match("{branch: '/a[SECRET/'}"),
    "glob": match(r"{branch: '*SECRET\'}"),
    "status": match("{status: 'SECRET'}"),
    "change": match("{change: 'SECRET'}"),
    "branch": match("{branch: 'refs/heads/SECRET'}"),
    "source": match("{source: 'SECRET'}"),
    "label to match": match("{labels: {'SECRET': [[x]]}}"),
    "label to match that no project has": match("{labels: {'SECRET': x}}"),
    "pattern of a label": match("{labels: {team: '/SECRET(/'}}"),
    "body": destination("body: 'SECRET'"),
    "body in a list": destination("body: ['SECRET']"),
    "body's key": destination("body: {'SECRET': x}"),
    "key beside a text": destination("body: {text: x, 'SECRET': y}"),
    "content type": destination("body: {text: x, content_type: 'SECRET'}"),
    "preset": destination("body: {preset: 'SECRET'}"),
    "preset's option": destination("body: {preset: slack, 'SECRET': x}"),
    "value of an option": destination(
        "body: {preset: pagerduty, routing_key: x, region: 'SECRET'}"
    ),
    "template of an option": destination("body: {preset: slack, title: '{{ SECRET }}'}"),
    "name in a template": destination("body: {template: {x: '{{ SECRET }}'}}"),
    "key in a template": destination("body: {template: {x: '{{ event[\"SECRET\"] }}'}}"),
    "filter in a template": destination("body: {template: {x: '{{ title | SECRET }}'}}"),
    "argument in a template": destination("body: {template: {x: '{{ 1 | date(\"SECRET\", 1) }}'}}"),
    "text of a template": destination("body: {template: {x: 'SECRET {{ title'}}"),
    "text in a broken expression": destination("body: {text: '{{ \"SECRET\" title }}'}"),
    "key of a template": destination("body: {template: {'SECRET': '{{ titel }}'}}"),
    "structural key of a template": destination("body: {template: [{$if: 'SECRET', x: y}]}"),
    "name of an item": destination(
        "body: {template: [{$each: '{{ events }}', $as: 'SECRET!', x: y}]}"
    ),
    "field of a form": destination("body: {form: {'SECRET': [x]}}"),
    "name in a form": destination("body: {form: {x: '{{ SECRET }}'}}"),
    "name in a header": destination("headers: {x-key: '{{ SECRET }}'}"),
    "header beside an expression": destination("headers: {x-key: 'SECRET {{ titel }}'}"),
    "option in a header": destination("headers: {x-key: '{{ options[\"SECRET\"] }}'}"),
    "broken header": destination('headers: {x-key: "SECRET {{ title }}\\n"}'),
    "URL's path beside an expression": URL % "https://d.example.com/SECRET/{{ titel }}",
    "URL's user beside an expression": URL % "https://user:SECRET@d.example.com/{{ title }}",
    "URL's host of an event": URL % "https://{{ title }}.example.com/SECRET",
    "name in a URL": URL % "https://d.example.com/{{ SECRET }}",
    "option in a URL": URL % "https://d.example.com/{{ options.SECRET }}",
    "URL of no kind": URL % "xSECRET://d.example.com",
    "queue's password": URL % "amqp://user:SECRET@rabbit.example.com:x/",
    "queue's template": QUEUE % "routing_key: '{{ SECRET }}'",
    "queue's unknown key": QUEUE % "'SECRET': x",
    "another queue's section": QUEUE % "exchange: x}, nats: {subject: 'SECRET'",
    "group": destination("body: slack, group: {by: 'SECRET'}"),
    "label to group by": destination("body: slack, group: {by: 'labels.SECRET'}"),
    "once_per": destination("once_per: 'SECRET'"),
    "hold": SOURCE + DESTINATION % "" + ROUTE % ", hold: 'SECRET'",
    "otherwise": SOURCE + DESTINATION % "" + ROUTE % ", otherwise: 'SECRET'",
    "project's labels": "projects: {'SECRET': x}\n" + destination(""),
    "project without labels": "projects: {a: {'SECRET'}}\n" + destination(""),
    "project's pattern": "projects: {'/SECRET(/': {a: b}}\n" + destination(""),
    "project's glob": "projects: {'SECRET*\\': {a: b}}\n" + destination(""),
    "label's name": "projects: {a: {'SECRET+': x}}\n" + destination(""),
    "label's value": "projects: {a: {b: ['SECRET'], c: \"SECRET\\n\"}}\n" + destination(""),
    "whole file": "SECRET\n",
    "line of its own": "sources:\n  a: {path: /a, secrets: [x]}\nSECRET\n",
}
"""Files in which SECRET stands where it does not belong."""


def said_of(path: Path, text: str, env: dict[str, str]) -> str:
    """All faults and warnings of a file that has some."""
    path.write_text(text)
    try:
        faults = load([path], env=env).warnings
    except ConfigError as error:
        faults = error.faults
    assert faults
    return "\n".join(
        f"{fault.line}:{fault.column}: {fault.path}: {fault.message}" for fault in faults
    )


def pieces(secret: str) -> set[str]:
    """What gives *secret* away: any eight characters of it, without what URLs have in common."""
    own = secret.removeprefix("https://hooks.example.com/").lower()
    return {own[start : start + 8] for start in range(len(own) - 7)}


@pytest.mark.parametrize("place", MISPLACED)
def test_a_secret_in_the_wrong_place_is_not_repeated(place: str, tmp_path: Path) -> None:
    """Whatever it looks like: neither in the message nor in the path, in whole or in part."""
    for looks, secret in SECRETS.items():
        if looks in {"words", "marked"} and place == "destination's name":
            continue  # good names, under which settings stand
        said = said_of(tmp_path / "f.yaml", MISPLACED[place].replace("SECRET", secret), {})
        told = [piece for piece in pieces(secret) if piece in said.lower()]
        assert not told, (looks, said)


FILLED_IN = {
    "timeout": destination("timeout: '${env:X}', retry: {factor: '${env:X}'}"),
    "listen": server("{listen: '${env:X}'}"),
    "port": server("{listen: 'localhost:${env:X}', admin: '0.0.0.0:${env:X}'}"),
    "path": "sources: {a: {path: '${env:X}', secrets: [x]}}\n",
    "segment": "sources: {a: {path: '/a/${env:X}/?', secrets: [x]}}\n",
    "role": server("{admin_tokens: {a: {token: made-up-made-up-made-up, role: '${env:X}'}}}"),
    "scheme": destination("sign: {scheme: '${env:X}', secrets: [x]}"),
    "flag": destination("paused: '${env:X}'"),
    "route": SOURCE + DESTINATION % "" + "routes: {r: {to: '${env:X}'}}\n",
    "status": match("{status: '${env:X}'}"),
    "change": match("{change: '${env:X}'}"),
    "branch": match("{branch: 'refs/heads/${env:X}'}"),
    "regular expression": match("{branch: '/${env:X}(/'}"),
    "glob": match(r"{branch: '*${env:X}\'}"),
    "preset": destination("body: '${env:X}'"),
    "value of an option": destination(
        "body: {preset: pagerduty, routing_key: x, region: '${env:X}'}"
    ),
    "template of an option": destination("body: {preset: slack, title: '{{ ${env:X} }}'}"),
    "name in a template": destination("body: {template: {x: '{{ ${env:X} }}'}}"),
    "field in a template": destination("body: {template: {x: '{{ event.${env:X} }}'}}"),
    "name in a text": destination("body: {text: '{{ ${env:X} + }}'}"),
    "name in a form": destination("body: {form: {x: '{{ ${env:X} }}'}}"),
    "content type": destination("body: {text: x, content_type: '${env:X}'}"),
    "name in a header": destination("headers: {x-key: '{{ ${env:X} }}'}"),
    "option in a header": destination("headers: {x-key: '{{ options[\"${env:X}\"] }}'}"),
    "name in a URL": URL % "https://d.example.com/{{ ${env:X} }}",
    "queue's template": QUEUE % "routing_key: '{{ ${env:X} }}'",
    "group": destination("body: slack, group: {by: '${env:X}'}"),
    "once_per": destination("once_per: '${env:X}'"),
    "hold": SOURCE + DESTINATION % "" + ROUTE % ", hold: '${env:X}'",
    "label": "projects: {a: {b: '${env:X}'}}\n" + destination("group: {by: 'labels.${env:X}'}"),
    "file": destination("timeout: '${file:value}'"),
    "default": destination("timeout: '${env:UNSET:-swordfish}'"),
}
"""Files in which a variable or file comes to the wrong place."""


@pytest.mark.parametrize("place", FILLED_IN)
@pytest.mark.parametrize("value", ["swordfish", "s42", "Sword-Fish", "x" * 70])
def test_what_a_variable_held_is_not_repeated(place: str, value: str, tmp_path: Path) -> None:
    """However harmless it looks, in whole or in part."""
    (tmp_path / "value").write_text(value)
    said = said_of(tmp_path / "f.yaml", FILLED_IN[place], {"X": value})
    assert value[:40].lower() not in said.lower()
    assert "swordfish" not in said


def test_a_port_that_a_variable_held_is_not_suggested(tmp_path: Path) -> None:
    """The remedy names the usual port instead."""
    said = said_of(tmp_path / "f.yaml", server("{admin: '0.0.0.0:${env:X}'}"), {"X": "5150"})
    assert "5150" not in said
    assert "127.0.0.1:8082" in said


def test_a_directory_of_secrets_with_a_secret_for_a_name(tmp_path: Path) -> None:
    """The names of files are no better than keys."""
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / f"{SECRETS['hexadecimal']} x").write_text("x")
    (tmp_path / "made" / SECRETS["hexadecimal"]).write_text("")
    text = "sources: {a: {path: '/a/{secret}', secrets: {dir: made}}}\n"
    said = said_of(tmp_path / "f.yaml", text, {})
    assert said.count("the file of some name ") == 2
    assert not any(piece in said for piece in pieces(SECRETS["hexadecimal"]))


@pytest.mark.parametrize(
    "text",
    [
        "10", "10 sec", "1MB", "1.5 GiB", "1h30m", "0.0.0.0:80800", "[::1]:8080", "1:30", "99999d",
        "forever", "Ware House", "maxAge", "time_out", "workflow_completed", "x-team", "fail-*",
        "/web hooks/ci?x=1", "/release-(/", "/(?!main).*/", "k8s-prod", "acme/api", "Content-MD5",
    ],
)  # fmt: skip
def test_ordinary_mistakes_are_repeated(text: str) -> None:
    """Words and numbers, as people mistype them."""
    assert shown(text) == f"'{text}'"


@pytest.mark.parametrize("looks", SECRETS)
def test_what_looks_like_a_secret_is_not(looks: str) -> None:
    """Neither as a value nor as a key."""
    assert not sayable(SECRETS[looks])
    assert not sayable(SECRETS[looks], 5) or looks == "words"
    assert shown(SECRETS[looks]) == "this"


def test_names_of_things_are_told_whatever_they_look_like(tmp_path: Path) -> None:
    """A destination that has settings is called by its name, digits and all."""
    text = SOURCE + "destinations: {proj-7f3a9-b21c4: {timeout: 10}}\n" + ROUTE % ""
    said = said_of(tmp_path / "f.yaml", text, {})
    assert "destinations.proj-7f3a9-b21c4.timeout: '10' is no duration" in said
    assert "no destination is called d; wanted one of proj-7f3a9-b21c4" in said
