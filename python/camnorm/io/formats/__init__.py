"""The image formats: one module each, and the table of all."""

from __future__ import annotations

import os
from pathlib import Path

from camnorm.io.base.registry import ImageFormat, Output, register
from camnorm.io.formats.recognition import (
    CAMERA_SUFFIXES,
    is_bzip2_fits,
    is_camera_raw,
    is_dm,
    is_edf,
    is_gzip_fits,
    is_smv,
    is_tiff,
    is_tvips,
)


def _is_eer(path: Path, head: bytes) -> bool:
    if not head.startswith(b"II+\0"):  # BigTIFF, for which tifffile is needed in any case
        return False
    from camnorm.io.formats.eer import is_eer

    return is_eer(path, head)


def _is_hdf5(path: Path, head: bytes) -> bool:
    mark = b"\x89HDF\r\n\x1a\n"
    return head.startswith(mark) or head[512:].startswith(mark)  # behind a block of MATLAB, say


def _is_zarr(path: Path, head: bytes) -> bool:
    # Unlike that of pathlib, this says no of directories that may not be read.
    return not head and any(os.path.exists(path / name) for name in ("zarr.json", ".zarray", ".zgroup"))


register(
    # Files of bare pixels, which nothing tells but the options.
    ImageFormat("raw", (), "camnorm.io.formats.raw:RawSource"),
    # Before TIFF, which they are too.
    ImageFormat("EER", (".eer",), "camnorm.io.formats.eer:EerSource", recognises=_is_eer),
    ImageFormat(
        "camera raw",
        CAMERA_SUFFIXES,
        "camnorm.io.formats.camera:CameraRawSource",
        recognises=is_camera_raw,
        extra="raw",
    ),
    # MarCCD writes TIFF with a header of its own.
    ImageFormat(
        "TIFF",
        (".tif", ".tiff", ".mccd"),
        "camnorm.io.formats.tiff:TiffSource",
        recognises=is_tiff,
        output=Output(
            "camnorm.io.formats.tiff:make_writer",
            ".tif",
            "a TIFF file",
            ("none", "lzw", "deflate", "zstd"),
        ),
    ),
    ImageFormat("NPY", (".npy",), "camnorm.io.formats.npy:NpySource", (b"\x93NUMPY",)),
    ImageFormat("PNG", (".png",), "camnorm.io.formats.raster:PngSource", (b"\x89PNG\r\n\x1a\n",)),
    ImageFormat("JPEG", (".jpg", ".jpeg"), "camnorm.io.formats.raster:JpegSource", (b"\xff\xd8\xff",)),
    # Not .emd: most of these have their frames along the last axis.
    ImageFormat(
        "HDF5",
        (".h5", ".hdf5", ".hdf", ".nxs", ".nx5"),
        "camnorm.io.formats.hdf5:Hdf5Source",
        recognises=_is_hdf5,
        output=Output(
            "camnorm.io.formats.hdf5writer:make_writer",
            ".h5",
            "an HDF5 file",
            ("none", "deflate"),
            planes=(3, 4),  # or the readers would take them for columns
        ),
        is_result="camnorm.io.formats.hdf5:is_result",
        linked_files="camnorm.io.formats.hdf5:linked_files",
    ),
    ImageFormat(
        "Zarr",
        (".zarr",),
        "camnorm.io.formats.zarr:ZarrSource",
        recognises=_is_zarr,
        extra="zarr",
        output=Output(
            "camnorm.io.formats.zarrwriter:ZarrWriter",
            ".zarr",
            "a Zarr store",
            ("none", "deflate", "zstd"),
            planes=(3, 4),
            directory=True,
        ),
    ),
    ImageFormat(
        "FITS",
        (".fits", ".fit", ".fts", ".fits.fz"),
        "camnorm.io.formats.fits:FitsSource",
        (b"SIMPLE  =",),
        extra="fits",
    ),
    ImageFormat("SMV", (".img",), "camnorm.io.formats.xray:SmvSource", recognises=is_smv),
    ImageFormat("EDF", (".edf",), "camnorm.io.formats.xray:EdfSource", recognises=is_edf),
    ImageFormat("CBF", (".cbf",), "camnorm.io.formats.cbf:CbfSource", (b"###CBF",), extra="fabio"),
    ImageFormat("MIB", (".mib",), "camnorm.io.formats.vendor:MibSource", (b"MQ1,",)),
    ImageFormat("SER", (".ser",), "camnorm.io.formats.vendor:SerSource", (b"II\x97\x01",)),
    ImageFormat("TVIPS", (".tvips",), "camnorm.io.formats.vendor:TvipsSource", recognises=is_tvips),
    ImageFormat("DM", (".dm3", ".dm4"), "camnorm.io.formats.dm:DmSource", recognises=is_dm),
    ImageFormat(
        "FITS.gz",
        (".fits.gz", ".fit.gz", ".fts.gz"),
        "camnorm.io.formats.fits:GzipFitsSource",
        recognises=is_gzip_fits,
        extra="fits",
    ),
    ImageFormat(
        "FITS.bz2",
        (".fits.bz2", ".fit.bz2", ".fts.bz2"),
        "camnorm.io.formats.fits:Bzip2FitsSource",
        recognises=is_bzip2_fits,
        extra="fits",
    ),
    # What else is compressed is taken for MRC, which says so if it is not.
    ImageFormat(
        "MRC.gz", (".mrc.gz", ".mrcs.gz"), "camnorm.io.formats.packed:GzipMrcSource", (b"\x1f\x8b\x08",)
    ),
    ImageFormat("MRC.bz2", (".mrc.bz2", ".mrcs.bz2"), "camnorm.io.formats.packed:Bzip2MrcSource", (b"BZh",)),
    # Files of pzstd begin with a frame to be skipped, of any of 16 marks.
    ImageFormat(
        "MRC.zst",
        (".mrc.zst", ".mrcs.zst"),
        "camnorm.io.formats.zstd:ZstdMrcSource",
        (b"\x28\xb5\x2f\xfd", *(bytes((mark, 0x2A, 0x4D, 0x18)) for mark in range(0x50, 0x60))),
        extra="zstd",
    ),
    # Last: other formats may have anything at the place of its mark, which files of before 2000 lack.
    ImageFormat(
        "MRC",
        (".mrc", ".mrcs"),
        "camnorm.io.formats.mrc:MrcSource",
        (b"MAP",),
        208,
        suffix_suffices=True,
        output=Output(
            "camnorm.io.formats.mrc:MrcWriter",
            ".mrc",
            "an MRC file",
            ("none",),
            planes=(),
        ),
    ),
)
