"""The command line: one module per verb, imported only when it is used."""

from __future__ import annotations

import contextlib
import io
import sys
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from circleci_relay import __version__
from circleci_relay.cli.verbs import VERBS, Found
from circleci_relay.errors import ConfigError, RelayError


class Relay(click.Group):
    """The verbs by name; what can be expected to go wrong is told in one clear line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every verb, in the order in which people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the verb's module; the command in it has the verb's name."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"circleci_relay.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a verb's name without importing any."""
        found = [
            CompletionItem(name, help=about)
            for name, about in VERBS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; see the class."""
        _escape_what_cannot_be_printed()
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            for fault in error.faults:
                click.echo(str(fault), err=True)
            count = len(error.faults)
            raise Found(f"the configuration has {count} fault{'s' * (count != 1)}") from None
        except RelayError as error:
            raise Found(str(error)) from None
        except BrokenPipeError:
            raise  # click ends quietly
        except OSError as error:
            if error.strerror is None:
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            raise Found(f"{where}{error.strerror}") from None


def _escape_what_cannot_be_printed() -> None:
    """A branch name in an alphabet the terminal lacks must not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):
                stream.reconfigure(errors="backslashreplace")


@click.group(
    cls=Relay,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all is well, 1 faults were found, 2 the command was misused.",
)
@click.version_option(__version__, prog_name="circleci-relay", message="%(prog)s %(version)s")
def main() -> None:
    """
    One CircleCI webhook slot in, as many destinations as you like out.

    New here? `circleci-relay demo` shows it at work; each verb's --help has examples.
    """
