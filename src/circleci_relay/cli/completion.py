"""`completion`: a script for the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from circleci_relay.cli.verbs import verb


@verb(
    "completion",
    examples="""
    circleci-relay completion bash >> ~/.bashrc
    circleci-relay completion zsh >> ~/.zshrc
    circleci-relay completion fish > ~/.config/fish/completions/circleci-relay.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Commands, options and their choices are completed; the script asks this program."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there is no completion for {shell}")
    root = click.get_current_context().find_root()
    click.echo(kind(root.command, {}, "circleci-relay", "_CIRCLECI_RELAY_COMPLETE").source())
