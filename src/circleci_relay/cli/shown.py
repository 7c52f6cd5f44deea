"""A message as people may see it: all that is sent, but for what is secret."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from circleci_relay.circleci import signature
from circleci_relay.config import presets, values
from circleci_relay.config.templates import Template, literals
from circleci_relay.redaction import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from circleci_relay.config import Destination
    from circleci_relay.delivery.transport import Message
    from circleci_relay.redaction import Redact

_SIGNATURES: Final = frozenset({signature.HEADER, "webhook-signature"})
_HARMLESS: Final = frozenset({"accept", "content-type", "user-agent"})
_MARK: Final = re.compile(r"(v1[=,])[^ ,]+")
_PARTS: Final = re.compile(r"([/?&=#]*)(.*?)([/?&=#]*)", re.DOTALL)
# What may stand in front of a token, and so tells nothing.
_SCHEME: Final = re.compile(r"\W*|(Basic|Bearer|Digest|GenieKey|Token|token|bearer) ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What would be sent, each secret in it replaced by `***`."""

    url: str
    address: Mapping[str, str]  #: of a queue: exchange, routing key, subject ...
    headers: Mapping[str, str]
    body: bytes
    masked: bool  #: whether anything in the body was replaced

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 in it replaced."""
        return self.body.decode(errors="replace")


def unsigned(destination: Destination) -> Destination:
    """It, signing with nothing that is secret: signatures are not shown, and secrets not needed."""
    if destination.sign is None:
        return destination
    nothing = SecretStr("whsec_" + base64.b64encode(b"no secret").decode())
    sign = destination.sign.model_copy(update={"secrets": (nothing,)})
    return destination.model_copy(update={"sign": sign})


def shown(message: Message, destination: Destination, redact: Redact) -> Shown:
    """*message* to *destination* without its secrets; *redact* knows them."""
    body, masked = _body(message.body, redact)
    return Shown(
        url=_url(message.url, destination, redact),
        address={
            name: redact(value) for name, value in _address(message.address, destination).items()
        },
        headers={
            name: _header(name, value, destination, redact)
            for name, value in message.headers.items()
        },
        body=body,
        masked=masked,
    )


def _body(body: bytes, redact: Redact) -> tuple[bytes, bool]:
    text = body.decode(errors="replace")
    kept = redact(text)
    return (body, False) if kept == text else (kept.encode(), True)


def _address(rendered: Mapping[str, str], destination: Destination) -> Mapping[str, str]:
    """Where in a queue it goes: the texts made for it, and such as are the same for all."""
    if destination.section is None:
        return {}
    settings: Any = getattr(destination, destination.section) or ()
    fixed = {name: value for name, value in settings if isinstance(value, str)}
    return {name: value for name, value in (fixed | dict(rendered)).items() if value}


def _url(url: str, destination: Destination, redact: Redact) -> str:
    """Scheme, host, port; behind them what events and labels made of the path and query."""
    if destination.section is not None:
        return destination.display
    secret = destination.url
    public = _public(destination)
    if public is not None and (made := _filled(public, url, str, redact)):
        return made
    start = values.origin(url)
    rest = _beyond(url)
    if rest in {"", "/"}:
        return start + rest
    if isinstance(secret, Template):
        raw = secret.get_secret_value()
        if destination.display == start and (made := _filled(_beyond(raw), rest, _covered, redact)):
            return start + made
    return f"{start}/{MASK}"


def _beyond(url: str) -> str:
    """All that follows the host."""
    found = re.match(r"[^:/?#{]*://[^/?#{]*", url)
    return url[found.end() :] if found else url


def _public(destination: Destination) -> str | None:
    """The template of a URL that is its preset's, whose constants are no secret."""
    body = destination.body
    if body is None or body.preset is None or body.options is None:
        return None
    url = presets.find(body.preset).settings.get("url")
    if url is None:
        return None
    known = {url, presets.made_url(url, body.options)}
    return url if destination.url.get_secret_value() in known else None


def _filled(raw: str, made: str, cover: Callable[[str], str], redact: Redact) -> str | None:
    """*made* of the template *raw*, its constants covered; None where they cannot be told."""
    if "{%" in raw or "{#" in raw:
        return None
    constants = literals(raw)
    rendered = _between(constants, made)
    if rendered is None:
        return None
    return "".join(
        cover(constant) + redact(text)
        for constant, text in zip(constants, [*rendered, ""], strict=True)
    )


def _between(constants: Sequence[str], made: str) -> list[str] | None:
    """What stands in *made* between *constants*, each found as early as can be."""
    first, *others = constants
    if not made.startswith(first):
        return None
    at, found = len(first), []
    for number, constant in enumerate(others, 2):
        last = number == len(constants)
        start = len(made) - len(constant) if last else made.find(constant, at)
        if start < at or not made.startswith(constant, start):
            return None
        found.append(made[at:start])
        at = start + len(constant)
    return found if others or at == len(made) else None


def _covered(constant: str) -> str:
    """A constant part, of which only the separators at both ends are shown."""
    found = _PARTS.fullmatch(constant)
    if found is None or not found[2]:
        return constant
    return f"{found[1]}{MASK}{found[3]}"


def _header(name: str, value: str, destination: Destination, redact: Redact) -> str:
    if name in _SIGNATURES:
        # Whoever signs what he is given, signs for everyone who can read his log.
        return _MARK.sub(rf"\1{MASK}", value)
    settings = {key.lower(): each for key, each in destination.headers.items()}
    if name not in settings or name in _HARMLESS:
        return redact(value)
    setting = settings[name]
    raw = setting.get_secret_value()
    if raw == _of_preset(name, destination):
        return redact(value)
    if not isinstance(setting, Template):
        return MASK
    return _filled(raw, value, _of_header, redact) or MASK


def _of_header(constant: str) -> str:
    return constant if _SCHEME.fullmatch(constant) else MASK


def _of_preset(name: str, destination: Destination) -> str | None:
    """What the preset says of a header."""
    if destination.body is None or destination.body.preset is None:
        return None
    headers = presets.find(destination.body.preset).settings.get("headers") or {}
    return next((str(value) for key, value in headers.items() if key.lower() == name), None)
