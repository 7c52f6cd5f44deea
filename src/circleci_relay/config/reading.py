"""The files themselves: which, their trees, and what their `${...}` stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from circleci_relay.config import interpolate
from circleci_relay.config.discretion import shown, variable
from circleci_relay.config.files import YAML_FILES, FileError, Files
from circleci_relay.config.interpolate import EnvRef, FileRef
from circleci_relay.config.yaml_source import MAX_BYTES, MOST_VALUES, read_tree
from circleci_relay.model import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from circleci_relay.config.tree import Map, Spot

STANDIN = "unknown"


class Reader:
    """One look at all files; what is wrong and what was revealed gathers here."""

    def __init__(self, env: Mapping[str, str], *, needed: bool, files: Files | None = None) -> None:
        self.files = Files() if files is None else files
        self.needed = needed  #: whether variables and files must be there
        self.faults: list[Fault] = []
        self.whole = True  #: every file could be read to its end
        #: what variables and files held, and the path of the string they stand in
        self.revealed: list[tuple[tuple[str | int, ...], str]] = []
        self.most: int | None = None  #: so many faults are enough
        self._env = env

    @property
    def full(self) -> bool:
        """Whether enough is known to be wrong."""
        return self.most is not None and len(self.faults) >= self.most

    def trees(self, paths: Sequence[Path]) -> list[Map]:
        """The tree of each file that can be read."""
        found = (self._tree(path) for path in self._listed(paths))
        return [tree for tree in found if tree is not None]

    def _listed(self, paths: Sequence[Path]) -> list[Path]:
        listed: list[Path] = []
        for path in paths:
            if not path.is_dir():
                listed.append(path)
                continue
            try:
                below = self.files.list_dir(path, YAML_FILES)
            except FileError as error:
                self._file_fault(path, f"the directory {error}")
                continue
            if not below:
                self._file_fault(path, "the directory holds no *.yaml")
            listed += below
        # The same file twice would be found to contradict itself.
        return list(dict.fromkeys(listed))

    def _file_fault(self, path: Path, message: str) -> None:
        self.whole = False
        self.faults.append(Fault(file=str(path), line=0, column=0, path="", message=message))

    def _tree(self, path: Path) -> Map | None:
        try:
            data = self.files.read(path, MAX_BYTES)
        except FileError as error:
            self._file_fault(path, f"the file {error}")
            return None
        return self.tree(data, file=str(path), base=Path(path).absolute().parent)

    def tree(self, data: bytes, *, file: str, base: Path, most: int = MOST_VALUES) -> Map | None:
        """The tree that *data* holds, of *most* values; None where it cannot be told."""
        tree, faults = read_tree(
            data,
            file=file,
            base=base,
            expand=lambda text, spot: self._expand(text, spot, base),
            most=most,
        )
        self.faults += faults
        self.whole = self.whole and tree is not None
        return tree

    def _expand(self, text: str, spot: Spot, base: Path) -> tuple[str, bool]:
        unknown = False

        def resolve(reference: EnvRef | FileRef) -> str:
            nonlocal unknown
            try:
                value = self._resolved(reference, base)
            except ValueError as error:
                unknown = True
                if self.needed:
                    self.faults.append(spot.fault(str(error)))
                return STANDIN
            if value is not None:
                self.revealed.append((spot.path, value))
                return value
            return reference.default or "" if isinstance(reference, EnvRef) else ""

        try:
            return interpolate.expand(interpolate.parse(text), resolve), unknown
        except ValueError as error:
            self.faults.append(spot.fault(str(error)))
            return STANDIN, True

    def _resolved(self, reference: EnvRef | FileRef, base: Path) -> str | None:
        """What it stands for; None for its own default; `ValueError` where there is nothing."""
        if isinstance(reference, EnvRef):
            value = self._env.get(reference.name)
            if reference.default is not None and not value:
                return None
            if value is None:
                name = variable(reference.name)
                raise ValueError(
                    f"the variable {name} is not set; set it, or give a default: "
                    f"${{env:{name}:-...}}"
                )
            return value
        path = base / reference.path
        file = f"the file {shown(reference.path, 'named here')}"
        try:
            return self.files.read_value(path).decode()
        except FileError as error:
            raise ValueError(f"{file} {error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{file} is not UTF-8") from None
