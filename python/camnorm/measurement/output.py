"""The sensor file that a measurement writes, and what it may replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from camnorm.io import Protected
from camnorm.sensor.file import check_replaceable, save_contents
from camnorm.sensor.provenance import Identity
from camnorm.sensor.sensor import Sensor

__all__ = ["Output"]


@dataclass(frozen=True)
class Output:
    """The sensor file to be written."""

    path: Path
    overwrite: bool
    protected: Protected

    def named(self, ending: str | int) -> Output:
        """The file of one of several groups."""
        path = self.path.with_name(f"{self.path.stem}_{ending}{self.path.suffix}")
        return replace(self, path=path)

    def check(self, identity: Identity) -> None:
        """Raise an error if there is a file that this measurement may not replace."""
        check_replaceable(self.path, self.overwrite, identity.has_same_settings)

    def check_part(self, files: Sequence[Path]) -> None:
        """Raise an error if there is a file that no measurement of some of these files may replace."""

        def may_be_same(found: Identity) -> bool:
            return {path for path, _, _ in found.files} <= {str(file.absolute()) for file in files}

        check_replaceable(self.path, self.overwrite, may_be_same)

    def save(self, sensor: Sensor) -> None:
        """Write the file."""
        save_contents(self.path, sensor.contents, self.overwrite, self.protected)
