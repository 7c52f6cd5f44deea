"""The same stores as for the store's own tests, of either kind."""

from __future__ import annotations

from support.store_fixtures import *  # noqa: F403 - one list of them, there
