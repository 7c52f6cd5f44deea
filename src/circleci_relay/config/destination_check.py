"""What the settings of a destination say of each other: queues, bodies, quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from circleci_relay.config import presets, queues
from circleci_relay.config.discretion import UNSAID, sayable
from circleci_relay.config.faults import near
from circleci_relay.config.templates import Template, text_of
from circleci_relay.config.tree import Map, Scalar, value_at
from circleci_relay.config.urls import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from circleci_relay.config.check import Draft
    from circleci_relay.config.destinations import Destination
    from circleci_relay.config.reading import Reader
    from circleci_relay.model import Fault
    from circleci_relay.rendering.structure import Structure, Text

At = tuple[str | int, ...]
Found = tuple[At, str]


def faults(draft: Draft, reader: Reader) -> Iterator[Fault]:
    """Everything, for the destinations and routes that are there."""
    for name, destination in draft.destinations.items():
        found = [*_queue(draft, destination, reader), *_quiet(destination)]
        for key, message in [*found, *_unknown_options(draft, destination)]:
            yield draft.fault(message, *place(draft.root, name, *key))
    yield from _routes(draft)
    yield from _kept(draft)


def place(root: Map, name: str, *key: str | int) -> At:
    """Where a setting stands: with the destination, or among the defaults."""
    for at in (("destinations", name, *key), ("defaults", *key)):
        if value_at(root, at) is not None:
            return at
    return ("destinations", name, *key)


# Queues


def _queue(draft: Draft, destination: Destination, reader: Reader) -> Iterator[Found]:
    if destination.url is UNKNOWN:
        return
    own = destination.section
    for section in queues.NAMES:
        if section != own and getattr(destination, section) is not None:
            yield (section,), _stranger(section, own)
    if own is None:
        return
    if destination.proxy is not None and destination.section not in _PROXIED:
        yield ("proxy",), _NO_PROXY
    if reader.needed and (library := queues.missing(own)):
        yield (
            ("url",),
            f"needs {library}, which is not installed; pip install 'circleci-relay[{own}]'",
        )
    settings = value_at(draft.root, ("destinations", destination.name, own))
    for key, text in destination.addresses.items():
        said = settings.get(key) if isinstance(settings, Map) else None
        try:
            made = text_of(said if isinstance(said, Scalar) else text)
        except ValueError as error:
            yield (own, key), str(error)
            continue
        if "options" in made.names and (
            destination.body is None or destination.body.options is None
        ):
            yield (own, key), "names options, which only a preset has"


def _stranger(section: str, own: str | None) -> str:
    schemes = " or ".join(f"{scheme}://" for scheme in queues.schemes_of(section))
    instead = f"; this one's are under {own}" if own else ""
    return f"is for URLs that begin with {schemes}{instead}; take it out"


_PROXIED = frozenset({"sqs", "sns"})
"""Queues that are spoken to over HTTPS."""

_NO_PROXY = (
    "is one of HTTP, and a queue is reached without it; take it out, or say proxy: null where the "
    "defaults have one"
)

# Options


def _unknown_options(draft: Draft, destination: Destination) -> Iterator[Found]:
    """What a template asks of `options` that the preset has not, or that has no preset at all."""
    body = destination.body
    known = [] if body is None or body.preset is None else list(presets.find(body.preset).options)
    for at, template in _templates(destination):
        for option in sorted(template.options.difference(known)):
            raw = value_at(draft.root, place(draft.root, destination.name, *at))
            held = isinstance(raw, Scalar) and raw.expanded
            yield at, _no_option(UNSAID if held or not sayable(option) else option, known)
        if not known and not template.options and "options" in template.names:
            yield at, "names options, which only a preset has"


def _templates(destination: Destination) -> Iterator[tuple[At, Text | Structure]]:
    if isinstance(destination.url, Template):
        yield ("url",), destination.url.compiled
    for name, value in destination.headers.items():
        if isinstance(value, Template):
            yield ("headers", name), value.compiled
    body = destination.body
    if body is not None and body.content is not None:
        yield ("body", body.kind), body.content


def _no_option(option: str, known: list[str]) -> str:
    if not known:
        return f"names options.{option}, and only a preset has options; take it out"
    return f"there is no options.{option}{near(option, known) or '; there are ' + ', '.join(known)}"


# Quiet

_SEVERAL = "needs a body that can tell of several events"


def _quiet(destination: Destination) -> Iterator[Found]:
    if destination.group is None:
        return
    if destination.once_per is not None:
        yield ("group",), "tells of several events, and once_per of the last alone; keep one"
    body = destination.body
    if body is None:
        yield ("group",), f"{_SEVERAL}, and CircleCI's own tells of one; add a body"
    elif not body.groups:
        yield (
            ("group",),
            f"{_SEVERAL}, and the preset {body.preset} tells of one; take group out",
        )
    elif destination.group.max > body.groups:
        yield (
            ("group", "max"),
            (
                f"is 50 unless said otherwise, and the preset {body.preset} tells of {body.groups} "
                f"at most; say max: {body.groups} or fewer"
            ),
        )


def _routes(draft: Draft) -> Iterator[Fault]:
    for name, route in draft.routes.items():
        for to in route.to if route.once_per is not None else ():
            destination = draft.destinations.get(to)
            if destination is not None and destination.group is not None:
                yield draft.fault(
                    f"tells the last of several events alone, and {to} has a group that tells of "
                    "them all; keep one of them",
                    "routes",
                    name,
                    "once_per",
                )


def _kept(draft: Draft) -> Iterator[Fault]:
    """What waits longer than it is kept is never told."""
    keep = draft.store.keep if draft.store else None
    for seconds, at in _waits(draft):
        if keep is not None and seconds > keep:
            yield draft.fault(
                "is longer than store.keep, after which nothing is left to send; shorten it, or "
                "keep longer",
                *at,
            )


def _waits(draft: Draft) -> Iterator[tuple[float, At]]:
    for name, route in draft.routes.items():
        if route.hold is not None:
            yield route.hold, ("routes", name, "hold")
        if route.once_per is not None:
            yield route.once_per.wait, ("routes", name, "once_per", "wait")
    for name, destination in draft.destinations.items():
        for key, quiet in (("once_per", destination.once_per), ("group", destination.group)):
            if quiet is not None:
                yield quiet.wait, place(draft.root, name, key, "wait")
