"""The store: one SQL database that is both the queue and the memory of the relay."""

from circleci_relay.store.aging import Aged, Cursor
from circleci_relay.store.lanes import Lanes, Offer, Unwatched, Watch
from circleci_relay.store.store import Store

__all__ = ["Aged", "Cursor", "Lanes", "Offer", "Store", "Unwatched", "Watch"]
