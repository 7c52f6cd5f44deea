"""What the store asks of a kind of database, and what may go wrong with one."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import sqlalchemy as sa

    from circleci_relay.model import Micros


class Nature(Enum):
    """What kind of failure a transaction met."""

    OUTAGE = auto()  #: the database takes nothing now; the same batch may do later
    CROSSED = auto()  #: another writer was in the way; the same batch may do at once
    DATA = auto()  #: one of the items will never do
    BUG = auto()  #: this program is wrong


class Database(Protocol):
    """
    One database of some kind.

    A *connection* is the writer's own, made by `connect`: one thread at a time uses it.
    Errors are the driver's, which `nature_of` sorts.
    """

    @property
    def title(self) -> str:
        """Where it is, for messages; without secrets."""

    @property
    def dialect(self) -> sa.Dialect:
        """Its language, with positional parameters."""

    @property
    def shared(self) -> bool:
        """Whether other processes may be using it too, with leases of their own."""

    @property
    def near(self) -> bool:
        """Whether writing a row waits for nothing, so that the event loop may do it."""

    @property
    def pressing(self) -> bool:
        """Whether `tidy` should not wait for a quiet moment."""

    def prepare(self) -> list[str]:
        """Refuse what cannot be used (`StoreRefused`); return warnings, one line each."""

    def acquire(self) -> bool:
        """Try to become the one process that may use it, where only one may."""

    def release(self) -> None:
        """Let the next process have it."""

    def connect(self) -> sa.Connection:
        """Open a connection to write with."""

    def check(self, connection: sa.Connection) -> list[str]:
        """Refuse settings that break promises (`StoreRefused`); return warnings."""

    def reader(self) -> sa.Engine:
        """Return an engine whose connections cannot write."""

    def viewer(self, *, alone: bool = False) -> sa.Engine:
        """
        Return an engine for who has no part in it, and leaves what is looked at as it is.

        *alone*: nobody else has the database open.
        """

    def nature_of(self, error: Exception) -> Nature:
        """Sort a failure."""

    def lost(self, connection: sa.Connection) -> bool:
        """Whether *connection* will never work again."""

    def sever(self, *, readers: bool = False) -> None:
        """
        Make what hangs on any connection that writes, or reads, fail.

        Called from another thread than uses it, also while one is being opened.
        """

    def patient(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Let what runs inside wait a while for whoever holds the database."""

    def enlist(self, connection: sa.Connection, now: Micros) -> None:
        """Within a transaction, at start: make what `mark` needs."""

    def mark(self, connection: sa.Connection, now: Micros) -> str | None:
        """
        Mark the transaction under way, so that `committed` can be asked of it later.

        *now* is our own count of the time. None: it wrote nothing, or no mark is needed.
        """

    def committed(self, connection: sa.Connection, mark: str) -> bool:
        """Tell what became of a transaction whose COMMIT was never answered."""

    def latest(self, connection: sa.Connection) -> Micros | None:
        """Read the time by whichever process counts furthest, where there may be several."""

    def instant(self, connection: sa.Connection) -> Micros | None:
        """Read the database's own clock, where it is not the machine's."""

    def alone(self, connection: sa.Connection, what: str) -> bool:
        """Within the transaction, keep other processes from *what*; False: one is at it."""

    def end_sleepers(self, connection: sa.Connection) -> int:
        """End what holds locks for a process that sleeps; how many there were."""

    def tidy(self, connection: sa.Connection) -> None:
        """Do what suits a quiet moment."""

    def vacuum(self, connection: sa.Connection, pages: int) -> int:
        """Give up to *pages* free pages back to the file system; how many are left."""

    def size(self, connection: sa.Connection) -> int:
        """Bytes on disk."""
