"""What the user should know of files that do not agree with their own headers: collected, and told once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["Remark", "Remarks"]


class Remark(NamedTuple):
    """Something that the user should know of a file."""

    kind: str
    """Remarks of one kind become one warning."""
    text: str
    """What is wrong, and how the file is read, without its name."""


class Remarks:
    """Remarks on many files, of which each kind becomes one warning. Several threads may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, dict[Path, str]] = {}

    def add(self, path: Path, remarks: Iterable[Remark]) -> None:
        """Add the remarks on a file, unless they were added before."""
        for kind, text in remarks:
            with self._lock:
                self._files.setdefault(kind, {}).setdefault(path, text)

    def warn(self, stacklevel: int = 2) -> None:
        """Make a warning of each kind: of its first file, with the number of the others."""
        for files in self._files.values():
            path = min(files)
            others = len(files) - 1
            more = f" (and {others} more {'files' if others > 1 else 'file'})" if others else ""
            warnings.warn(f"{path}{more}: {files[path]}", stacklevel=stacklevel + 1)
