"""A destination's URL, of HTTP or of a queue, constant or by template; and that of a proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from circleci_relay.config import fields, queues, values
from circleci_relay.config.templates import Template, filled, is_template, masked, text_of
from circleci_relay.config.tree import Scalar
from circleci_relay.rendering.address import compile_url

if TYPE_CHECKING:
    from circleci_relay.rendering.structure import Text

_AUTHORITY_END = re.compile(r"[/?#]")
BY_TEMPLATE = "by template"


class SecretUrl(SecretStr):
    """A URL whose path and query are nobody's business."""

    @property
    def display(self) -> str:
        """Scheme, host and port: what may be shown."""
        url = self.get_secret_value()
        return values.origin(url) if queues.section_of(url) is None else queues.display(url)


class TemplateUrl(Template, SecretUrl):
    """A URL that is rendered for each message."""

    @property
    def display(self) -> str:
        """Scheme, host and port, where they are the same for all messages."""
        authority = _authority(self.get_secret_value())
        return BY_TEMPLATE if is_template(authority) else values.origin(authority)


def read_url(text: str) -> SecretUrl:
    """A destination's URL; what is said of one that will not do repeats nothing of it."""
    if is_template(text):
        return TemplateUrl(text, _template(text))
    if queues.section_of(text) is not None:
        return SecretUrl(queues.read_url(text))
    scheme = queues.scheme_of(text)
    if "://" in text and scheme not in {"http", "https"}:
        raise ValueError(
            "is of a kind unknown here; wanted http or https, "
            f"or a queue's: {', '.join(queues.NAMES)}"
        )
    return SecretUrl(values.web_url(text))


def _template(text: str) -> Text:
    section = queues.section_of(text)
    if section is not None:
        raise ValueError(
            "is a queue's, which is the same for every message; "
            f"what is not belongs under {section}"
        )
    compiled = text_of(text, compile_url)
    try:
        urlsplit(text)
    except ValueError:
        raise ValueError("is no URL: its host or port cannot be read") from None
    if not text.startswith("{"):
        values.web_url(filled(text, "1"))
    return compiled


def _authority(text: str) -> str:
    """Scheme and host: all that stands before the path, outside of expressions."""
    at = 0
    hidden = masked(text)
    scheme = hidden.find("://")
    if scheme >= 0:
        at = scheme + len("://")
    end = _AUTHORITY_END.search(hidden, at)
    return text[: end.start()] if end else text


_MARKS = r".*\{[{%].*"
_QUEUES = "|".join(re.escape(scheme) for scheme in queues.SECTIONS)

URL_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": (
        rf"^(https?://[^/?#@\s]+([/?][^#\s]*)?|({_QUEUES})://\S+|{_MARKS}|.*{fields.REFERENCE}.*)$"
    ),
}


class _Url(fields.Reads):
    """A URL whose scheme counts also where the rest of it is not known."""

    def _read(self, value: object) -> Any:
        if isinstance(value, Scalar) and value.unknown and queues.section_of(value) is not None:
            return SecretUrl(f"{queues.scheme_of(value)}://unknown.invalid")
        return super()._read(value)


UNKNOWN = SecretUrl("https://unknown.invalid/")
"""What stands for a URL that need not be known, not even its scheme."""

DestinationUrl = Annotated[
    SecretUrl,
    _Url(
        discreet=True,
        parse=read_url,
        wanted="an http or https URL, or a queue's",
        standin=UNKNOWN,
        schema=URL_SCHEMA,
    ),
]

ProxyUrl = Annotated[
    SecretUrl,
    fields.Reads(
        discreet=True,
        parse=fields.secretly(values.proxy_url, SecretUrl),
        wanted="a proxy such as http://proxy:3128",
        standin=SecretUrl("http://unknown.invalid"),
        schema={"type": "string", "pattern": f"^(https?://[^/?#]+/?|.*{fields.REFERENCE}.*)$"},
    ),
]


def read_header(text: str) -> SecretStr:
    """A header's value, constant or by template; the message never repeats it."""
    if not is_template(text):
        return SecretStr(values.header_value(text))
    compiled = text_of(text)
    # A space at either end may be a statement's, and does not arrive.
    values.header_value(filled(text, "x").strip(" ") or "x")
    return Template(text, compiled)


HeaderValue = Annotated[
    SecretStr,
    fields.Reads(
        discreet=True,
        parse=read_header,
        wanted="the header's text",
        standin=SecretStr("unknown"),
        schema=fields.AS_WRITTEN,
    ),
]
