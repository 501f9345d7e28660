"""Zarr stores that are directories, and images of OME-Zarr."""

from __future__ import annotations

import os
from pathlib import Path

from camnorm.io.base.registry import ImageFormat, Output


def _is_zarr(path: Path, head: bytes) -> bool:
    # Unlike that of pathlib, os.path.exists() says no of directories that may not be read.
    return not head and any(os.path.exists(path / name) for name in ("zarr.json", ".zarray", ".zgroup"))


FORMAT = ImageFormat(
    "Zarr",
    (".zarr",),
    f"{__name__}.reader:ZarrSource",
    recognises=_is_zarr,
    extra="zarr",
    output=Output(
        f"{__name__}.writer:ZarrWriter",
        ".zarr",
        "a Zarr store",
        ("none", "deflate", "zstd"),
        planes=(3, 4),
        directory=True,
    ),
)
