"""
The values of relay.yaml: text in, a number, address or name out.

Each parser takes text as it was written and raises `ValueError` whose message says what is
wrong and what would be right. Parsers of secrets never repeat what they were given.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import SplitResult, urlsplit

from circleci_relay.config.discretion import sayable, shown

if TYPE_CHECKING:
    from collections.abc import Callable

N = TypeVar("N", int, float)

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
NAME_RULE = "a name is up to 63 of a-z, 0-9, - and _, beginning with a letter or digit"
SEGMENT = re.compile(r"[A-Za-z0-9._~-]{1,100}")
SECRET_SEGMENT = "{secret}"  # noqa: S105  the placeholder's name, no secret

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_DECIMAL_SIZE = re.compile(r"([0-9]{1,10})\s*(k|m|g)i?b?", re.IGNORECASE)
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/(s|m|h)")
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_LONGEST_HOST = 254  # one more than may be
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2
HEADER_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PRINTABLE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_LONGEST = 10 * 365 * 86400.0
_LOWEST_PRINTABLE, _DELETE = 0x20, 0x7F

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class Address(NamedTuple):
    """Where to listen: *host* is "" for every interface; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def wildcard(self) -> bool:
        """Whether it stands for every interface."""
        return self.host in {"", "0.0.0.0", "::"}  # noqa: S104  compared, not bound


def duration(text: str) -> float:
    """`250ms 30s 5m 12h 7d`, in seconds."""
    found = _DURATION.fullmatch(text)
    if not found:
        remedy = "one number and one unit of ms, s, m, h, d, such as 30s"
        if _NUMBER.fullmatch(text) and sayable(text):
            remedy = f"a unit after it, such as {text.lstrip('+-')}s"
        elif re.fullmatch(r"[0-9]+:[0-9][0-9](:[0-9][0-9])?", text):
            remedy = "seconds or minutes, such as 90s"
        raise ValueError(f"{shown(text)} is no duration; wanted {remedy}")
    seconds = float(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST:
        raise ValueError(f"{shown(text)} is too long; the longest duration is 3650d")
    return seconds


def size(text: str) -> int:
    """`512B 64KiB 1MiB 1GiB`, in bytes."""
    found = _SIZE.fullmatch(text)
    if not found:
        remedy = "a number and B, KiB, MiB or GiB, such as 1MiB"
        if re.fullmatch(r"[0-9]{1,10}", text):
            remedy = f"a unit after it, such as {text}B"
        elif decimal := _DECIMAL_SIZE.fullmatch(text):
            remedy = f"{decimal[1]}{decimal[2].upper()}iB"
        raise ValueError(f"{shown(text)} is no size; wanted {remedy}")
    return int(found[1]) * _BYTES[found[2]]


def rate(text: str) -> float:
    """`20/s 100/m 1000/h`, per second."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError(f"{shown(text)} is no rate; wanted a number per s, m or h, such as 20/s")
    per_second = float(found[1]) / _SECONDS[found[2]]
    if per_second <= 0:
        raise ValueError("nothing would ever be sent; to hold deliveries back use paused: true")
    return per_second


def boolean(text: str) -> bool:
    """`true` or `false`, and none of YAML 1.1's other words for them."""
    if text in {"true", "True", "TRUE"}:
        return True
    if text in {"false", "False", "FALSE"}:
        return False
    raise ValueError(f"{shown(text)} is neither; wanted true or false")


def integer(text: str) -> int:
    """A whole decimal number."""
    if not re.fullmatch(r"[-+]?[0-9]{1,15}", text):
        raise ValueError(f"{shown(text)} is no whole number")
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        raise ValueError(f"{shown(text)} begins with 0, which YAML may read as octal; leave it out")
    return int(text)


def number(text: str) -> float:
    """A decimal number."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no number")
    return float(text)


def between(parse: Callable[[str], N], low: N, high: N, said: str) -> Callable[[str], N]:
    """*parse*, refusing what is outside; *said* is the range in the words of the file."""

    def parse_within(text: str) -> N:
        value = parse(text)
        if not low <= value <= high:
            raise ValueError(f"{shown(text)} is out of range; wanted {said}")
        return value

    return parse_within


def name(text: str) -> str:
    """The name of a source, destination, route or token."""
    if not NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is no name: {NAME_RULE}{_nearest_name(text)}")
    return text


def _nearest_name(text: str) -> str:
    near = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63]
    return f"; for example {near}" if near and sayable(text) else ""


def address(text: str) -> Address:
    """`host:port`, `[::1]:port`, or `:port` for every interface."""
    host, colon, digits = text.rpartition(":")
    if not colon:
        remedy = (
            f"; for every interface write :{text}" if text.isdecimal() and sayable(text) else ""
        )
        raise ValueError(f"{shown(text)} has no port; wanted HOST:PORT{remedy}")
    if not re.fullmatch(r"[0-9]{1,5}", digits, re.ASCII) or int(digits) > 65535:  # noqa: PLR2004
        raise ValueError(f"{shown(text)} has no usable port; wanted a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), int(digits))
        except ValueError:
            raise ValueError(f"{shown(text)} holds no IPv6 address between [ and ]") from None
    if ":" in host:
        raise ValueError(f"{shown(text)} is ambiguous; write an IPv6 address as [::1]:8080")
    if host and not _HOST.fullmatch(host):
        raise ValueError(f"{shown(text)} holds no host name; wanted HOST:PORT")
    return Address(host.lower(), int(digits))


def host_name(text: str) -> str:
    """A host's name as clients call it, in lower case; no port, no scheme."""
    if not _HOST.fullmatch(text):
        raise ValueError(
            f"{shown(text)} is no host name; wanted one without scheme and port, "
            "such as relay-admin.ci.svc"
        )
    return text.lower().removesuffix(".")


def source_path(text: str) -> str:
    """A path that webhooks are posted to; `{secret}` may be its last segment."""
    if not text.startswith("/"):
        raise ValueError(f"{shown(text)} is no path; it begins with /, as in /webhooks/circleci")
    *parents, last = text[1:].split("/")
    if SECRET_SEGMENT in parents:
        raise ValueError(f"{shown(text)}: {SECRET_SEGMENT} can only be the last segment")
    if last == SECRET_SEGMENT and not parents:
        raise ValueError(f"{shown(text)}: put a fixed segment before {SECRET_SEGMENT}")
    for segment in [*parents, last]:
        if segment == SECRET_SEGMENT:
            continue
        if not segment:
            raise ValueError(f"{shown(text)} has an empty segment; leave out the extra /")
        if segment in {".", ".."} or not SEGMENT.fullmatch(segment):
            raise ValueError(
                f"{shown(text)}: {shown(segment, 'a part of it')} is no path segment; "
                f"wanted letters, digits, and any of . _ ~ -, or {SECRET_SEGMENT} as the last"
            )
    return text


def split(text: str) -> SplitResult:
    """A URL's parts; the message never repeats the URL, which may be a secret."""
    if any(ord(char) <= _LOWEST_PRINTABLE or ord(char) == _DELETE for char in text):
        raise ValueError("holds a space or control character; wanted a URL without")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: its host or port cannot be read") from None
    if port == 0:
        raise ValueError("has port 0; wanted 1 to 65535")
    return parts


def web_url(text: str) -> str:
    """An http or https URL with a host and without user or fragment."""
    parts = split(text)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("is no http or https URL; wanted one such as https://host/path")
    if not parts.hostname:
        raise ValueError("has no host; wanted a URL such as https://host/path")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "holds a user or password; leave them out of the URL and send them "
            'as a header: headers: {authorization: "Basic ..."}'
        )
    if parts.fragment:
        raise ValueError("holds a # and what follows it is never sent; leave it out, or write %23")
    if ":" not in parts.hostname:
        try:
            # The codec takes seconds for what is too long anyway.
            ascii_host = parts.hostname[:_LONGEST_HOST].encode("idna").decode()
        except UnicodeError:
            ascii_host = ""
        if not _HOST.fullmatch(ascii_host):
            raise ValueError("has an unusable host name; wanted a URL such as https://host/path")
    return text


def proxy_url(text: str) -> str:
    """An http or https proxy; it may carry a user and password."""
    parts = split(text)
    if parts.scheme not in {"http", "https"}:
        raise ValueError("is no http or https proxy; wanted one such as http://proxy:3128")
    if not parts.hostname:
        raise ValueError("has no host; wanted a proxy such as http://proxy:3128")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("holds a path; wanted only scheme, host and port: http://proxy:3128")
    return text


def origin(url: str) -> str:
    """What may be shown of a URL: scheme, host and port."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}"


def header_name(text: str) -> str:
    """The lower-case name of a header that may be configured."""
    lowered = text.lower()
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{shown(text)} is no header name; wanted letters, digits and -")
    if lowered in HOP_BY_HOP:
        raise ValueError(
            f"{lowered} belongs to a single connection and cannot be set; leave it out"
        )
    if lowered in {"host", "content-length"}:
        raise ValueError(f"{lowered} follows from the request itself; leave it out")
    if lowered.startswith("webhook-") or lowered == "relay-attempt":
        own = lowered if sayable(text) else "webhook-*"
        raise ValueError(f"{own} is the relay's own; leave it out, or name it differently")
    return lowered


def header_value(text: str) -> str:
    """What a header may hold; the message never repeats it."""
    if _CONTROLS.search(text.replace("\t", " ")):
        raise ValueError("holds a control character (a line break?); wanted one printable line")
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("holds a character outside Latin-1, which no header can carry")
    if not text.strip():
        raise ValueError("is empty; leave the header out, or give it a value")
    if text != text.strip():
        raise ValueError("begins or ends with a space, which does not arrive; take it away")
    return text


def secret(text: str) -> str:
    """A secret; all that is asked is that there is one."""
    if not text.strip():
        raise ValueError("is empty; an empty secret would let anyone in")
    return text


def token(text: str) -> str:
    """An admin token: 16 characters or more that fit a header."""
    if not text.strip():
        raise ValueError("is empty; an empty token would let anyone in")
    if len(text) < 16:  # noqa: PLR2004
        raise ValueError(f"has {len(text)} characters; wanted 16 or more")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError(
            "holds a space, or what is not ASCII; wanted printable ASCII without spaces"
        )
    return text


def standard_secret(text: str) -> str:
    """`whsec_` and 24 to 64 bytes in base64, as Standard Webhooks writes its secrets."""
    rule = "wanted whsec_ and then 24 to 64 bytes in base64"
    if not text.startswith("whsec_"):
        raise ValueError(f"does not begin with whsec_; {rule}")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"holds no base64 after whsec_; {rule}") from None
    if not 24 <= len(key) <= 64:  # noqa: PLR2004
        raise ValueError(f"holds {len(key)} bytes; {rule}")
    return text
