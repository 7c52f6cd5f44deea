"""One preset's messages for every packaged sample, hostile payload and bare payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.presets import CHANGES, SAMPLES, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from circleci_relay.rendering.recipe import Made


def rounds(
    name: str, payloads: Mapping[str, Any], options: Mapping[str, Any], **more: Any
) -> Iterator[tuple[str, Made]]:
    """What *name* makes of each, by a name to tell it by; of the samples after each change."""
    for sample in SAMPLES:
        for change in CHANGES:
            said = f"{sample}, {change}"
            yield said, rendered(name, sample, options=options, change=change, **more)
    for said, payload in payloads.items():
        if said not in SAMPLES:
            # The changes that go with what most of them are.
            change = "broken" if "success" not in str(payload.get("workflow")) else "fixed"
            yield said, rendered(name, payload, options=options, change=change, **more)
