"""TIFF and BigTIFF images and movies."""

from camnorm.io.base.registry import ImageFormat, Output

FORMAT = ImageFormat(
    "TIFF",
    (".tif", ".tiff", ".stk", ".mccd"),  # MetaMorph and MarCCD write TIFF with tags of their own
    f"{__name__}.reader:TiffSource",
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    output=Output(
        f"{__name__}.writer:make_writer", ".tif", "a TIFF file", ("none", "lzw", "deflate", "zstd")
    ),
    row_order="top",
)
