"""Binding ports, certificates, and what is said when that fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import pytest
import trustme

from circleci_relay.config.model import ServerTLS
from circleci_relay.errors import StartupError
from support.wire import Relay, Wire, post

if TYPE_CHECKING:
    from pathlib import Path

Begin = Callable[..., Awaitable[Relay]]


@pytest.mark.parametrize("key", ["listen", "ops", "admin"])
async def test_a_port_in_use_is_one_clear_line(begin: Begin, key: str) -> None:
    """The line names the setting and the address; what was bound already is given back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            await begin(settings={key: f"127.0.0.1:{port}"})
    told = str(caught.value)
    assert told.startswith(f"server.{key}: 127.0.0.1:{port} is already in use")
    assert "\n" not in told


async def test_two_settings_with_one_port(begin: Begin) -> None:
    """Two of our own listeners on one port are told apart by their setting."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(StartupError, match=r"^server\.admin: .* already in use"):
        await begin(settings={"ops": address, "admin": address})
    # Nothing of the first attempt is left behind.
    await begin(settings={"ops": address})


@pytest.mark.parametrize(
    ("address", "words"),
    [("192.0.2.1:0", "does not have that address"), ("no-such-host.invalid:0", "resolved")],
)
async def test_addresses_that_are_not_ours(begin: Begin, address: str, words: str) -> None:
    """An address of another machine, or of none, is said to be one."""
    with pytest.raises(StartupError, match=words):
        await begin(settings={"ops": address})


async def test_every_interface(begin: Begin) -> None:
    """An address without a host takes connections of either family."""
    relay = await begin(settings={"listen": ":0"})
    address = ("127.0.0.1", relay.listeners.hooks_address[1])
    async with Wire(address) as wire:
        wire.send(post())
        assert (await wire.reply()).status == 202


def written(authority: trustme.CA, folder: Path) -> ServerTLS:
    """Issue a certificate for localhost and write it and its key."""
    issued = authority.issue_cert("localhost")
    tls = ServerTLS.model_construct(cert=folder / "cert.pem", key=folder / "key.pem")
    tls.cert.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    tls.key.write_bytes(issued.private_key_pem.bytes())
    return tls


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a client needs that trusts *authority* alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def test_tls_and_its_renewal(begin: Begin, tmp_path: Path) -> None:
    """A new certificate is shown to new connections; a wrong one changes nothing."""
    old, new = trustme.CA(), trustme.CA()
    tls = await asyncio.to_thread(written, old, tmp_path)
    relay = await begin(settings={"tls": {"cert": str(tls.cert), "key": str(tls.key)}})
    settings = relay.listeners._settings
    async with Wire(relay.listeners.hooks_address, tls=trusting(old)) as wire:
        wire.send(post())
        assert (await wire.reply()).status == 202

        await asyncio.to_thread(written, new, tmp_path)
        await relay.listeners.configure(settings)
        wire.send(post())
        assert (await wire.reply()).status == 202
    assert (await relay.hook(post(), tls=trusting(new))).status == 202
    with pytest.raises(ssl.SSLCertVerificationError):
        await relay.hook(post(), tls=trusting(old))

    await asyncio.to_thread(tls.key.write_text, "no key")
    with pytest.raises(StartupError, match="no certificate and its key"):
        await relay.listeners.configure(settings)
    assert (await relay.hook(post(), tls=trusting(new))).status == 202


async def test_a_certificate_that_does_not_load(begin: Begin, tmp_path: Path) -> None:
    """A missing file and one that is no certificate are each one clear line."""
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    await asyncio.to_thread(wrong.write_text, "hello")
    with pytest.raises(StartupError, match=r"^server\.tls\.key: cannot read .*missing\.pem"):
        await begin(settings={"tls": {"cert": str(wrong), "key": str(missing)}})
    with pytest.raises(StartupError, match=r"^server\.tls: .* are no certificate"):
        await begin(settings={"tls": {"cert": str(wrong), "key": str(wrong)}})


async def test_closed_twice(begin: Begin) -> None:
    """Closing what is closed does nothing."""
    relay = await begin()
    await relay.listeners.close_hooks()
    await relay.listeners.close()
    await relay.listeners.close()
