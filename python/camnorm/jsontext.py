"""Results as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["dumps"]


def dumps(value: Any, indent: int | None = None) -> str:
    """Write mappings, sequences, paths, numbers and text; NaN and infinities, which JSON lacks, as null.

    In ASCII and without control characters, whatever is in the text.
    """
    return json.dumps(_plain(value), allow_nan=False, indent=indent).replace("\x7f", "\\u007f")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
