"""Known secrets never come through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from circleci_relay.redaction import MASK, Redaction

WORDS = st.text(st.characters(categories=["L", "Nd"]), min_size=4)


@given(st.lists(WORDS, min_size=1), st.text(), st.text())
def test_no_known_secret_survives(secrets: list[str], before: str, after: str) -> None:
    """Wherever a secret stands in a text, it is gone afterwards."""
    redact = Redaction(secrets)
    cleaned = redact(before + secrets[0] + after)
    assert all(secret not in cleaned.replace(MASK, "\0") for secret in secrets)


def test_the_longest_secret_goes_first() -> None:
    """A secret that begins like another leaves no tail behind."""
    assert Redaction(["hunter", "hunter-two"])("it is hunter-two") == f"it is {MASK}"


def test_what_is_known_can_change() -> None:
    """After a reload the new secrets are hidden."""
    redact = Redaction(["old-secret"])
    redact.know(["new-secret"])
    assert redact("old-secret new-secret") == f"old-secret {MASK}"


def test_patterns_are_not_read_into_secrets() -> None:
    """A secret is text, whatever characters it holds."""
    assert Redaction(["a.c*(d"])("abc a.c*(d") == f"abc {MASK}"


def test_thousands_of_secrets_are_one_pattern() -> None:
    """The forty-project case a hundred times over still works."""
    redact = Redaction(f"secret-{n:05}" for n in range(5_000))
    assert redact("say secret-04999 and secret-99999") == f"say {MASK} and secret-99999"


def test_no_secrets_change_nothing() -> None:
    """Without secrets a text comes back as it is."""
    assert Redaction()("text") == "text"
