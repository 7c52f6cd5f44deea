"""Labels by project: what relay.yaml says of whose a project is, and where its people read."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from circleci_relay.matching import MatchFaults, PatternError, project_names
from circleci_relay.patterns import Wanted, compile_pattern

if TYPE_CHECKING:
    from collections.abc import Mapping

    from circleci_relay.model import Facts

_NOTHING: Final[Mapping[str, str]] = {}


class Labels:
    """
    Labels of projects, by patterns as they stand under `match.project`.

    All patterns that a project meets count; of a label given twice the later one does.
    *secret* names those whose value is a secret for any project.
    Raises `MatchFaults` for patterns that cannot be.
    """

    def __init__(
        self,
        by_project: Mapping[str, Mapping[str, str]],
        secret: frozenset[str] = frozenset(),
    ) -> None:
        self.secret = secret
        self._given = {pattern: dict(labels) for pattern, labels in by_project.items()}
        faults: list[PatternError] = []
        self._rules: list[tuple[Wanted, Mapping[str, str]]] = []
        for pattern, labels in self._given.items():
            try:
                self._rules.append((Wanted([compile_pattern(pattern)]), labels))
            except ValueError as error:
                faults.append(PatternError((pattern,), str(error)))
        if faults:
            raise MatchFaults(faults)
        self.names = frozenset(name for labels in self._given.values() for name in labels)
        self._of = lru_cache(1024)(self._look_up)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Labels)
            and self.secret == other.secret
            and list(self._given.items()) == list(other._given.items())
        )

    def __hash__(self) -> int:
        return hash((self.secret, *self._given))

    def of(self, facts: Facts) -> Mapping[str, str]:
        """Return the labels of the project that *facts* tell of; not to be changed."""
        return self._of(project_names(facts)) if self._rules else _NOTHING

    def _look_up(self, project: tuple[str | None, ...]) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for wanted, labels in self._rules:
            if any(map(wanted.holds, project)):
                found.update(labels)
        return found


NO_LABELS: Final = Labels({})
