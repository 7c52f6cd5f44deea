"""Loading: what it comes to, what it keeps secret, and what it watches."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from circleci_relay.config import FaultyConfig, Loaded, fingerprint, json_schema, load
from circleci_relay.errors import ConfigError

ROOT = Path(__file__).parents[2]
BASE = """
sources:
  circleci: {path: /hooks, secrets: ["${env:HOOK_SECRET}"]}
destinations:
  warehouse:
    url: https://warehouse.example.com/ingest/${env:URL_KEY}
    headers: {authorization: "Bearer ${file:token}", x-team: platform-team}
    sign: {scheme: circleci, secrets: signing-secret}
    proxy: http://user:proxy-password@proxy:3128
routes:
  everything: {to: warehouse}
"""
ENV = {"HOOK_SECRET": "hook-secret-value", "URL_KEY": "url-key-value"}

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write relay.yaml, beside a file `token`."""
    (tmp_path / "token").write_text("token-value-of-file\n")

    def write_file(text: str) -> Path:
        path = tmp_path / "relay.yaml"
        path.write_text(text)
        return path

    return write_file


def loaded(path: Path) -> Loaded:
    """Load with the usual environment."""
    return load([path], env=ENV)


def test_every_secret_is_known_for_redaction(write: Write) -> None:
    """Whatever may not be seen is in `secret_values`."""
    known = loaded(write(BASE)).config.secret_values
    assert known >= {
        "hook-secret-value",
        "url-key-value",
        "token-value-of-file",
        "Bearer token-value-of-file",
        "https://warehouse.example.com/ingest/url-key-value",
        "/ingest/url-key-value",
        "signing-secret",
        "proxy-password",
    }


@pytest.mark.parametrize(
    ("user", "sent"),
    [
        ("user:proxy-password", "user:proxy-password"),
        ("us%40er:p%3Aw%20%2F", "us@er:p:w /"),
        ("token-alone", "token-alone:"),
        (":password-alone", ":password-alone"),
    ],
)
def test_what_a_proxy_is_sent_is_a_secret(write: Write, user: str, sent: str) -> None:
    """A proxy that echoes its headers shows user and password in base64."""
    text = BASE.replace("user:proxy-password@", f"{user}@")
    known = loaded(write(text)).config.secret_values
    assert base64.b64encode(sent.encode()).decode() in known


def test_no_secret_is_in_repr_or_masked(write: Write) -> None:
    """Neither the models nor what is stored of them shows a secret."""
    result = loaded(write(BASE))
    shown = repr(result) + str(result.config) + json.dumps(result.config.masked())
    for secret in result.config.secret_values:
        assert secret not in shown
    assert result.config.masked()["destinations"]["warehouse"]["url"] == (
        "https://warehouse.example.com"
    )


def test_a_match_that_holds_a_secret_is_masked(write: Write) -> None:
    """A known secret in a match is not shown either."""
    text = BASE.replace("{to: warehouse}", "{to: warehouse, match: {author: hook-secret-value}}")
    masked = loaded(write(text)).config.masked()
    assert masked["routes"]["everything"]["match"] == {"author": "***"}


@given(secret=st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_faults_never_hold_what_a_variable_holds(write: Write, secret: str) -> None:
    """Wherever a secret ends up being wrong, the messages do not repeat it."""
    path = write(
        "sources:\n  a: {path: '/x', secrets: ['${env:S}', '']}\n"
        'destinations:\n  b:\n    url: ftp://${env:S}/\n    headers: {x: "${env:S}\\n"}\n'
        "    sign: {scheme: standard-webhooks, secrets: ['${env:S}']}\n"
        "    proxy: ${env:S}\n    timeout: ${env:S}\n    retry: {factor: 'x${env:S}'}\n"
        "server: {admin_tokens: {t: {token: '${env:S} ${env:S}'}}}\nroutes: {r: {to: b}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load([path], env={"S": f"s3cr3t{secret}"})
    assert len(caught.value.faults) >= 4
    assert f"s3cr3t{secret}" not in str(caught.value)


def test_without_secrets_whatever_is_absent_is_made_up(write: Write) -> None:
    """For a pull request's CI: no variable, no file, no directory."""
    path = write(
        "server:\n  listen: ${env:A}\n  max_body: ${env:A}\n  admin: 0.0.0.0:1\n"
        "  admin_tokens: {t: {token: '${file:/nowhere/token}'}}\n"
        "  tls: {cert: /nowhere/cert.pem, key: '${env:A}'}\n"
        "sources:\n  a: {path: '/a/{secret}', secrets: {dir: /nowhere}}\n"
        "  b: {path: '${env:A}', secrets: ['${env:A}']}\n"
        "destinations:\n  c:\n    url: ${env:A}\n    timeout: ${env:A}\n    concurrency: ${env:A}\n"
        "    paused: ${env:A}\n    rate_limit: ${env:A}\n    proxy: ${env:A}\n"
        "    headers: {x: '${env:A}'}\n"
        "    sign: {scheme: '${env:A}', secrets: ['${env:A}']}\n"
        "    tls: {ca: /nowhere/ca.pem}\n"
        "routes:\n  d: {to: c, match: {branch: '${env:A}'}}\n  e: {to: '${env:A}'}\n"
    )
    config = load([path], env={}, secrets=False).config
    assert config.destinations["c"].display == "https://unknown.invalid"
    with pytest.raises(ConfigError) as caught:
        load([path], env={})
    assert len(caught.value.faults) > 12


def test_other_faults_are_still_found_without_secrets(write: Write) -> None:
    """What is there is checked as ever."""
    with pytest.raises(ConfigError, match="timeout: '10' is no duration"):
        load([write(BASE + "defaults: {timeout: 10}\n")], env={}, secrets=False)


def test_everything_read_is_watched(write: Write, tmp_path: Path) -> None:
    """Configuration, `${file:}`, secrets directories, certificates; also after a fault."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "api").write_text("made-up")
    extra = "  p: {path: '/p/{secret}', secrets: {dir: secrets}}\n"
    text = BASE.replace("destinations:", extra + "destinations:")
    path = write(text)
    seen = set(loaded(path).files)
    assert seen >= {path, tmp_path / "token", secrets / "*", secrets / "api"}
    (tmp_path / "token").unlink()
    with pytest.raises(FaultyConfig) as caught:
        loaded(path)
    assert tmp_path / "token" in caught.value.files


def test_the_fingerprint_tells_every_kind_of_change(write: Write, tmp_path: Path) -> None:
    """Content, replacement, a link's swap, files that come and go."""
    first, second = tmp_path / "..1", tmp_path / "..2"
    for folder in (first, second):
        folder.mkdir()
        (folder / "api").write_text("made-up")
    (tmp_path / "..data").symlink_to(first)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "api").symlink_to(tmp_path / "..data" / "api")
    extra = "  p: {path: '/p/{secret}', secrets: {dir: secrets}}\n"
    path = write(BASE.replace("destinations:", extra + "destinations:"))
    files = loaded(path).files

    prints = [fingerprint(files)]
    assert fingerprint(files) == prints[0]
    (tmp_path / "token").write_text("longer than before\n")
    prints.append(fingerprint(files))
    (tmp_path / "new-link").symlink_to(second)
    (tmp_path / "new-link").rename(tmp_path / "..data")
    prints.append(fingerprint(files))
    (secrets / "web").write_text("made-up")
    prints.append(fingerprint(files))
    (secrets / "web").unlink()
    (tmp_path / "token").unlink()
    prints.append(fingerprint(files))
    path.unlink()
    prints.append(fingerprint(files))
    assert len(set(prints)) == len(prints)
    (tmp_path / "relay.db").write_text("no file of ours")
    assert fingerprint(files) == prints[-1]


def test_the_digest_tells_what_has_an_effect(write: Write, tmp_path: Path) -> None:
    """Comments do not count; a secret's or file's content does."""
    before = loaded(write(BASE)).digest
    assert loaded(write(f"# a comment\n{BASE}x-note: 1\n")).digest == before
    assert load([write(BASE)], env={**ENV, "HOOK_SECRET": "another"}).digest != before
    (tmp_path / "token").write_text("another-token\n")
    assert loaded(write(BASE)).digest != before


def test_certificates_are_looked_into(write: Write, tmp_path: Path) -> None:
    """A pair that belongs together passes; another's key, or an encrypted one, does not."""
    authority = trustme.CA()
    one, other = authority.issue_cert("one.example.com"), authority.issue_cert("other.example.com")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    one.cert_chain_pems[0].write_to_path(tmp_path / "one.pem")
    one.private_key_pem.write_to_path(tmp_path / "one.key")
    other.private_key_pem.write_to_path(tmp_path / "other.key")
    (tmp_path / "locked.key").write_bytes(_locked(one.private_key_pem.bytes()))

    def text(key: str) -> str:
        tls = f"    tls: {{ca: ca.pem, cert: one.pem, key: {key}}}\nroutes:"
        return BASE.replace("routes:", tls)

    result = loaded(write(text("one.key")))
    tls = result.config.destinations["warehouse"].tls
    assert tls is not None
    assert tls.cert == tmp_path / "one.pem"
    assert tmp_path / "one.pem" in result.files
    with pytest.raises(ConfigError, match=r"tls\.key: does not belong to cert"):
        loaded(write(text("other.key")))
    with pytest.raises(ConfigError, match=r"tls\.key: holds an encrypted key"):
        loaded(write(text("locked.key")))


def _locked(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only here

    return serialization.load_pem_private_key(pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"made-up"),
    )


def test_two_thousand_destinations_load(write: Write) -> None:
    """A large file is no special case: every destination and route of it is there."""
    lines = ["sources:", "  a: {path: /a, secrets: [made-up]}", "defaults: {timeout: 5s}"]
    lines.append("destinations:")
    for n in range(2000):
        lines += [f"  d{n}:", f"    url: https://d{n}.example.com/x", "    retry: {initial: 2s}"]
        lines += ["    rate_limit: 20/s", f"    headers: {{x-number: '{n}'}}"]
    lines.append("routes:")
    lines += [f"  r{n}: {{match: {{project: p{n}}}, to: d{n}}}" for n in range(2000)]
    path = write("\n".join(lines))
    result = loaded(path)
    assert len(result.config.destinations) == 2000
    assert result.config.destinations["d1999"].headers["x-number"].get_secret_value() == "1999"
    assert result.config.routes["r1999"].to == ("d1999",)


def test_what_is_no_file_is_a_fault(tmp_path: Path) -> None:
    """Absent, a pipe, too large: one line each, nothing hangs."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (4 << 20) + b"##")
    paths = [tmp_path / name for name in ("absent.yaml", "pipe.yaml", "large.yaml")]
    with pytest.raises(ConfigError) as caught:
        load(paths, env={})
    said = [fault.message for fault in caught.value.faults]
    assert said == [
        "the file does not exist",
        "the file is no regular file",
        "the file is larger than 4MiB; split it, and give -c a directory",
    ]


@given(
    data=st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "replace"))
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_load_or_are_refused(tmp_path: Path, data: bytes) -> None:
    """No file makes loading do anything but answer or raise ConfigError."""
    path = tmp_path / "relay.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load([path], env={})
    assert caught.value.faults


def test_the_default_store_stands_beside_the_file(write: Write, tmp_path: Path) -> None:
    """Like any relative path."""
    assert loaded(write(BASE)).config.store.url == f"sqlite:///{tmp_path / 'relay.db'}"


def test_the_example_loads_and_has_every_key() -> None:
    """As it is, and with all that is off switched on."""
    example = ROOT / "relay.yaml.example"
    result = load([example], env={}, secrets=False)
    assert result.warnings == ()
    text = re.sub(r"(?m)^(\s*)#(?=[a-z ]+\S*:)(?! )", r"\1", example.read_text())
    text = re.sub(r"(?m)^(\s*)#(  +\S+:)", r"\1\2", text)
    keys = set(re.findall(r"(?:^|[\s{,])([a-z_]+):", text))
    wanted = {
        key
        for definition in json_schema()["$defs"].values()
        for key in definition.get("properties", {})
    }
    assert wanted <= keys


def test_the_example_loads_with_everything_switched_on(tmp_path: Path) -> None:
    """What is off in the example is right too."""
    text = re.sub(r"(?m)^(\s*)#(?=\S|(?:  )+\S)", r"\1", (ROOT / "relay.yaml.example").read_text())
    path = tmp_path / "relay.yaml"
    # The first line is a comment for editors, and stays one.
    path.write_text(f"#{text}")
    config = load([path], env={}, secrets=False).config
    assert config.server.tls is not None
    assert set(config.server.admin_tokens) == {"ci-team", "dashboard"}
    assert set(config.sources) == {"circleci", "projects", "more-projects", "anyone"}
    assert config.destinations["warehouse"].sign is not None
    assert config.destinations["warehouse"].tls is not None
    sections = {each.section for each in config.destinations.values()}
    assert sections == {None, "amqp", "nats", "redis", "sqs", "sns", "kafka"}
    assert config.destinations["own"].body is not None
    assert config.destinations["own"].body.content_type == "application/vnd.example+json"
