"""MRC images, movies and stacks, also compressed as a whole."""

from camnorm.io.base.registry import ImageFormat, Output

FORMAT = ImageFormat(
    "MRC",
    (".mrc", ".mrcs"),
    f"{__name__}.reader:MrcSource",
    (b"MAP",),
    208,
    suffix_suffices=True,
    output=Output(f"{__name__}.writer:MrcWriter", ".mrc", "an MRC file", planes=()),
    row_order="bottom",
)
# Any other compressed file is taken for MRC, whose reader refuses it.
GZIP = ImageFormat(
    "MRC.gz",
    (".mrc.gz", ".mrcs.gz"),
    f"{__name__}.packed:GzipMrcSource",
    (b"\x1f\x8b\x08",),
    row_order="bottom",
)
BZIP2 = ImageFormat(
    "MRC.bz2", (".mrc.bz2", ".mrcs.bz2"), f"{__name__}.packed:Bzip2MrcSource", (b"BZh",), row_order="bottom"
)
# Files of pzstd begin with a frame to be skipped, of any of 16 marks.
ZSTD = ImageFormat(
    "MRC.zst",
    (".mrc.zst", ".mrcs.zst"),
    f"{__name__}.zstd:ZstdMrcSource",
    (b"\x28\xb5\x2f\xfd", *(bytes((mark, 0x2A, 0x4D, 0x18)) for mark in range(0x50, 0x60))),
    extra="zstd",
    row_order="bottom",
)
