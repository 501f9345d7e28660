"""The table of image formats, from their registry."""

from __future__ import annotations

from camnorm import ImageFormat
from camnorm.io.base.registry import formats
from sitepages.markdown import escaped, table

__all__ = ["formats_page"]

_TEXT = """# Image formats

camnorm reads all of these formats. It recognises a file by its content, and by its suffix only if the format
has no mark. In a directory, files with these suffixes are images. `camnorm correct` keeps the format of the
input if it can be written, and writes TIFF otherwise; `--format` chooses another, and `--compression` one of
the compressions that the table names.

"""
_END = """

Formats with an extra need a package that camnorm does not install by itself: `pip install 'camnorm[zarr]'`,
or `pip install 'camnorm[all]'` for all of them. HDF5 files that use filters other than gzip, LZF, LZ4, zstd,
bitshuffle and Blosc need the extra `hdf5`. Files of bare pixels are read with `--raw`. Other packages can add
formats; see [Contributing](../development/contributing.md).
"""


def formats_page() -> str:
    """The page of formats."""
    rows = [_row(one) for one in sorted(formats(), key=lambda one: one.name.lower()) if one.suffixes]
    head = ["format", "suffixes", "written", "extra"]
    return _TEXT + table(head, rows) + _END


def _row(row: ImageFormat) -> list[str]:
    compressions = [f"`{name}`" for name in row.output.compressions if name != "none"] if row.output else []
    return [
        escaped(row.name),
        " ".join(f"`{suffix}`" for suffix in row.suffixes),
        ", ".join(["yes", *compressions]) if row.output else "",
        f"`{row.extra}`" if row.extra else "",
    ]
