"""Which relay a verb asks: options, the environment, or relay.yaml; and the client for it."""

from __future__ import annotations

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from circleci_relay.cli.client import Client, Where
from circleci_relay.cli.verbs import Found

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from circleci_relay.config import Server

F = TypeVar("F", bound="Callable[..., Any]")

DEFAULT = "http://127.0.0.1:8082"
"""Where a relay that says nothing of `server.admin` is found."""

PLAIN = (Path("relay.yaml"),)

_TOKENS = "server.admin_tokens."

_OURS = ("server", "token", "token_file")

_Option = tuple[Any, "ParameterSource | None"]
"""An option's value, and who gave it."""


def remote(*, proposes: bool = False) -> Callable[[F], Callable[..., Any]]:
    """
    The options that say which relay is asked; arrives as `client`.

    Under a verb that takes them too, they may stand before the verb under it. A verb that
    *proposes* has a `config` of its own, of which nothing is looked at here: whoever wrote it
    would have the token sent to himself. It finds the relay by the file in force, `--relay`.
    """
    file = "relay" if proposes else "config"

    def declare(function: F) -> Callable[..., Any]:
        @wraps(function)
        def run(**given: Any) -> Any:
            context = click.get_current_context()
            if context.invoked_subcommand is not None:
                return None  # a list's options hold for the verb under it, which asks itself
            found = {name: _given(context, name) for name in _OURS}
            proposed = given["config"] if proposes else ()
            client = Client(find(found, _given(context, file), proposed=proposed))
            for name in (*_OURS, file):
                given.pop(name)
            return function(client=client, **given)

        for option in reversed(_options(proposes=proposes)):
            run = option(run)
        return run

    return declare


def _options(*, proposes: bool) -> list[Callable[[Any], Any]]:
    options = [
        click.option(
            "--server",
            metavar="URL",
            envvar="CIRCLECI_RELAY_SERVER",
            show_envvar=True,
            help="The relay's admin API; else as relay.yaml says, server.admin.",
        ),
        click.option(
            "--token",
            metavar="TEXT",
            envvar="CIRCLECI_RELAY_TOKEN",
            show_envvar=True,
            help="A token of it. On a command line others can read it: better a file, or the"
            " variable; else one of relay.yaml, server.admin_tokens.",
        ),
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="The file that holds the token.",
        ),
    ]
    names = ("--relay",) if proposes else ("-c", "--config")
    config = click.option(
        *names,
        type=click.Path(path_type=Path),
        multiple=True,
        default=[str(path) for path in PLAIN],
        show_default="relay.yaml",
        envvar="CIRCLECI_RELAY_CONFIG",
        show_envvar=True,
        metavar="PATH",
        help="Where to find the relay's address and token"
        + (": the file in force, never one that is proposed." if proposes else ".")
        + " May be repeated.",
    )
    return [*options, config]


def _given(context: click.Context, name: str) -> _Option:
    """What an option was given: here, or before the verb that this one is under."""
    source = context.get_parameter_source(name)
    above = context.parent
    unsaid = source in {None, ParameterSource.DEFAULT}
    if unsaid and above is not None and name in above.params:
        return _given(above, name)
    return context.params.get(name), source


def find(given: dict[str, _Option], files: _Option, *, proposed: Sequence[Path] = ()) -> Where:
    """Which relay is meant, and which token is for it; *proposed* files say nothing of it."""
    server, by = given["server"]
    token, token_by = _token(given)
    paths: tuple[Path, ...] = files[0] or PLAIN
    asked = files[1] is not ParameterSource.DEFAULT
    named = ", ".join(map(str, paths))
    # Where something is proposed, this folder may be the proposer's: no file is looked at there
    # without need.
    enough = token is not None or (bool(proposed) and not asked)
    if server is not None and enough:
        return Where(url=server, url_by=_by("--server", by), token=token, token_by=token_by)
    _refuse_proposed(paths, proposed)
    settings, lacking = _settings(paths, asked=asked)
    if server is None and settings is None:
        by_default = f"the default, as there is no {named}"
        return Where(url=DEFAULT, url_by=by_default, token=token, token_by=token_by)
    ours = [] if settings is None else [_url_of(settings, named), settings.external_url or ""]
    url = server or ours[0]
    url_by = _by("--server", by) if server is not None else f"server.admin of {named}"
    # A token of relay.yaml is for its own relay, and goes nowhere else.
    if token is None and settings is not None and url.rstrip("/") in {u.rstrip("/") for u in ours}:
        token = _token_of(settings)
        token_by = f"server.admin_tokens of {named}"
    return Where(url=url, url_by=url_by, token=token, token_by=token_by, lacking=lacking)


def _refuse_proposed(paths: Sequence[Path], proposed: Sequence[Path]) -> None:
    """Refuse to be told by a file that is *proposed* where a token is to be sent, and which."""
    folders = [path.resolve() for path in proposed if path.is_dir()]
    others = [each for path in proposed for each in _files(path)]
    for file in (each for path in paths for each in _files(path)):
        real = file.resolve()
        inside = any(real.is_relative_to(folder) for folder in folders)
        if inside or any(_same(file, other) for other in others):
            raise Found(
                f"{file} is proposed, so it is not asked which relay to ask, nor for a token: give"
                " --server URL with CIRCLECI_RELAY_TOKEN or --token-file FILE, or --relay PATH,"
                " the file in force"
            )


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def _same(one: Path, other: Path) -> bool:
    """Whether they are one file, by whatever links."""
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)


def _token(given: dict[str, _Option]) -> tuple[str | None, str]:
    (token, by), (file, _) = given["token"], given["token_file"]
    if file is not None and by is not ParameterSource.COMMANDLINE:
        text: str = file.read_text(encoding="utf-8", errors="replace").strip()
        if not text:
            raise click.UsageError(f"--token-file: {file} is empty")
        return text, str(file)
    if file is not None:
        raise click.UsageError("give --token or --token-file, not both")
    return (token or None), _by("--token", by)


def _by(option: str, source: ParameterSource | None) -> str:
    if source is ParameterSource.ENVIRONMENT:
        return f"CIRCLECI_RELAY_{option.removeprefix('--').upper()}"
    return option


def _settings(paths: Sequence[Path], *, asked: bool) -> tuple[Server | None, str]:
    """
    Read `server` of relay.yaml, None where there is none and nobody named it.

    What only other parts of it need may be absent, where someone only looks in. Tokens whose
    values are absent are left out; returned as well is why.
    """
    if not asked and not any(path.exists() for path in paths):
        return None, ""
    from circleci_relay.config import load  # noqa: PLC0415 - pydantic, not needed for --help
    from circleci_relay.errors import ConfigError  # noqa: PLC0415

    try:
        return load(paths).config.server, ""
    except ConfigError as error:
        faults = [each for each in error.faults if each.path.startswith(_TOKENS)]
        server = load(paths, secrets=False).config.server
    absent = {fault.path.removeprefix(_TOKENS).partition(".")[0] for fault in faults}
    tokens = {name: each for name, each in server.admin_tokens.items() if name not in absent}
    lacking = "; ".join(str(fault) for fault in faults)
    return server.model_copy(update={"admin_tokens": tokens}), lacking


def _url_of(settings: Server, named: str) -> str:
    """Where the admin API of these settings is reached from this machine."""
    admin = settings.admin
    if admin.port == 0:
        raise Found(f"server.admin of {named} has port 0, so nobody knows it; give --server URL")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(admin.host, admin.host)  # noqa: S104
    return f"http://[{host}]:{admin.port}" if ":" in host else f"http://{host}:{admin.port}"


def _token_of(settings: Server) -> str | None:
    """The first operator's token, else the first."""
    tokens = sorted(settings.admin_tokens.values(), key=lambda each: each.role != "operator")
    return tokens[0].token.get_secret_value() if tokens else None
