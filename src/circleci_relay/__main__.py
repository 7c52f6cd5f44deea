"""`python -m circleci_relay` is `circleci-relay`."""

from __future__ import annotations

from circleci_relay.cli import main

if __name__ == "__main__":
    main(prog_name="circleci-relay")
