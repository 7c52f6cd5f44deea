"""What is turned away at the door: gathered within bounds, and written once a second."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import structlog

from circleci_relay.circleci import payload, signature
from circleci_relay.errors import StoreError, StoreUnavailable
from circleci_relay.store.repair import rejects
from circleci_relay.store.repair.rejects import Noted
from circleci_relay.ulid import Ulids

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from multidict import CIMultiDictProxy

    from circleci_relay.clock import Clock
    from circleci_relay.config.model import Config, Rejects
    from circleci_relay.redaction import Redact
    from circleci_relay.store import Store

log = structlog.get_logger()

EVERY = 1.0
"""Seconds between two writes."""

ROWS = 50
"""Rows of one write."""

ROOM = 200
"""How many wait to be written at most; more of them are counted only."""

BYTES = 4 << 20
"""Bytes of bodies that wait to be written at most."""

LOOKED = 4 << 20
"""Bytes of bodies that are looked at within a second: some 20 ms of it."""

READ = 256 << 10
"""A body larger than this is not read for what it claims."""

LONGEST = 200
"""Characters of what is claimed."""

_SIGNATURE = re.compile(r"v1=[0-9a-f]{64}")

Key = tuple[str, bytes]
"""A source, and the digest of body and signature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One request as it was turned away; its *body* may be no more than the beginning."""

    source: str
    secret: str | None
    reason: str
    detail: str
    headers: CIMultiDictProxy[str]
    body: bytes
    size: int


class Doorkeeper:
    """
    Remembers what was turned away, so that it can be looked at and taken in after all.

    Whoever forges may send thousands a second, so all of it is bounded: what is looked at
    within a second (`LOOKED`), what waits (`ROOM`, `BYTES`), what is written (`ROWS` every
    `EVERY`). What comes again is counted, not kept again.

    Of what does not fit, some is chosen: while there is no room, one that claims to be of a
    project of which nothing waits takes the place of the newest of the project of which most
    waits; and of what waits, the oldest of each project is written first. So a flood in the
    name of one project does not keep a single one of another out. One in the name of ever
    other projects does, for what is claimed is worth no more than that.
    """

    def __init__(self, *, store: Store, clock: Clock, redact: Redact) -> None:
        self._store = store
        self._clock = clock
        self._redact = redact
        self._ulids = Ulids()
        self._settings: Mapping[str, Rejects] = {}
        self._held: dict[Key, Noted] = {}
        self._projects: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        self._bytes = 0
        self._second = 0
        self._looked = 0
        self._any = asyncio.Event()
        self._writing: asyncio.Future[bool] | None = None
        self.missed = 0  #: since something was last written

    def configure(self, config: Config) -> None:
        """Go on with *config*."""
        self._settings = {name: source.rejects for name, source in config.sources.items()}

    def keeps(self, source: str) -> bool:
        """Whether what *source* turns away is remembered at all."""
        settings = self._settings.get(source)
        return settings is not None and settings.max > 0

    def note(self, refused: Refused) -> None:
        """Remember it, if there is room and time; never waits."""
        if not self.keeps(refused.source):
            return
        settings = self._settings[refused.source]
        if not self._affords(min(len(refused.body), READ) + 1000):
            self.missed += 1
            return
        start = refused.body[: settings.max_body]
        key = (refused.source, _digest(refused, start))
        known = self._held.get(key)
        if known is not None:
            again = replace(known, count=known.count + 1, last_at=self._clock.now())
            self._held[key] = again
            return
        claims = _claims(refused)
        if not self._room_for(len(start), claims.get("project", "")):
            self.missed += 1
            return
        body = start if settings.max_body else None
        self._hold(key, self._noted(refused, key, claims, body))
        self._any.set()

    def _affords(self, size: int) -> bool:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._looked = second, 0
        self._looked += size
        return self._looked <= LOOKED

    def _room_for(self, size: int, project: str) -> bool:
        """Make room, if it may be made for one of *project*."""
        while len(self._held) >= ROOM or self._bytes + size > BYTES:
            if project in self._projects:
                return False
            most = max(self._projects.values(), key=len)
            if len(most) == 1:
                return False
            self._let_go(next(reversed(most)))
            self.missed += 1
        return True

    def _noted(
        self, refused: Refused, key: Key, claims: Mapping[str, str], body: bytes | None
    ) -> Noted:
        now = self._clock.now()
        return Noted(
            id=self._ulids.next(now),
            source=refused.source,
            secret=None if refused.secret is None else plain(self._redact(refused.secret)),
            digest=key[1],
            received_at=now,
            last_at=now,
            count=1,
            reason=refused.reason,
            detail=plain(self._redact(refused.detail)),
            claims={name: self._redact(text) for name, text in claims.items()},
            headers=tuple(
                # A signature stays as it is, however short a secret may be: it is checked again.
                (name, value if _SIGNATURE.fullmatch(value) else self._redact(value))
                for name, value in _headers(refused.headers)
            ),
            body=body,
            size=max(refused.size, len(refused.body)),
        )

    def _hold(self, key: Key, noted: Noted) -> None:
        self._held[key] = noted
        self._projects[noted.claims.get("project", "")][key] = None
        self._bytes += len(noted.body or b"")

    def _let_go(self, key: Key) -> None:
        noted = self._held.pop(key)
        self._bytes -= len(noted.body or b"")
        project = noted.claims.get("project", "")
        del self._projects[project][key]
        if not self._projects[project]:
            del self._projects[project]

    async def run(self) -> None:
        """Write what is noted, for ever."""
        while True:
            await self._any.wait()
            await self.write()
            await self._clock.sleep(EVERY)

    async def close(self) -> None:
        """Write what waits, unless the store is away."""
        while self._held and await self.write():
            pass

    async def write(self) -> bool:
        """Write some of what waits, in one step; False where the store is away."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())
        # Cut short at the end, it is not known what was written: `close` waits for that.
        return await asyncio.shield(self._writing)

    async def _write(self) -> bool:
        chosen = self._chosen()
        most = {name: settings.max for name, settings in self._settings.items()}
        try:
            await self._store.do(partial(rejects.put, noted=list(chosen.values()), most=most))
        except StoreUnavailable:
            return False  # it waits
        except StoreError as error:
            # Its text holds what was to be written.
            log.error("rejects_dropped", count=len(chosen), error=type(error).__name__)  # noqa: TRY400
        for key, written in chosen.items():
            now = self._held.get(key)
            if now is None:
                continue
            self._let_go(key)
            if now.count > written.count:  # it came again meanwhile
                self._hold(key, replace(now, count=now.count - written.count))
        if not self._held:
            self._any.clear()
        if self.missed:
            log.info("rejects_only_counted", count=self.missed)
            self.missed = 0
        return True

    def _chosen(self) -> dict[Key, Noted]:
        """The oldest of each project, then the next of each, and so on."""
        turns: Iterable[Key | None] = chain.from_iterable(zip_longest(*self._projects.values()))
        keys = [key for key in turns if key is not None][:ROWS]
        return {key: self._held[key] for key in keys}


def _digest(refused: Refused, start: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    given = refused.headers.get(signature.HEADER, "")
    digest.update(f"{len(given)} {refused.size} ".encode())
    digest.update(given.encode(errors="surrogatepass"))
    digest.update(start)
    return digest.digest()


def _claims(refused: Refused) -> dict[str, str]:
    """What the body says of itself; nothing in it is to be trusted, and none of it may be there."""
    whole = len(refused.body) == refused.size <= READ
    document = payload.loosely(refused.body) if whole else {}
    facts = payload.read_facts(document)
    webhook = document.get("webhook")
    named = webhook if isinstance(webhook, dict) else {}
    found = {
        "project": facts.project or facts.project_name or facts.project_id,
        "webhook": named.get("name") or named.get("id"),
        "type": facts.type or refused.headers.get("circleci-event-type"),
        "id": document.get("id"),
    }
    return {name: plain(value) for name, value in found.items() if isinstance(value, str) and value}


def _headers(headers: CIMultiDictProxy[str]) -> tuple[tuple[str, str], ...]:
    """Return those that would be sent on, and the length; never what may hold a secret."""
    length = headers.get("content-length")
    told = forwarded(headers)
    if length is not None and length.isascii() and length.isdigit():
        return (*told, ("content-length", length[:20]))
    return told


def plain(text: str) -> str:
    """*text*, cut, with all replaced that is not plainly visible."""
    text = text[:LONGEST]
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def forwarded(headers: CIMultiDictProxy[str]) -> tuple[tuple[str, str], ...]:
    """Return CircleCI's own headers as they are sent on: printable, each once, in lower case."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        ours = lower in {"content-type", "user-agent"} or lower.startswith("circleci-")
        if ours and value.isascii() and value.isprintable():
            kept.setdefault(lower, value)
    return tuple(kept.items())
