"""The correction applied to files: written, summed up, or kept as manifests of corrected movies."""

from __future__ import annotations

import re
from pathlib import Path

from camnorm.io.base.registry import ImageFormat, register


def is_manifest(path: Path, head: bytes) -> bool:
    """Whether a file is a manifest of frames that are corrected when they are read."""
    return re.match(rb'\s*\{\s*"camnorm"\s*:', head) is not None


register(
    ImageFormat(
        "camnorm manifest",
        (".camnorm.json",),
        "camnorm.application.manifests:VirtualSource",
        recognises=is_manifest,
    ),
    first=True,
)
