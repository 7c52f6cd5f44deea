"""What the generator and the receiver hand back: columns of numbers, told apart by one line."""

from __future__ import annotations

import json
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NANOSECONDS = "q"  #: instants on the machine's monotonic clock, which all processes share
NUMBERS = "i"  #: event numbers, destination numbers and HTTP statuses


def dump(columns: Sequence[array[int]]) -> bytes:
    """The *columns* as one line of JSON that describes them, then their bytes."""
    head = json.dumps([[column.typecode, len(column)] for column in columns])
    return head.encode() + b"\n" + b"".join(column.tobytes() for column in columns)


def restore(raw: bytes) -> list[array[int]]:
    """The columns that `dump` wrote; ValueError where *raw* was cut short."""
    head, _, rest = raw.partition(b"\n")
    columns = []
    for typecode, length in json.loads(head):
        column: array[int] = array(typecode)
        size = length * column.itemsize
        if len(rest) < size:
            raise ValueError("the ledger was cut short")
        column.frombytes(rest[:size])
        rest = rest[size:]
        columns.append(column)
    return columns
