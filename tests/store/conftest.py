"""Where the store of a test lies, of either kind, and an open one."""

from __future__ import annotations

from support.store_fixtures import *  # noqa: F403 - one list of them, there
