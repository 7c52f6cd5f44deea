"""A Kafka broker in a process of its own, on loopback: KRaft, one node, nothing replicated."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives import serialization

from support.frozen import until_stopped

if TYPE_CHECKING:
    from types import TracebackType

    from trustme import LeafCert

JARS = Path(__file__).parents[2] / ".tools" / "kafka"
USER, PASSWORD = "relay", "s3cr3t:@/ %"
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"
_READY = 60.0

# Less heap and no second compiler: it is small, and starts in half the time.
_JAVA = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{JARS}/*")

_LOGGING = """\
Configuration:
  Appenders: {Console: {name: C, PatternLayout: {pattern: "%p %c: %m%n%ex{short}"}}}
  Loggers: {Root: {level: WARN, AppenderRef: {ref: C}}}
"""

_SETTINGS = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{control}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://localhost:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={folder}/data
num.partitions=3
message.max.bytes=200000
# A broker that comes back waits until its old self counts as dead.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=250
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config= \
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.client.auth=none
"""


def missing() -> str | None:
    """Why no broker can be started here, if none can."""
    if importlib.util.find_spec("aiokafka") is None:
        return "aiokafka not installed"
    if shutil.which("java") is None:
        return "no java here"
    return None if JARS.is_dir() else "no broker in .tools/kafka; scripts/kafka fetches it"


class KafkaBroker:
    """A broker that keeps its data from one start to the next."""

    def __init__(self, folder: Path, certificate: LeafCert) -> None:
        ports = _free_ports(3)
        self.plain, self.secure, control = ports
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        chain = b"".join(each.bytes() for each in certificate.cert_chain_pems)
        (folder / "server.pem").write_bytes(_pkcs8(certificate.private_key_pem.bytes()) + chain)
        (folder / "log4j2.yaml").write_text(_LOGGING)
        self._settings = folder / "server.properties"
        self._settings.write_text(
            _SETTINGS.format(
                plain=self.plain,
                secure=self.secure,
                control=control,
                folder=folder,
                user=USER,
                password=PASSWORD,
            )
        )
        self._java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c").wait(_READY)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, on the ports it had; return once it listens."""
        self._process = self._java("kafka.Kafka")
        deadline = time.monotonic() + _READY
        while not self._listens():
            assert self._process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_READY)
            self._process = None

    def freeze(self) -> None:
        """Stop it where it is."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            until_stopped(self._process.pid)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def told(self) -> str:
        """What it has written, for a test that fails."""
        return (self._folder / "told").read_text(errors="replace")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.plain)) == 0

    def _signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _java(self, program: str, *arguments: str) -> subprocess.Popen[Any]:
        with (self._folder / "told").open("ab") as told:
            return subprocess.Popen(  # noqa: S603 - the broker fetched for these tests
                [  # noqa: S607 - wherever java is
                    "java",
                    f"-Dlog4j2.configurationFile={self._folder}/log4j2.yaml",
                    *_JAVA,
                    program,
                    *arguments,
                    str(self._settings),
                ],
                stdout=told,
                stderr=subprocess.STDOUT,
            )


def _pkcs8(pem: bytes) -> bytes:
    """The only form of a key that the broker reads."""
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _free_ports(number: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    held = [socket.socket() for _ in range(number)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()
