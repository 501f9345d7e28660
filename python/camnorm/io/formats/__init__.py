"""The image formats, and the order in which they are tried.

Each format is a module or package with its row, ``FORMAT``: how a file is recognised, and which classes read
and write it; variants have a row each. A package keeps expensive imports, such as that of tifffile, out of
the module of its row.
"""

from camnorm.io.base.registry import register
from camnorm.io.formats import (
    camera,
    cbf,
    dm,
    edf,
    eer,
    fits,
    hdf5,
    mib,
    mrc,
    npy,
    raster,
    raw,
    ser,
    smv,
    tiff,
    tvips,
    zarr,
)

register(
    raw.FORMAT,
    # Before TIFF, which they are too.
    eer.FORMAT,
    camera.FORMAT,
    tiff.FORMAT,
    npy.FORMAT,
    raster.PNG,
    raster.JPEG,
    hdf5.FORMAT,
    zarr.FORMAT,
    fits.FORMAT,
    smv.FORMAT,
    edf.FORMAT,
    cbf.FORMAT,
    mib.FORMAT,
    ser.FORMAT,
    tvips.FORMAT,
    dm.FORMAT,
    # Before those of MRC, which take any other compressed file.
    fits.GZIP,
    fits.BZIP2,
    mrc.GZIP,
    mrc.BZIP2,
    mrc.ZSTD,
    # Last: other formats may have anything at the place of its mark, which files from before 2000 lack.
    mrc.FORMAT,
)
