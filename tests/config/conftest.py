"""Where the corpus is, and the environment its files are read in."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def corpus_env() -> dict[str, str]:
    """What the corpus's variables hold."""
    return {
        "SECRET": "corpus-secret",
        "EMPTY": "",
        "MARKS": "{{ payload }}",
        "OPENING": "{",
        "CLOSING": '" }} x',
    }


@pytest.fixture(params=["bad", "good", "warned"])
def corpus(request: pytest.FixtureRequest) -> Path:
    """Each directory of the corpus."""
    return HERE / str(request.param)
