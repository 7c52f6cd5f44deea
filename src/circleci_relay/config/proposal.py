"""
A configuration that somebody proposes: read like any other, and nothing outside is touched.

No variable, no file, no directory: where one is named, something made up takes its place, and
whether it exists on this machine cannot be told from the answer.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from circleci_relay.config import proposal_bounds
from circleci_relay.config.files import NoFiles
from circleci_relay.config.load import FaultyConfig, Loaded, put_together
from circleci_relay.config.reading import STANDIN, Reader
from circleci_relay.config.secret_sets import unknown
from circleci_relay.model import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from circleci_relay.config.tree import Map

MOST_BYTES: Final = 1 << 20
MOST_FILES: Final = 64
MOST_FAULTS: Final = 100

_NOWHERE: Final = Path("/nonexistent/proposal")
_LONGEST_NAME: Final = 200
_WORST: Final = proposal_bounds.MOST_VALUES // 2
_MADE_UP: Final = frozenset(
    {STANDIN, unknown().value.decode(), f"{STANDIN}-{STANDIN}-{STANDIN}", f"whsec_{STANDIN}"}
)
_NOT_READ: Final = (
    "holds a ${...}, which is not read for a proposal: what this makes of an event cannot be told"
)


def propose(files: Mapping[str, str]) -> Loaded:
    """
    Read *files*, texts by name, in their order, as `load` would.

    Raises `ConfigError` with what is wrong, of which the first hundred are told; and where
    there is more of it than a running relay looks at.
    """
    texts = dict(_bounded(files))
    reader = Reader({}, needed=False, files=NoFiles())
    reader.most = MOST_FAULTS
    trees = []
    left = proposal_bounds.MOST_VALUES
    for name, data in texts.items():
        tree = reader.tree(data, file=name, base=_NOWHERE, most=proposal_bounds.MOST_VALUES)
        if tree is not None:
            trees.append(tree)
        # What could not be read to its end may have been as large as may be.
        left -= _WORST if tree is None else proposal_bounds.count(tree)
        if left < 0 and not reader.faults:
            bound = proposal_bounds.MOST_VALUES
            raise _refused(name, f"a proposal may hold {bound} values; propose a part of it")
        if left < 0 or reader.full:
            break
    made_up: list[Fault] = []

    def too_much(root: Map) -> Iterator[Fault]:
        made_up.extend(islice(_made_up(root), MOST_FAULTS))
        return proposal_bounds.faults(root)

    loaded = put_together(
        reader, trees, first=next(iter(texts), "relay.yaml"), base=_NOWHERE, too_much=too_much
    )
    config = loaded.config
    # Else every text with that word in it would count as a secret.
    config = replace(config, secret_values=config.secret_values - _MADE_UP)
    warnings = (*made_up, *loaded.warnings)[:MOST_FAULTS]
    return replace(loaded, config=config, warnings=warnings)


def _bounded(files: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    if len(files) > MOST_FILES:
        raise _refused("proposal", f"a proposal has {MOST_FILES} files at most; put some together")
    left = MOST_BYTES
    for name, text in files.items():
        if not (0 < len(name) <= _LONGEST_NAME and name.isprintable()):
            raise _refused(
                "proposal", f"a file's name is 1 to {_LONGEST_NAME} printable characters"
            )
        # More characters than that are more bytes; a lone surrogate is told as what it is.
        data = text[: left + 1].encode("utf-8", "surrogatepass")
        left -= len(data)
        if left < 0:
            raise _refused(name, "a proposal has 1MiB at most; propose a part of it")
        yield name, data


def _refused(name: str, message: str) -> FaultyConfig:
    return FaultyConfig([Fault(file=name, line=0, column=0, path="", message=message)], ())


def _made_up(root: Map) -> Iterator[Fault]:
    """What routing would be made of, and is not known."""
    for section in ("routes", "projects"):
        for text in proposal_bounds.scalars(root.get(section)):
            if text.unknown:
                yield text.spot.fault(_NOT_READ)
