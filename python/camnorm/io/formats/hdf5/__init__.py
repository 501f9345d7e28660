"""HDF5, NeXus and EMD files."""

from __future__ import annotations

from pathlib import Path

from camnorm.io.base.registry import ImageFormat, Output

_MARK = b"\x89HDF\r\n\x1a\n"


def _is_hdf5(path: Path, head: bytes) -> bool:
    return head.startswith(_MARK) or head[512:].startswith(_MARK)  # behind a block of MATLAB, say


FORMAT = ImageFormat(
    "HDF5",
    (".h5", ".hdf5", ".hdf", ".nxs", ".nx5", ".emd"),
    f"{__name__}.series:open_hdf5",
    recognises=_is_hdf5,
    output=Output(
        f"{__name__}.writer:make_writer",
        ".h5",
        "an HDF5 file",
        ("none", "deflate"),
        planes=(3, 4),  # or the readers would take them for columns
    ),
    is_result=f"{__name__}.series:is_result",
    linked_files=f"{__name__}.series:linked_files",
)
