"""The shape and the words that a state goes by, the same on every page."""

from __future__ import annotations

from enum import StrEnum

_STATES = {
    "pending": ("wait", "pending"),
    "delivered": ("ok", "delivered"),
    "dead": ("bad", "dead"),
    "cancelled": ("off", "cancelled"),
    "ok": ("ok", "OK"),
    "failing": ("warn", "failing"),
    "open": ("bad", "failing, breaker open"),
    "held": ("wait", "asked to wait"),
    "paused": ("pause", "paused"),
    "removed": ("off", "not configured"),
    "good": ("ok", "good"),
    "bad": ("bad", "bad"),
    "other": ("off", "neutral"),
    "running": ("wait", "running"),
    "done": ("ok", "done"),
    "failed": ("bad", "failed"),
    "warn": ("warn", "warning"),
    "unauthorized": ("bad", "unauthorized"),
    "malformed": ("warn", "malformed"),
    "too_large": ("warn", "too large"),
}


def mark_of(state: str) -> str:
    """Return the name of the shape for *state*."""
    return _STATES.get(_plain(state), ("off", ""))[0]


def state_words(state: str) -> str:
    """Return *state* in words."""
    plain = _plain(state)
    return _STATES.get(plain, ("", plain.replace("_", " ")))[1]


def _plain(state: str) -> str:
    return state.value if isinstance(state, StrEnum) else state
