"""RabbitMQ, NATS and Redis of our own: unpacked, in a folder, on loopback ports, ended for sure."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil
import trustme

from support.frozen import until_stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

PATIENCE = 60.0
"""Seconds for a start, which may have a log to go through, and for an end."""

TOOLS = Path(__file__).parents[2] / ".tools" / "brokers"
"""Where `scripts/brokers` unpacks them."""

# Whatever becomes of us, our end of its standard input is closed: then it goes too.
_KEEPER = '"$@" </dev/null >>"$0" 2>&1 & echo $!; read -r _; kill -KILL $! 2>&-; wait $!'


class Broker:
    """
    A server that can be killed and frozen; what it wrote to its folder stays until `close`.

    It begins in a `with` or an `async with` block; `launch` and `halt` are what `start` and
    `kill` do, for those outside an event loop.
    """

    scheme: ClassVar[str]
    program: ClassVar[str]
    """Where it is below the root that it was unpacked to."""
    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        """Prepare one that keeps everything in *folder*."""
        self.folder = folder
        self.port = free_port()
        self.user = "relay"
        self.password = secrets.token_hex(8)
        self._keepers: list[subprocess.Popen[str]] = []
        self.pid = 0
        self._said = 0
        folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def missing(cls) -> str | None:
        """Say why it cannot be had, if it cannot."""
        if cls.root() is None:
            return f"{cls.name} is not here; scripts/brokers fetches it where apt-get is"
        return None

    @classmethod
    def root(cls) -> Path | None:
        """Return the folder that it was unpacked to, or installed in."""
        places = (TOOLS / cls.name, Path("/"))
        return next((each for each in places if (each / cls.program).exists()), None)

    @property
    def url(self) -> str:
        """Where it is, with a user and password."""
        return f"{self.scheme}://{self.user}:{self.password}@127.0.0.1:{self.port}"

    # Its life

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def start(self) -> None:
        """Start it with what it had, and return once it takes connections."""
        await asyncio.to_thread(self.launch)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        await asyncio.to_thread(self.halt)

    def launch(self) -> None:
        """Start it with what it had, and return once it takes connections."""
        self._said = len(self.log())
        for command in self._beside():
            self._keep(command)
        self.pid = self._keep(self._command())
        try:
            self._until(self._ready)
        except BaseException:
            self.halt()
            raise

    def halt(self) -> None:
        """End it at once, as a crash would."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        for keeper in reversed(self._keepers):
            keeper.communicate("\n", timeout=PATIENCE)
        self._keepers.clear()
        self.pid = 0

    def freeze(self) -> None:
        """Let it run no further; connections stay, and stay silent."""
        os.kill(self.pid, signal.SIGSTOP)
        until_stopped(self.pid)

    def thaw(self) -> None:
        """Let it run on."""
        if self.pid:
            os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let it run no further until the block is left."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        """End it and remove its folder."""
        self.halt()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """All it has written."""
        log = self.folder / "output"
        return log.read_text(errors="replace") if log.exists() else ""

    # Inside

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _beside(self) -> list[list[str]]:
        """Return what has to run beside it."""
        return []

    def _environment(self) -> dict[str, str]:
        return {}

    def _ready(self) -> bool:
        return _takes_connections(self.port)

    @property
    def _root(self) -> Path:
        root = self.root()
        assert root is not None, self.missing()
        return root

    def _keep(self, command: list[str]) -> int:
        keeper = subprocess.Popen(  # noqa: S603 - what was found in .tools or the system
            ["/bin/sh", "-c", _KEEPER, str(self.folder / "output"), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self._environment()},
        )
        self._keepers.append(keeper)
        assert keeper.stdout is not None
        return int(keeper.stdout.readline())

    def _until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < deadline, f"{self.name} takes too long: {self.log()[-2000:]}"
            assert _alive(self.pid), f"{self.name} ended: {self.log()[-2000:]}"
            time.sleep(0.01)


class Redis(Broker):
    """A Redis whose every write is on the disk before it is answered."""

    scheme = "redis"
    name = "redis"
    program = "usr/bin/redis-server"

    def __init__(self, folder: Path, *options: str) -> None:
        """Prepare one with *options* of its command line."""
        super().__init__(folder)
        self.user = ""
        self.options = options

    def _command(self) -> list[str]:
        return [
            str(self._root / self.program),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)),
            *("--requirepass", self.password, "--save", "", "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "always"),
            *self.options,
        ]

    def _environment(self) -> dict[str, str]:
        folders = [str(each) for each in (self._root / "usr/lib").glob("*-linux-gnu")]
        return {} if self._root == Path("/") else {"LD_LIBRARY_PATH": ":".join(folders)}


class Nats(Broker):
    """A NATS server with JetStream."""

    scheme = "nats"
    name = "nats"
    program = "usr/sbin/nats-server"

    def __init__(
        self, folder: Path, *, more: str = "", jetstream: bool = True, login: bool = True
    ) -> None:
        """Prepare one with *more* in its configuration; without *login*, that tells the users."""
        super().__init__(folder)
        self.login = login
        self.more = more
        self.jetstream = jetstream

    def _command(self) -> list[str]:
        lines = [
            f"listen: 127.0.0.1:{self.port}",
            f'authorization {{user: "{self.user}", password: "{self.password}"}}'
            if self.login
            else "",
            f'jetstream {{store_dir: "{self.folder}"}}' if self.jetstream else "",
            self.more,
        ]
        config = self.folder / "nats.conf"
        config.write_text("\n".join(lines))
        return [str(self._root / self.program), "--config", str(config)]


class RabbitMQ(Broker):
    """A RabbitMQ, with TLS beside; takes messages of up to 1 MiB."""

    scheme = "amqp"
    name = "rabbitmq"
    program = "usr/lib/rabbitmq/bin/rabbitmq-server"

    def __init__(self, folder: Path, tls: TlsFiles | None = None) -> None:
        """Prepare one that also listens with *tls*, if given, and asks clients for theirs."""
        super().__init__(folder)
        self.tls_port = free_port()
        self._names, self._distribution = free_port(), free_port()
        self._tls = tls

    @property
    def tls_url(self) -> str:
        """Where it is over TLS."""
        return f"amqps://{self.user}:{self.password}@localhost:{self.tls_port}"

    def _command(self) -> list[str]:
        (self.folder / "rabbitmq.config").write_text(self._config())
        (self.folder / "plugins").write_text("[].")
        options = "-noinput -s rabbit boot -boot start_sasl +W w +sbwt none"
        kernel = "-kernel prevent_overlapping_partitions false"
        return [
            str(self._binaries / "erlexec"),
            *options.split(),
            *("-syslog", "logger", "[]", "-syslog", "syslog_error_logger", "false"),
            *kernel.split(),
            *("-kernel", "inet_dist_use_interface", "{127,0,0,1}"),
        ]

    def _beside(self) -> list[list[str]]:
        # Else the server would leave one of its own behind, for whoever else may need it.
        return [[str(self._binaries / "epmd"), "-port", str(self._names), "-address", "127.0.0.1"]]

    @property
    def _binaries(self) -> Path:
        [found] = (self._root / "usr/lib/erlang").glob("erts-*/bin")
        return found

    def _environment(self) -> dict[str, str]:
        [home] = (self._root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        folder = str(self.folder)
        return {
            "ROOTDIR": str(self._root / "usr/lib/erlang"),
            "BINDIR": str(self._binaries),
            "EMU": "beam",
            "PROGNAME": "erl",
            "ERL_LIBS": f"{home}/plugins",
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "SYS_PREFIX": "",
            "RABBITMQ_HOME": str(home),
            "RABBITMQ_BASE": folder,
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_NODENAME": f"relay{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_PLUGINS_DIR": f"{home}/plugins",
        }

    def _config(self) -> str:
        settings = [
            f'{{default_user, <<"{self.user}">>}}, {{default_pass, <<"{self.password}">>}}',
            "{max_message_size, 1048576}, {log, [{console, [{enabled, true}]}]}",
        ]
        if self._tls:
            files = f'{{cacertfile, "{self._tls.ca}"}}, {{certfile, "{self._tls.cert}"}}'
            asks = f'{{keyfile, "{self._tls.key}"}}, {{verify, verify_peer}}'
            settings += [
                f'{{ssl_listeners, [{{"127.0.0.1", {self.tls_port}}}]}}',
                f"{{ssl_options, [{files}, {asks}, {{fail_if_no_peer_cert, true}}]}}",
            ]
        return f"[{{rabbit, [{', '.join(settings)}]}}]."

    def _ready(self) -> bool:
        return "startup complete" in self.log()[self._said :]


class TlsFiles:
    """An authority of our own, a certificate for localhost and one for a client, as files."""

    def __init__(self, folder: Path) -> None:
        """Write them into *folder*."""
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        self.ca, self.cert, self.key = (folder / each for each in ("ca", "cert", "key"))
        self.client = folder / "client"
        authority.cert_pem.write_to_path(self.ca)
        server = authority.issue_cert("localhost", "127.0.0.1")
        server.cert_chain_pems[0].write_to_path(self.cert)
        server.private_key_pem.write_to_path(self.key)
        authority.issue_cert("relay.test").private_key_and_cert_chain_pem.write_to_path(self.client)


def free_port() -> int:
    """Return one that also is free after a while: no connection is given one of these."""
    while True:
        port = 16_384 + secrets.randbelow(16_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _takes_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False
