"""`schema`: the JSON Schema of relay.yaml."""

from __future__ import annotations

from circleci_relay.cli.output import emit
from circleci_relay.cli.verbs import verb


@verb(
    "schema",
    examples="""
    circleci-relay schema > relay.schema.json
    # then, as the first line of relay.yaml:
    # yaml-language-server: $schema=relay.schema.json
    """,
)
def schema() -> None:
    """Point an editor at it, and it completes and checks keys as you type."""
    from circleci_relay.config import json_schema  # noqa: PLC0415 - only once it is wanted

    emit(json_schema())
