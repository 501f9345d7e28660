"""Files of independent writers, and samples that others publish: camnorm reads what their own readers read.

The same pixels, in the same order of axes, and as many frames; or the file is refused with a reason. The
samples are those that astropy is installed with, and the smallest map of the Electron Microscopy Data Bank
(EMD-3197, CC0).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import astropy
import fabio
import h5py
import mrcfile
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from astropy.io import fits
from fabio.cbfimage import CbfImage
from fabio.dtrekimage import DtrekImage
from fabio.edfimage import EdfImage

import camnorm
from camnorm.errors import FormatError
from camnorm.io import open_frames

DATA = Path(__file__).parents[2] / "data"
SHAPE = (20, 36)  # neither square nor alike in any two axes, so that no axis can pass for another
COUNT = 7


def frames_of(dtype: str, *, count: int = COUNT, planes: tuple[int, ...] = ()) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 120, (count, *SHAPE, *planes)).astype(dtype)


class Case(NamedTuple):
    """A file of one format."""

    suffix: str
    frames: np.ndarray
    write: Callable[[Path, np.ndarray], object]
    read: Callable[[Path], np.ndarray]
    """By a public reader."""


def write_mrc(path: Path, frames: np.ndarray, compression: str | None = None) -> None:
    with mrcfile.new(path, compression=compression) as mrc:
        mrc.set_data(frames)
        mrc.set_image_stack()


def write_volume(path: Path, frames: np.ndarray) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(frames)
        mrc.set_extended_header(np.frombuffer(bytes(range(160)), "V80"))


def mrc(suffix: str, dtype: str, compression: str | None = None) -> Case:
    return Case(suffix, frames_of(dtype), lambda p, f: write_mrc(p, f, compression), mrcfile.read)


def tiff(dtype: str, **more: object) -> Case:
    return Case(".tif", frames_of(dtype), lambda p, f: tifffile.imwrite(p, f, **more), tifffile.imread)


def write_pillow(path: Path, frames: np.ndarray) -> None:
    images = [PIL.Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:])


def read_pillow(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)[np.newaxis]


def pillow(suffix: str, dtype: str, *planes: int) -> Case:
    frames = frames_of(dtype, count=1, planes=planes)
    return Case(suffix, frames, lambda p, f: PIL.Image.fromarray(f[0]).save(p), read_pillow)


def write_hdf5(path: Path, frames: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data", data=frames, chunks=(1, *SHAPE), compression="gzip", shuffle=True)


def read_hdf5(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["entry/data"])


def write_edf(path: Path, frames: np.ndarray) -> None:
    image = EdfImage(data=frames[0], header={})
    for frame in frames[1:]:
        image.append_frame(data=frame, header={})
    image.write(str(path))


def read_fabio(path: Path) -> np.ndarray:
    with fabio.open(str(path)) as image:
        if image.nframes == 1:
            return image.data[np.newaxis]
        return np.stack([image.getframe(index).data for index in range(image.nframes)])


def fabio_of(suffix: str, kind: Callable[..., object], dtype: str) -> Case:
    def write(path: Path, frames: np.ndarray) -> None:
        kind(data=frames[0], header={}).write(str(path))  # type: ignore[attr-defined]

    return Case(suffix, frames_of(dtype, count=1), write, read_fabio)


CASES: dict[str, Case] = {
    "mrc bytes": mrc(".mrc", "i1"),
    "mrc int16": mrc(".mrcs", "i2"),
    "mrc float": mrc(".mrc", "f4"),
    "mrc half": mrc(".mrc", "f2"),
    "mrc volume": Case(".map", frames_of("u2"), write_volume, mrcfile.read),
    "mrc.gz": mrc(".mrc.gz", "u2", "gzip"),
    "mrc.bz2": mrc(".mrc.bz2", "i2", "bzip2"),
    "tiff": tiff("u2", photometric="minisblack"),
    "tiff big-endian": tiff("i2", photometric="minisblack", byteorder=">"),
    "tiff bigtiff": tiff("f4", photometric="minisblack", bigtiff=True, metadata=None),
    "tiff deflate": tiff("u1", photometric="minisblack", compression="zlib", predictor=True),
    "tiff lzw": tiff("u2", photometric="minisblack", compression="lzw", rowsperstrip=5),
    "tiff tiles": tiff("u2", photometric="minisblack", tile=(16, 16), compression="zstd"),
    "tiff imagej": tiff("u2", imagej=True),
    "tiff ome": Case(
        ".ome.tif",
        frames_of("u2"),
        lambda p, f: tifffile.imwrite(p, f, ome=True, photometric="minisblack", metadata={"axes": "TYX"}),
        tifffile.imread,
    ),
    "tiff pillow": Case(".tiff", frames_of("u1"), write_pillow, tifffile.imread),
    "npy": Case(".npy", frames_of("u2"), np.save, np.load),
    "npy fortran": Case(".npy", frames_of("f8"), lambda p, f: np.save(p, np.asfortranarray(f)), np.load),
    "fits": Case(".fits", frames_of("f4"), fits.writeto, fits.getdata),
    "fits uint16": Case(".fits", frames_of("u2"), fits.writeto, fits.getdata),
    "fits.gz": Case(".fits.gz", frames_of("i2"), fits.writeto, fits.getdata),
    "fits.bz2": Case(".fits.bz2", frames_of("i4"), fits.writeto, fits.getdata),
    "fits.fz": Case(
        ".fits.fz",
        frames_of("i2"),
        lambda p, f: fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(f)]).writeto(p),
        lambda p: fits.getdata(p, 1),
    ),
    "png": pillow(".png", "u1"),
    "png 16 bit": pillow(".png", "u2"),
    "png colour": pillow(".png", "u1", 3),
    "hdf5": Case(".h5", frames_of("u2"), write_hdf5, read_hdf5),
    "zarr": Case(
        ".zarr",
        frames_of("u2"),
        lambda p, f: zarr.save_array(str(p), f),
        lambda p: np.asarray(zarr.open_array(str(p), mode="r")),
    ),
    "edf": Case(".edf", frames_of("u2"), write_edf, read_fabio),
    "cbf": fabio_of(".cbf", CbfImage, "i4"),
    "smv": fabio_of(".img", DtrekImage, "u2"),
}


@pytest.mark.parametrize("name", CASES)
def test_arrays_are_those_of_public_readers(tmp_path: Path, name: str) -> None:
    suffix, frames, write, read = CASES[name]
    path = tmp_path / f"a{suffix}"
    write(path, frames)
    told = read(path)
    np.testing.assert_array_equal(told, frames)
    with open_frames(path) as source:
        assert (source.count, source.shape, source.remarks) == (len(told), told.shape[1:], ())
        assert source.dtype == told.dtype.newbyteorder("=")
        np.testing.assert_array_equal(source.read(0, source.count), told)
        np.testing.assert_array_equal(source.read(source.count - 1)[0], told[-1])


@pytest.mark.parametrize(("mode", "planes"), [("L", ()), ("RGB", (3,))])
def test_jpeg_is_that_of_pillow(tmp_path: Path, mode: str, planes: tuple[int, ...]) -> None:
    """Decoders may round differently."""
    smooth = np.add.outer(np.arange(20), np.arange(36)).astype("u1") * 4
    frame = np.stack([smooth] * 3, -1) if planes else smooth
    PIL.Image.fromarray(frame, mode).save(tmp_path / "a.jpg", quality=95)
    told = read_pillow(tmp_path / "a.jpg")
    with open_frames(tmp_path / "a.jpg") as source:
        assert (source.count, source.shape) == (1, (*SHAPE, *planes))
        assert np.abs(source.read(0).astype(int) - told).max() <= 2


def test_animated_png_is_refused(tmp_path: Path) -> None:
    """Its other frames are no images of the plain format, and would be passed over."""
    images = [PIL.Image.fromarray(frame) for frame in frames_of("u1")]
    images[0].save(tmp_path / "a.png", save_all=True, append_images=images[1:])
    with pytest.raises(FormatError, match="animated PNG is not supported"):
        open_frames(tmp_path / "a.png")


def test_map_of_the_electron_microscopy_data_bank() -> None:
    path = DATA / "EMD-3197.map"
    told = mrcfile.read(path)
    with open_frames(path) as source:
        assert (source.count, source.shape, source.dtype, source.remarks) == (20, (20, 20), np.float32, ())
        np.testing.assert_array_equal(source.read(0, 20), told)
        assert source.metadata["pixel_size"] == pytest.approx(11.4, abs=0.1)
    assert camnorm.measure(path, screen="off").count == 20


ASTROPY = Path(astropy.__file__).parent / "io" / "fits" / "tests" / "data"
SAMPLES = [
    *("arange.fits", "blank.fits", "checksum.fits", "comp.fits", "compressed_image.fits", "double_ext.fits"),
    *("fixed-1890.fits", "scale.fits"),
]


@pytest.mark.skipif(not ASTROPY.is_dir(), reason="astropy is installed without its samples")
@pytest.mark.parametrize("name", SAMPLES)
def test_samples_of_astropy(name: str) -> None:
    with open_frames(ASTROPY / name) as source:
        frames, number = source.read(0, source.count), source.metadata["extension"]
        assert source.remarks == ()
    with fits.open(ASTROPY / name) as hdus:
        told = hdus[number].data
    np.testing.assert_array_equal(frames, told.reshape(-1, *told.shape[-2:]))


@pytest.mark.skipif(not ASTROPY.is_dir(), reason="astropy is installed without its samples")
@pytest.mark.parametrize("name", ["group.fits", "table.fits", "verify.fits", "zerowidth.fits"])
def test_samples_without_images(name: str) -> None:
    with pytest.raises(FormatError, match="no images in it"):
        open_frames(ASTROPY / name)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(frames_of("u1")[0]).save(buffer, "GIF")
    (tmp_path / "a.gif").write_bytes(buffer.getvalue())
    with pytest.raises(FormatError, match=r"a\.gif: not an image file that camnorm reads"):
        open_frames(tmp_path / "a.gif")
