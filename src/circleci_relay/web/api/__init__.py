"""The admin API: JSON under /api/v1."""

from circleci_relay.web.api.reports import Describe, Reload, ReloadReport

__all__ = ["Describe", "Reload", "ReloadReport"]
