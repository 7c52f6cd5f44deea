"""The parsers of durations, sizes, addresses, URLs and the like."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.config import values
from circleci_relay.config.interpolate import EnvRef, FileRef, expand, parse

if TYPE_CHECKING:
    from collections.abc import Callable

PARSERS: list[Callable[[str], Any]] = [
    values.duration,
    values.size,
    values.rate,
    values.boolean,
    values.integer,
    values.number,
    values.name,
    values.address,
    values.source_path,
    values.web_url,
    values.proxy_url,
    values.header_name,
    values.header_value,
    values.secret,
    values.token,
    values.standard_secret,
    parse,
]
SECRETIVE = [
    values.web_url,
    values.proxy_url,
    values.header_value,
    values.secret,
    values.token,
    values.standard_secret,
]
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.text())
def test_any_text_is_read_or_refused(parser: Callable[[str], Any], text: str) -> None:
    """No text makes a parser do anything but answer or raise ValueError with a message."""
    try:
        parser(text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - most texts raise nothing or something
        assert not isinstance(error, UnicodeError)  # noqa: PT017


@pytest.mark.parametrize("parser", SECRETIVE)
@given(text=st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=16))
def test_refusals_never_repeat_what_may_be_secret(parser: Callable[[str], Any], text: str) -> None:
    """URLs, header values, secrets and tokens are never in a message."""
    for candidate in (f"ftp://{text}", f"https://{text}:99999/", f"{text}\n", f"whsec_{text}"):
        try:
            parser(candidate)
        except ValueError as error:
            assert text not in str(error)  # noqa: PT017 - most candidates raise nothing


@given(count=st.integers(0, 3650), unit=st.sampled_from(sorted(UNITS)))
def test_durations_are_seconds(count: int, unit: str) -> None:
    """A number and a unit."""
    assert math.isclose(values.duration(f"{count}{unit}"), count * UNITS[unit])


@given(count=st.integers(0, 10**6))
def test_sizes_are_bytes(count: int) -> None:
    """Binary units."""
    assert values.size(f"{count}B") == count
    assert values.size(f"{count}KiB") == count << 10
    assert values.size(f"{count}MiB") == count << 20
    assert values.size(f"{count}GiB") == count << 30


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10", "10s"),
        ("1:30", "90s"),
        ("", "30s"),
        ("5 m", "30s"),
        ("-1s", "30s"),
        ("1h30m", "30s"),
        ("٣s", "30s"),
        ("999999d", "3650d"),
    ],
)
def test_a_duration_that_is_none_says_what_would_be(text: str, hint: str) -> None:
    """The remedy is in the message."""
    with pytest.raises(ValueError, match=hint):
        values.duration(text)


@given(
    host=st.sampled_from(["", "localhost", "0.0.0.0", "relay.example.com", "[::1]", "[::]"]),  # noqa: S104
    port=st.integers(0, 65535),
)
def test_addresses_survive_a_round_trip(host: str, port: int) -> None:
    """What is read is written the same."""
    assert str(values.address(f"{host}:{port}")) == f"{host}:{port}"


def test_loopback_is_told() -> None:
    """Only what no other machine can reach counts as loopback."""
    for text in ("127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"):
        assert values.address(text).loopback
    for text in (":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example.com:1"):
        assert not values.address(text).loopback


@given(url=st.sampled_from(["https://host/x?y=z", "http://[::1]:80/a", "https://bücher.example/"]))
def test_origins_show_neither_path_nor_query(url: str) -> None:
    """Scheme, host and port only."""
    assert values.web_url(url) == url
    assert values.origin(url).count("/") == 2


@given(key=st.binary(max_size=80))
def test_standard_secrets_have_a_length(key: bytes) -> None:
    """24 to 64 bytes, as Standard Webhooks asks."""
    text = f"whsec_{base64.b64encode(key).decode()}"
    if 24 <= len(key) <= 64:
        assert values.standard_secret(text) == text
    else:
        with pytest.raises(ValueError, match="24 to 64"):
            values.standard_secret(text)


@given(text=st.text().filter(lambda text: "$$" not in text and "${" not in text))
def test_text_without_references_is_itself(text: str) -> None:
    """A lone $ means nothing."""
    assert expand(parse(text), lambda _: "never") == text


@given(text=st.text())
def test_anything_can_be_written_literally(text: str) -> None:
    """Doubling every $ gives the text back."""
    assert expand(parse(text.replace("$", "$$")), lambda _: "never") == text


@given(
    before=st.text(st.characters(exclude_characters="$")),
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    default=st.none() | st.text(st.characters(exclude_characters="}")),
    path=st.text(st.characters(exclude_characters="}"), min_size=1),
)
def test_references_are_found(before: str, name: str, default: str | None, path: str) -> None:
    """Both kinds, with and without a default, anywhere in a text."""
    tail = "" if default is None else f":-{default}"
    found = parse(f"{before}${{env:{name}{tail}}}${{file:{path}}}")
    assert [part for part in found if not isinstance(part, str)] == [
        EnvRef(name, default),
        FileRef(path),
    ]


def test_a_value_with_a_reference_in_it_is_not_read_again() -> None:
    """What a variable holds is taken as it is."""
    assert expand(parse("${env:A}"), lambda _: "${env:B}$$") == "${env:B}$$"
