"""What relay.yaml may say of destinations behind Amazon SQS and SNS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import ConfigDict, SecretStr, model_validator

from circleci_relay.config import values
from circleci_relay.config.base import Strict
from circleci_relay.config.fields import Reads, ValueFaults, WebUrl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GROUP = "{{ project }}"
"""The message group of a FIFO queue or topic that names none: each project in its own order."""

_REGION = r"[a-z]{2,}(?:-[a-z]+)+-[0-9]{1,2}"
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_AS_WRITTEN: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}


def _region(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,63}", text):
        raise ValueError("is no region; wanted a name such as eu-west-1")
    return text


def _key_id(text: str) -> str:
    if not _KEY_ID.fullmatch(text):
        raise ValueError("is no access key id; wanted one such as AKIAIOSFODNN7EXAMPLE")
    return text


def _secret_key(text: str) -> SecretStr:
    if not text.strip() or not text.isascii() or not text.isprintable():
        raise ValueError("is no secret access key; wanted printable ASCII, and not nothing")
    return SecretStr(text)


def _profile(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("is no profile; wanted a name that stands in the SDK's files")
    return text


def _read(parse: Callable[[str], Any], wanted: str, standin: Any, pattern: str) -> Reads:
    schema = {"type": "string", "pattern": pattern}
    return Reads(parse=parse, wanted=wanted, standin=standin, schema=schema, discreet=True)


_Text = Annotated[str, Reads(parse=str, wanted="text", standin="unknown", schema=_AS_WRITTEN)]


_Region = Annotated[str, _read(_region, "a region", "eu-west-1", "^[A-Za-z0-9-]{1,63}$")]


class _Aws(Strict):
    """What the two have in common."""

    model_config = ConfigDict(
        json_schema_extra={
            "dependentRequired": {
                "access_key_id": ["secret_access_key"],
                "secret_access_key": ["access_key_id"],
            }
        }
    )

    endpoint: WebUrl | None = None
    """http or https: where requests really go, for a VPC endpoint, another cloud, a test."""
    profile: Annotated[str, _read(_profile, "a profile", "unknown", "^.+$")] | None = None
    """A profile of the SDK's files, such as one that assumes a role."""
    access_key_id: Annotated[str, _read(_key_id, "an access key id", "unknown", "^.+$")] | None = (
        None
    )
    """With `secret_access_key`; without both, the SDK looks where it always does."""
    secret_access_key: (
        Annotated[SecretStr, _read(_secret_key, "a secret", SecretStr("unknown"), "^.+$")] | None
    ) = None
    """Better taken from a file or variable."""

    @model_validator(mode="after")
    def _credentials_agree(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            known, other = "access_key_id", "secret_access_key"
            if self.access_key_id is None:
                known, other = other, known
            raise ValueFaults([((known,), f"is of no use without {other}; add {other}")])
        if self.profile is not None and self.access_key_id is not None:
            raise ValueFaults([(("profile",), "and access_key_id exclude each other; keep one")])
        return self


class Sqs(_Aws):
    """How messages go into an SQS queue."""

    region: _Region | None = None
    """Such as eu-west-1; needed only where the URL's host does not tell."""
    group: _Text | None = None
    """The message group id; of a FIFO queue `{{ project }}` by default, else none."""

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        return {"group": GROUP if self.group is None else self.group}


class Sns(_Aws):
    """How messages go to an SNS topic."""

    group: _Text | None = None
    """The message group id; of a FIFO topic `{{ project }}` by default, else none."""
    subject: _Text | None = None
    """The subject that subscribers by e-mail see; without it, none."""

    def templates(self) -> Mapping[str, str]:
        """Texts rendered for each message, by the name `Message.address` has them under."""
        group = {"group": GROUP if self.group is None else self.group}
        return group if self.subject is None else {**group, "subject": self.subject}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A queue or topic, as its URL names it."""

    endpoint: str  #: the service's own URL
    region: str  #: "" where the URL does not tell
    resource: str  #: the queue's URL, or the topic's ARN

    @property
    def fifo(self) -> bool:
        """Whether it keeps an order, which its name tells."""
        return self.resource.endswith(".fifo")


_AWS_HOST = re.compile(
    r".*\.(amazonaws\.(com|com\.cn|eu)|api\.aws|api\.amazonwebservices\.com\.cn)"
)
# https://docs.aws.amazon.com/general/latest/gr/sqs-service.html; a name may stand before it.
_SQS_REGION = re.compile(rf"(?:.*\.)?sqs(?:-fips)?\.({_REGION})\..*")
_OLD_SQS_REGION = re.compile(rf"(?:({_REGION})\.)?queue\.amazonaws\.com(?:\.cn)?")
_SNS_REGION = re.compile(rf"(?:.*\.)?sns(?:-fips)?\.({_REGION})\..*")
_QUEUE = re.compile(r"/[0-9]{12}/(?=[^/]{1,80}\Z)[A-Za-z0-9_-]+(?:\.fifo)?")
_OTHER_QUEUE = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_TOPIC = re.compile(
    rf"/arn:[a-z0-9-]+:sns:({_REGION}):[0-9]{{12}}:(?=[^/]{{1,256}}\Z)[A-Za-z0-9_-]+(?:\.fifo)?"
)
_SUBSCRIPTION = re.compile(r"/arn:[^/:]+:sns:[^/:]+:[^/:]+:[^/:]+:[^/]+")

_SQS_WANTED = (
    "wanted the queue's URL with sqs for https: sqs://sqs.REGION.amazonaws.com/ACCOUNT/QUEUE"
)
_SNS_WANTED = (
    "wanted the topic's ARN behind the service: sns://sns.REGION.amazonaws.com/arn:aws:sns:..."
)


def sqs_place(url: str) -> Place:
    """What the *url* of an SQS queue names; of another, raise what repeats nothing."""
    parts = _split(url, "sqs", _SQS_WANTED)
    host = parts.hostname or ""
    aws = bool(_AWS_HOST.fullmatch(host))
    if not (_QUEUE if aws else _OTHER_QUEUE).fullmatch(parts.path):
        raise ValueError(f"names no queue; {_SQS_WANTED}")
    told = _SQS_REGION.fullmatch(host) or _OLD_SQS_REGION.fullmatch(host)
    if aws and not told:
        raise ValueError(f"has a host that is not SQS's; {_SQS_WANTED}")
    region = (told[1] or "us-east-1") if told else ""
    endpoint = f"https://{parts.netloc}"
    return Place(endpoint=endpoint, region=region, resource=endpoint + parts.path)


def sns_place(url: str) -> Place:
    """What the *url* of an SNS topic names; of another, raise what repeats nothing."""
    parts = _split(url, "sns", _SNS_WANTED)
    host = parts.hostname or ""
    found = _TOPIC.fullmatch(parts.path)
    if not found:
        if _SUBSCRIPTION.fullmatch(parts.path):
            raise ValueError("names a subscription; leave out the last : and what follows it")
        raise ValueError(f"names no topic; {_SNS_WANTED}")
    told = _SNS_REGION.fullmatch(host)
    if _AWS_HOST.fullmatch(host) and not told:
        raise ValueError(f"has a host that is not SNS's; {_SNS_WANTED}")
    if told and told[1] != found[1]:
        raise ValueError("names two regions, one by its host and one by its ARN; make them one")
    return Place(
        endpoint=f"https://{parts.netloc}", region=found[1], resource=parts.path.removeprefix("/")
    )


def _split(url: str, scheme: str, wanted: str) -> SplitResult:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"holds a space, or what is not printable ASCII; {wanted}")
    # What may stand for a host, port and so on is the same as for HTTP.
    if not url.startswith(f"{scheme}://"):
        raise ValueError(f"is no URL of {scheme.upper()}; {wanted}")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            f"holds a user or password; give credentials by {scheme}: access_key_id and"
            " secret_access_key, or leave them to the SDK"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"holds a ? or #; {wanted}")
    values.web_url(f"https{url.removeprefix(scheme)}")
    return parts


def _reader(place: Callable[[str], Place]) -> Callable[[str], str]:
    def read(url: str) -> str:
        place(url)
        return url

    return read


URL_READERS: Mapping[str, Callable[[str], str]] = {
    "sqs": _reader(sqs_place),
    "sns": _reader(sns_place),
}
"""By URL scheme: takes a destination's URL and returns it; a `ValueError` repeats none of it."""

SECTIONS: Mapping[str, str] = {"sqs": "sqs", "sns": "sns"}
"""By URL scheme: the destination setting that belongs to it, and the package's extra."""
