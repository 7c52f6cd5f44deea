"""Signatures: CircleCI's own vectors, any header whatever, and which of many secrets fits."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from circleci_relay.circleci.signature import Keyring, Secret, sign, verify
from circleci_relay.errors import BadSignature

# CircleCI docs, "Outbound webhooks": the table for checking one's own implementation.
VECTORS = [
    ("hello world", "secret", "734cc62f32841568f45715aeb9f4d7891324e6d948e4c6c60c0621cdac48623a"),
    (
        "lalala",
        "another-secret",
        "daa220016c8f29a8b214fbfc3671aeec2145cfb1e6790184ffb38b6d0425fa00",
    ),
    (
        "an-important-request-payload",
        "hunter123",
        "9be2242094a9a8c00c64306f382a7f9d691de910b4a266f67bd314ef18ac49fa",
    ),
    ("foo", "secret", "773ba44693c7553d6ee20f61ea5d2757a9a4f4a44d2841ae4e95b52e4cd62db4"),
]
BODY = b'{"type":"ping"}'
KEY = b"hunter2"
RIGHT = sign(BODY, KEY)
OTHER = sign(BODY, b"another")
# Header text as aiohttp hands it over: bytes beyond ASCII become lone surrogates.
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def a_secret(name: str, value: bytes | None = None) -> Secret:
    """A secret whose group is its name without `.next`."""
    return Secret(name=name, group=name.removesuffix(".next"), value=value or name.encode())


@pytest.mark.parametrize(("body", "secret", "digest"), VECTORS)
def test_circlecis_published_vectors(body: str, secret: str, digest: str) -> None:
    """What CircleCI publishes is what is made, and what is let through."""
    assert sign(body.encode(), secret.encode()) == f"v1={digest}"
    verify(body.encode(), f"v1={digest}", secret=secret.encode())


@given(st.binary(), st.binary(min_size=1))
def test_what_is_signed_verifies(body: bytes, secret: bytes) -> None:
    """Any body under any secret, empty bodies included."""
    verify(body, sign(body, secret), secret=secret)


@given(st.binary(), st.binary(), st.binary(min_size=1))
def test_another_body_does_not_verify(body: bytes, other: bytes, secret: bytes) -> None:
    """A signature stands for one body only."""
    if body != other:
        with pytest.raises(BadSignature):
            verify(other, sign(body, secret), secret=secret)


@pytest.mark.parametrize(
    "header",
    [
        RIGHT,
        f"{RIGHT},v2=00,v3=zz",
        f"v2=00 , {RIGHT} ",
        f" v1 = {RIGHT[3:]} ",
        f"junk,=,,{RIGHT}",
        f"{OTHER},{RIGHT}",
        f"{RIGHT},{OTHER}",
        f"v1=nonsense,{RIGHT}",
    ],
)
def test_v1_is_found_among_others(header: str) -> None:
    """Other versions, spaces and junk beside a right v1 do no harm."""
    verify(BODY, header, secret=KEY)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ",",
        "=",
        "v1",
        "v1=",
        RIGHT[3:],
        RIGHT.replace("v1", "v2"),
        RIGHT.replace("v1", "V1"),
        RIGHT.upper().replace("V1", "v1"),
        RIGHT[:-1],
        f"{RIGHT}0",
        f"v1={RIGHT}",
        RIGHT.replace("=", "=="),
        OTHER,
        f"v1=\u0660{RIGHT[4:]}",
        f"v1=\udce9{RIGHT[4:]}",
        f"v1={RIGHT[3:35]} {RIGHT[35:]}",
        f"{RIGHT}{' ' * 10_000}",
    ],
)
def test_what_is_no_v1_signature_is_refused(header: str | None) -> None:
    """Missing, cut, in capitals, under another version's name, or beyond any header's length."""
    with pytest.raises(BadSignature):
        verify(BODY, header, secret=KEY)


@given(ANY_TEXT)
@example("v1=\udcff\udcfe" * 100)
@example("v1=" + "0" * 64)
@example("v1=" + "\u0661" * 64)
def test_no_header_causes_anything_but_bad_signature(header: str) -> None:
    """Not even one with lone surrogates or digits of other scripts."""
    with pytest.raises(BadSignature):
        verify(BODY, header, secret=KEY)
    with pytest.raises(BadSignature):
        Keyring([a_secret("one")]).verify(BODY, f"v1={header}", group="one")


def test_the_error_tells_nothing_of_the_header() -> None:
    """A log line of a refusal repeats neither what was sent nor what was expected."""
    with pytest.raises(BadSignature) as caught:
        verify(BODY, OTHER, secret=KEY)
    assert OTHER[3:] not in str(caught.value)
    assert RIGHT[3:] not in str(caught.value)


def test_an_empty_secret_is_refused() -> None:
    """Anybody can sign with an empty key."""
    with pytest.raises(ValueError, match="empty"):
        Secret(name="one", group="one", value=b"")


def test_a_secret_does_not_show_itself() -> None:
    """Neither in its own repr nor in the keyring's."""
    secret = a_secret("team", b"marked-secret")
    assert "marked-secret" not in repr(secret)
    assert "marked-secret" not in repr(Keyring([secret]))
    assert "team" in repr(Keyring([secret]))


@given(st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1), st.data())
def test_a_keyring_names_the_secret_that_fits(names: list[str], data: st.DataObject) -> None:
    """Whichever it is, and whichever fitted before."""
    keyring = Keyring(a_secret(name) for name in names)
    assert keyring.names == tuple(names)
    for name in data.draw(st.lists(st.sampled_from(names))):
        assert keyring.verify(BODY, sign(BODY, name.encode())) == name
        assert keyring.verify(BODY, sign(BODY, name.encode()), group=name) == name
    with pytest.raises(BadSignature):
        keyring.verify(BODY, sign(BODY, b"stranger"))


def test_a_group_admits_only_its_own_secrets() -> None:
    """One project's secret does not open another project's path."""
    keyring = Keyring([a_secret("api"), a_secret("web")])
    with pytest.raises(BadSignature):
        keyring.verify(BODY, sign(BODY, b"web"), group="api")
    with pytest.raises(BadSignature):
        keyring.verify(BODY, sign(BODY, b"web"), group="nobody")


def test_both_secrets_of_a_rotation_are_live() -> None:
    """NAME and NAME.next open the path of NAME, and nothing is called NAME.next."""
    keyring = Keyring([a_secret("api"), a_secret("web"), a_secret("api.next")])
    assert keyring.verify(BODY, sign(BODY, b"api.next"), group="api") == "api.next"
    assert keyring.verify(BODY, sign(BODY, b"api"), group="api") == "api"
    assert keyring.has_group("api")
    assert not keyring.has_group("api.next")


def test_a_keyring_without_secrets_opens_nothing() -> None:
    """An unsigned source has none; asking it anyway is refused."""
    with pytest.raises(BadSignature):
        Keyring([]).verify(BODY, RIGHT)


def test_the_likeliest_secret_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second event under one of forty secrets costs one HMAC; a header that is none, none."""
    tried: list[bytes] = []
    digest = hmac.digest

    def counting(key: bytes, body: bytes, name: str) -> bytes:
        tried.append(key)
        return digest(key, body, name)

    monkeypatch.setattr(hmac, "digest", counting)
    keyring = Keyring(a_secret(f"s{number}") for number in range(40))
    header = f"v1={digest(b's39', BODY, 'sha256').hex()}"
    for group, first in ((None, 40), ("s39", 1)):
        tried.clear()
        keyring.verify(BODY, header, group=group)
        assert len(tried) == first
        keyring.verify(BODY, header, group=group)
        assert tried[first:] == [b"s39"]
    tried.clear()
    with pytest.raises(BadSignature):
        keyring.verify(BODY, "v1=forged")
    assert tried == []
