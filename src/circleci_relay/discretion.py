"""What may be told of an event: nothing secret that its project's labels or relay.yaml hold."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from circleci_relay.redaction import MASK, Redact, Redaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from circleci_relay.labels import Labels
    from circleci_relay.routing import Subject, Verdict

_CUT: Final = 79  # characters that a verdict's reason shows of what is longer


class Discretion:
    """Takes what is secret out of all that is told of an event with *labels*."""

    def __init__(
        self, subject: Subject, labels: Mapping[str, str], known: Labels, secrets: Iterable[str]
    ) -> None:
        self._labels, self._known = labels, known
        hidden = {value for name, value in labels.items() if "://" in value or name in known.secret}
        hidden.update(secrets)
        self._redact = Redaction(hidden)
        # A reason shows the beginning of what is long, and so perhaps half a secret.
        texts = [*labels.values(), *map(str, asdict(subject.facts).values())]
        long = (text for text in texts if len(text) > _CUT and self._redact(text) != text)
        self._redact.know(hidden | {text[:_CUT] for text in long})

    def labels(self) -> dict[str, str]:
        """The labels."""
        return discreet(self._labels, self._known, self._redact)

    def facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """*facts* by name."""
        return {
            name: self._redact(str(value)) if isinstance(value, str) else value
            for name, value in facts.items()
        }

    def verdicts(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """*verdicts*, in their order."""
        return [replace(verdict, reason=self._redact(verdict.reason)) for verdict in verdicts]

    def text(self, text: str) -> str:
        """*text*, in which a branch's name may be."""
        return self._redact(text)


def discreet(labels: Mapping[str, str], known: Labels, redact: Redact) -> dict[str, str]:
    """*labels* as they may be seen: URLs and what is a secret for any project are not."""
    return {
        name: MASK if "://" in value or name in known.secret else redact(value)
        for name, value in labels.items()
    }
