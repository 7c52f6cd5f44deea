"""What no key can tell alone: references, clashes, and files that must be there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circleci_relay.config import destination_check, values
from circleci_relay.config.discretion import Unsaid, sayable
from circleci_relay.config.faults import near
from circleci_relay.config.fields import UNKNOWN_PATH
from circleci_relay.config.files import FileError
from circleci_relay.config.tree import Map, Scalar, Seq, locate
from circleci_relay.model import RELAY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from circleci_relay.config.model import (
        Config,
        Destination,
        Notify,
        RouteSettings,
        Server,
        Source,
        StoreSettings,
    )
    from circleci_relay.config.reading import Reader
    from circleci_relay.model import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What could be made of a tree; whatever had faults is absent."""

    root: Map
    server: Server | None
    store: StoreSettings | None
    sources: dict[str, Source]
    projects: dict[str, dict[str, str]]
    destinations: dict[str, Destination]
    routes: dict[str, RouteSettings]
    notify: Notify | None

    def section(self, key: str) -> Map:
        """A section's tree, empty where there is none."""
        value = self.root.get(key)
        return value if isinstance(value, Map) else Map(self.root.spot)

    def fault(self, message: str, *path: str | int) -> Fault:
        """A fault at *path*, or at the nearest place that is in a file."""
        spot, rest = locate(self.root, path)
        return spot.fault(message, rest)


def faults(draft: Draft, reader: Reader) -> Iterator[Fault]:
    """Everything, for what is there."""
    yield from _server(draft)
    yield from _sources(draft)
    yield from _destinations(draft)
    yield from destination_check.faults(draft, reader)
    yield from _certificates(draft, reader)
    if reader.whole:
        # With a file missing, what it would have held cannot be told from a mistake.
        yield from _routes(draft)
        if not draft.root.get("sources"):
            yield draft.fault(
                "is missing; name at least one source, with its path and secrets", "sources"
            )


def _server(draft: Draft) -> Iterator[Fault]:
    server = draft.server
    if server is None:
        return
    if not server.admin.loopback and not server.admin_tokens:
        given = draft.section("server").get("admin")
        port = "8082" if given is None or not sayable(given) else server.admin.port
        yield draft.fault(
            "is open to other machines and asks for no token; add server.admin_tokens, "
            f"or listen on 127.0.0.1:{port}",
            "server",
            "admin",
        )
    seen: dict[str, values.Address] = {}
    for key in ("listen", "ops", "admin"):
        address: values.Address = getattr(server, key)
        for other, taken in seen.items():
            if address.port and _clash(address, taken):
                given = draft.section("server")
                place = key if key in given or other not in given else other
                clash = other if place == key else key
                yield draft.fault(
                    f"is taken by server.{clash}; wanted a port of its own", "server", place
                )
        seen[key] = address


def _clash(one: values.Address, other: values.Address) -> bool:
    same = one.host == other.host or one.wildcard or other.wildcard
    return one.port == other.port and same


def _sources(draft: Draft) -> Iterator[Fault]:
    claimed: dict[str, str] = {}
    sources = draft.section("sources")
    for name, raw in sources.items():
        if name == RELAY:
            yield sources.keys_at[name].fault(
                "the name is the relay's own, for what it tells of itself; choose another"
            )
        if isinstance(raw, Map):
            yield from _how_signed(draft, name, raw)
        source = draft.sources.get(name)
        if source is None or _unknown(raw, "path"):
            continue
        for form in _forms(source.path):
            if form in claimed:
                other = sources.said(claimed[form])
                yield draft.fault(
                    f"is claimed by the source {other} already; wanted a path of its own",
                    "sources",
                    name,
                    "path",
                )
                break
        else:
            claimed[source.path] = name
            if not source.named:
                # /a/b would shadow the secret b of /a/{secret}.
                claimed.setdefault(f"{source.path.rpartition('/')[0]}/*", name)


def _forms(path: str) -> list[str]:
    prefix = path.rpartition("/")[0]
    if path.endswith(values.SECRET_SEGMENT):
        return [path, f"{prefix}/*"]
    return [path, f"{prefix}/{values.SECRET_SEGMENT}"]


def _how_signed(draft: Draft, name: str, raw: Map) -> Iterator[Fault]:
    source = draft.sources.get(name)
    unsigned = raw.get("unsigned")
    says_unsigned = isinstance(unsigned, str) and unsigned.lower() == "true"
    if "secrets" not in raw and not says_unsigned:
        yield draft.fault(
            "has no secrets; add them, or say unsigned: true to take events from anyone",
            "sources",
            name,
        )
    if raw.get("secrets") is not None and says_unsigned:
        yield draft.fault("contradicts secrets; keep one of the two", "sources", name, "unsigned")
    if source is not None and source.named:
        named = isinstance(raw.get("secrets"), Map)
        if not named and raw.get("secrets") is not None:
            yield draft.fault(
                "have no names that {secret} could mean; wanted a map of names, or {dir: PATH}",
                "sources",
                name,
                "secrets",
            )
        elif says_unsigned:
            yield draft.fault(
                "ends in {secret}, and there is none; leave that segment out",
                "sources",
                name,
                "path",
            )


def _unknown(raw: object, key: str) -> bool:
    value = raw.get(key) if isinstance(raw, Map) else None
    return isinstance(value, Scalar) and value.unknown


def _destinations(draft: Draft) -> Iterator[Fault]:
    keep = draft.store.keep if draft.store else None
    defaults = draft.section("defaults")
    for name, destination in draft.destinations.items():
        age = destination.retry.max_age
        if keep is None or age is None or age <= keep:
            continue
        own = draft.section("destinations").get(name)
        message = (
            "is longer than store.keep, after which nothing is left to send; "
            "shorten it, or keep longer"
        )
        if _says_age(own):
            yield draft.fault(message, "destinations", name, "retry", "max_age")
        elif _says_age(defaults):
            yield draft.fault(message, "defaults", "retry", "max_age")
        else:
            yield draft.fault(
                "is shorter than retry.max_age, which is 3d unless said otherwise; keep longer, "
                "or set defaults.retry.max_age",
                "store",
                "keep",
            )


def _says_age(settings: object) -> bool:
    retry = settings.get("retry") if isinstance(settings, Map) else None
    return isinstance(retry, Map) and "max_age" in retry


def _routes(draft: Draft) -> Iterator[Fault]:
    """Destinations that routes and `notify` name, and that are not there."""
    for name, raw in draft.section("routes").items():
        yield from _named(draft, raw, "routes", name)
    yield from _named(draft, draft.root.get("notify"), "notify")


def _named(draft: Draft, raw: object, *at: str) -> Iterator[Fault]:
    destinations = draft.section("destinations")
    known = [name for name in destinations if not isinstance(name, Unsaid)]
    to = raw.get("to") if isinstance(raw, Map) else None
    for index, destination in enumerate(to) if isinstance(to, Seq) else [(0, to)]:
        if not isinstance(destination, Scalar) or destination.unknown:
            continue
        if destination not in destinations and values.NAME.fullmatch(destination):
            hint = near(destination, known) or (
                f"; wanted one of {', '.join(known[:8])}" if known else "; there is none"
            )
            called = destination if sayable(destination) else "so"
            yield draft.fault(f"no destination is called {called}{hint}", *at, "to", index)


def certificates(config: Config) -> Iterator[Path]:
    """Every certificate, key and authority that is named."""
    if config.server.tls is not None:
        yield from (config.server.tls.cert, config.server.tls.key)
    for destination in config.destinations.values():
        if destination.tls is not None:
            tls = destination.tls
            yield from (path for path in (tls.ca, tls.cert, tls.key) if path is not None)


def _certificates(draft: Draft, reader: Reader) -> Iterator[Fault]:
    told: set[tuple[Path | str, Path | None]] = set()
    if draft.server is not None and draft.server.tls is not None:
        tls = draft.server.tls
        for key, message in _pair(tls.cert, tls.key, reader):
            yield draft.fault(message, "server", "tls", key)
    for name, destination in draft.destinations.items():
        if destination.tls is None:
            continue
        client = destination.tls
        own = draft.section("destinations").get(name)
        for key, message in [
            *_authorities(client.ca, told, reader),
            *(_pair(client.cert, client.key, reader, told) if client.cert else []),
        ]:
            said = own.get("tls") if isinstance(own, Map) else None
            at = ("destinations", name) if isinstance(said, Map) and key in said else ("defaults",)
            yield draft.fault(message, *at, "tls", key)


def _pair(
    cert: Path,
    key: Path | None,
    reader: Reader,
    told: set[tuple[Path | str, Path | None]] | None = None,
) -> Iterator[tuple[str, str]]:
    if told is not None and (cert, key) in told:
        return
    if told is not None:
        told.add((cert, key))
    missing = list(_unreadable({"cert": cert, "key": key}, reader))
    yield from missing
    there = reader.files.there
    if missing or not (there(cert) and (key is None or there(key))):
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Without a password of ours OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedKeyError:
        yield "key" if key else "cert", "holds an encrypted key; wanted one without a password"
    except (ssl.SSLError, OSError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            yield (
                "key",
                "does not belong to cert; wanted the key that the certificate was made with",
            )
        else:
            yield "cert", "holds no usable PEM certificate and key"


class _EncryptedKeyError(Exception):
    """OpenSSL asked for a password."""


def _no_password() -> str:
    raise _EncryptedKeyError


def _authorities(
    ca: Path | None, told: set[tuple[Path | str, Path | None]], reader: Reader
) -> Iterator[tuple[str, str]]:
    if ca is None or ("ca", ca) in told:
        return
    told.add(("ca", ca))
    missing = list(_unreadable({"ca": ca}, reader))
    yield from missing
    if missing or not reader.files.there(ca):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca)
    except (ssl.SSLError, OSError):
        yield "ca", "holds no usable PEM certificate"


def _unreadable(paths: dict[str, Path | None], reader: Reader) -> Iterator[tuple[str, str]]:
    for key, path in paths.items():
        if path is None or path == UNKNOWN_PATH:
            continue
        try:
            reader.files.read(path)
        except FileError as error:
            if reader.needed:
                yield key, f"this file {error}"
