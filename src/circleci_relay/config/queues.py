"""Destinations that are queues: which setting belongs to which URL, and what must be installed."""

from __future__ import annotations

from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from circleci_relay.config import aws, brokers, kafka

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTIONS: Mapping[str, str] = MappingProxyType(
    {**brokers.SECTIONS, **aws.SECTIONS, **kafka.SECTIONS}
)
"""By URL scheme: the destination's setting for it, which is the package's extra too."""

NAMES = tuple(dict.fromkeys(SECTIONS.values()))
"""Every such setting."""

_LIBRARIES = {
    "amqp": "aio_pika",
    "nats": "nats",
    "redis": "redis",
    "sqs": "aiobotocore",
    "sns": "aiobotocore",
    "kafka": "aiokafka",
}
_READERS = {**brokers.URL_READERS, **aws.URL_READERS, **kafka.URL_READERS}


def scheme_of(url: str) -> str:
    """The scheme of *url*, in lower case."""
    return url.partition("://")[0].lower()


def section_of(url: str) -> str | None:
    """The setting that belongs to *url*; None for HTTP."""
    return SECTIONS.get(scheme_of(url))


def schemes_of(section: str) -> list[str]:
    """The schemes that *section* belongs to."""
    return [scheme for scheme, name in SECTIONS.items() if name == section]


def missing(section: str) -> str | None:
    """The library that a destination with *section* needs and that is not installed."""
    library = _LIBRARIES.get(section)
    return library if library is not None and find_spec(library) is None else None


def read_url(text: str) -> str:
    """A queue's URL; what is said of one that will not do repeats nothing of it."""
    return _READERS[scheme_of(text)](text)


def display(url: str) -> str:
    """Scheme, host and port: what may be shown."""
    parts = urlsplit(url)
    # Several brokers may be named, separated by commas, which `urlsplit` takes for one host.
    hosts = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{hosts}"
