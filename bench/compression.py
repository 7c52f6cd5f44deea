"""Whether it would pay to compress bodies: by how much they shrink, and what that costs."""

from __future__ import annotations

import functools
import itertools
import random
import re
import sqlite3
import statistics
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.requests import SHAPES
from circleci_relay.circleci import samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BODIES = 5_000  #: made of the samples, each as if it had come on its own
TIMED = 1_000  #: of them
HEADERS = '[["content-type","application/json"],["circleci-event-type","workflow-completed"]]'
_IDS = re.compile(rb"(?<=[^0-9a-z])[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{40}")
_NUMBERS = re.compile(rb'(?<=T)[0-9:.]{8,}|(?<="number":)\d+')
_HEXADECIMAL, _DECIMAL = re.compile(rb"[0-9a-f]"), re.compile(rb"\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrunk:
    """What one way of compressing does to a body."""

    name: str
    share: float  #: of the bytes that are left
    file_share: float  #: of the bytes of a SQLite file with the bodies and nothing else
    there: float  #: microseconds to compress one
    back: float  #: and to have it back


def compare(place: Path) -> list[Shrunk]:
    """Every way that is tried, on the shapes that are posted, files in *place*."""
    bodies = varied(BODIES)
    plain = _file(place / "plain", bodies)
    shipped = _dictionary([name for name in samples.names() if name not in SHAPES])
    own = _dictionary(SHAPES)
    ways: list[tuple[str, int, bytes]] = [
        ("zlib 1", 1, b""),
        ("zlib 6", 6, b""),
        ("zlib 1, dictionary of other samples", 1, shipped),
        ("zlib 6, dictionary of other samples", 6, shipped),
        ("zlib 1, dictionary of the like", 1, own),
        ("zlib 6, dictionary of the like", 6, own),
    ]
    shrunk = []
    for number, (name, level, dictionary) in enumerate(ways):
        packed = [_pack(body, level, dictionary) for body in bodies]
        assert _unpack(packed[0], dictionary) == bodies[0]
        shrunk.append(
            Shrunk(
                name=name,
                share=sum(map(len, packed)) / sum(map(len, bodies)),
                file_share=_file(place / str(number), packed) / plain,
                there=_time(functools.partial(_pack, level=level, dictionary=dictionary), bodies),
                back=_time(functools.partial(_unpack, dictionary=dictionary), packed),
            )
        )
    return shrunk


def varied(count: int, seed: int = 1) -> list[bytes]:
    """Bodies as an organisation's are: names, paths and texts alike, ids and times not."""
    chance = random.Random(seed)  # noqa: S311 - no secret is made of it
    templates = [samples.load(name) for name in SHAPES]

    def other_id(found: re.Match[bytes]) -> bytes:
        return _HEXADECIMAL.sub(lambda _: b"%x" % chance.randrange(16), found[0])

    def other_number(found: re.Match[bytes]) -> bytes:
        return _DECIMAL.sub(lambda _: b"%d" % chance.randrange(10), found[0])

    return [
        _IDS.sub(other_id, _NUMBERS.sub(other_number, body))
        for _, body in zip(range(count), itertools.cycle(templates), strict=False)
    ]


def _dictionary(names: Sequence[str]) -> bytes:
    # The likeliest comes last: what is near is cheaper to refer to.
    return b"".join(samples.load(name) for name in names)[-32_768:]


def _pack(body: bytes, level: int, dictionary: bytes) -> bytes:
    made = zlib.compressobj(level, zdict=dictionary) if dictionary else zlib.compressobj(level)
    return made.compress(body) + made.flush()


def _unpack(packed: bytes, dictionary: bytes) -> bytes:
    made = zlib.decompressobj(zdict=dictionary) if dictionary else zlib.decompressobj()
    return made.decompress(packed)


def _time(work: Callable[[bytes], bytes], bodies: Sequence[bytes]) -> float:
    """Microseconds of processor time for one: the best of three, which nothing disturbed."""
    spans = []
    for _ in range(3):
        began = time.process_time()
        for body in bodies[:TIMED]:
            work(body)
        spans.append(time.process_time() - began)
    return min(spans) / TIMED * 1e6


def _file(path: Path, bodies: Sequence[bytes]) -> int:
    """How large a SQLite file with these *bodies* is: pages, not bytes, are what is paid for."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE bodies (event INTEGER PRIMARY KEY, body BLOB, headers)")
        connection.execute("BEGIN")
        rows = ((number, body, HEADERS) for number, body in enumerate(bodies))
        connection.executemany("INSERT INTO bodies VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    return path.stat().st_size


def mean_size(count: int = 1_000) -> float:
    """Bytes of a body, on average."""
    return statistics.fmean(map(len, varied(count)))
