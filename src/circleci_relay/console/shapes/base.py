"""What all parts of an answer have in common."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


class Page(Shape):
    """A part of a list, newest first."""

    next: str | None
    """Give it as `before` to go on; null where there is no more."""
    searched_to: datetime | None = None
    """How far back this page looked, where it stopped for having looked at enough: it may be
    short, even empty, and there may be more."""
