"""Files of every format, and the libraries that read and compress them: tasks of worker.py for formats.py."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import math
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worker import best, correct, measure

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TESTS = Path(__file__).parents[1] / "tests" / "python"
_WRITERS = (_TESTS, _TESTS / "io")  # of what no library writes
_ELECTRONS = 0.01  # a pixel and page of EER

_Frames = Iterable[Any]


@dataclass(frozen=True)
class FileFormat:
    """A kind of file, and what reads it."""

    name: str
    suffix: str
    reader: str
    """The library, for people."""
    write: Callable[[Path, NDArray[Any]], None]
    """Write frames of shape (n, y, x) and dtype uint16; a single one if `single`."""
    read: Callable[[Path], _Frames]
    """The frames, decoded by the library; pieces of the file of their size where it is just read."""
    single: bool = False
    share: float = 1.0
    """Of the frames: less of what is slow."""
    decoded: bool = True
    """Whether `read` gives the pixels, and not just bytes."""


def _library(name: str) -> Any:
    return importlib.import_module(name)


def test_writer(module: str, name: str) -> Callable[..., Any]:
    sys.path.extend(str(folder) for folder in _WRITERS if str(folder) not in sys.path)
    writer: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return writer


def _copied(frames: _Frames) -> Iterator[NDArray[Any]]:
    """Mapped frames, read into one array after another's end."""
    into: NDArray[Any] | None = None
    for frame in frames:
        if into is None:
            into = np.empty(frame.shape, frame.dtype)
        np.copyto(into, frame)
        yield into


# Writers


def _write_by_test(module: str, name: str, path: Path, frames: NDArray[Any]) -> None:
    test_writer(module, name)(path, frames)


def _write_one_by_test(module: str, name: str, path: Path, frames: NDArray[Any]) -> None:
    test_writer(module, name)(path, frames[0])


def _write_mrc(path: Path, frames: NDArray[Any]) -> None:
    with _library("mrcfile").new(path) as movie:
        movie.set_data(frames)
        movie.set_image_stack()


def _write_packed(pack: Callable[[bytes], bytes], path: Path, frames: NDArray[Any]) -> None:
    plain = path.with_suffix(".plain")
    _write_mrc(plain, frames)
    path.write_bytes(pack(plain.read_bytes()))
    plain.unlink()


def _zstd(data: bytes) -> bytes:
    packed: bytes = _library("zstandard").ZstdCompressor(3).compress(data)
    return packed


def _write_tiff(compression: str | None, path: Path, frames: NDArray[Any]) -> None:
    with _library("tifffile").TiffWriter(path) as tiff:
        for frame in frames:
            tiff.write(
                frame,
                compression=compression,
                rowsperstrip=frame.shape[0],
                contiguous=False,
                metadata=None,
            )


def _write_eer(path: Path, frames: NDArray[Any]) -> None:
    """Pages of few electrons, drawn from two: to encode one takes long."""
    shape = frames.shape[1:]
    electrons, encode = (test_writer("test_eer", name) for name in ("electrons_of", "encode"))
    pages = [encode(electrons(_ELECTRONS, seed, shape), (7, 2, 2), math.prod(shape)) for seed in range(2)]
    several = [pages[int(frame.flat[0]) % 2] for frame in frames]
    test_writer("test_eer", "write_eer")(path, several, shape=shape)


def _write_npy(path: Path, frames: NDArray[Any]) -> None:
    np.save(path, frames)


def _write_png(path: Path, frames: NDArray[Any]) -> None:
    path.write_bytes(_library("imagecodecs").png_encode(frames[0]))


def _write_jpeg(path: Path, frames: NDArray[Any]) -> None:
    path.write_bytes(_library("imagecodecs").jpeg8_encode(frames[0].astype(np.uint8), level=95))


def _write_hdf5(filters: str, path: Path, frames: NDArray[Any]) -> None:
    options: dict[str, Any] = {}
    if filters == "deflate":
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    elif filters == "lz4":
        options = dict(_library("hdf5plugin").Bitshuffle())
    elif filters == "blosc":
        options = dict(_library("hdf5plugin").Blosc(cname="zstd"))
    if filters:
        options["chunks"] = (1, *frames.shape[1:])
    with _library("h5py").File(path, "w") as file:
        file.create_dataset("data", data=frames, **options)


def _write_zarr(version: int, path: Path, frames: NDArray[Any]) -> None:
    zarr = _library("zarr")
    codecs = _library("numcodecs").Zstd(1) if version == 2 else _library("zarr.codecs").ZstdCodec(level=1)
    array = zarr.create_array(
        path,
        shape=frames.shape,
        chunks=(1, *frames.shape[1:]),
        dtype=frames.dtype,
        compressors=codecs,
        zarr_format=version,
    )
    array[...] = frames


def _write_fits(compressed: bool, path: Path, frames: NDArray[Any]) -> None:
    fits = _library("astropy.io.fits")
    if compressed:
        images = [fits.PrimaryHDU(), fits.CompImageHDU(frames, tile_shape=(1, 1, frames.shape[2]))]
    else:
        images = [fits.PrimaryHDU(frames)]
    # A stream: astropy would compress again by the suffix.
    stream = io.BytesIO()
    fits.HDUList(images).writeto(stream)
    path.write_bytes(stream.getvalue())


def _write_cbf(path: Path, frames: NDArray[Any]) -> None:
    test_writer("test_xray", "write_cbf")(path, frames[0].astype(np.int32))


# Readers


def _read_bytes(path: Path, frames: int = 1) -> _Frames:
    """Read the file in as many pieces as it has frames."""
    size = path.stat().st_size // (2 * frames) * 2
    piece = np.empty(size // 2, np.uint16)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(piece.data) == size:
            yield piece


def _read_mrc(path: Path) -> _Frames:
    with _library("mrcfile").mmap(path) as movie:
        yield from _copied(movie.data)


def _read_packed(unpack: Callable[[Path], Any], path: Path) -> _Frames:
    with unpack(path) as stream:
        head = np.frombuffer(stream.read(1024), np.int32)
        frame = np.empty((head[1], head[0]), np.uint16)
        for _ in range(head[2]):
            rest = frame.reshape(-1).view(np.uint8).data
            while rest:
                rest = rest[stream.readinto(rest) :]
            yield frame


def _open_zstd(path: Path) -> Any:
    return _library("zstandard").open(path, "rb")


def _read_tiff(path: Path) -> _Frames:
    with _library("tifffile").TiffFile(path) as tiff:
        for page in tiff.pages:
            yield page.asarray(maxworkers=1)


def _read_eer(path: Path) -> _Frames:
    decode = _library("imagecodecs").eer_decode
    with _library("tifffile").TiffFile(path) as tiff:
        for page in tiff.pages:
            data = tiff.filehandle.read_segments(page.dataoffsets, page.databytecounts)
            yield decode(b"".join(part for part, *_ in data), page.shape, 7, 2, 2)


def _read_npy(path: Path) -> _Frames:
    return _copied(np.load(path, mmap_mode="r"))


def _read_png(path: Path) -> _Frames:
    yield _library("imagecodecs").png_decode(path.read_bytes())


def _read_jpeg(path: Path) -> _Frames:
    yield _library("imagecodecs").jpeg8_decode(path.read_bytes())


def _read_hdf5(path: Path) -> _Frames:
    _library("hdf5plugin")
    with _library("h5py").File(path) as file:
        yield from file["data"]


def _read_zarr(path: Path) -> _Frames:
    array = _library("zarr").open_array(path, mode="r")
    for index in range(array.shape[0]):
        yield array[index]


def _read_fits(path: Path) -> _Frames:
    with _library("astropy.io.fits").open(path) as images:
        image = images[-1]
        for index in range(image.shape[0]):
            yield image.section[index]


def _read_fabio(path: Path) -> _Frames:
    with _library("fabio").open(path) as image:
        for index in range(image.nframes):
            yield image.getframe(index).data


def _read_raw(path: Path) -> _Frames:
    with _library("rawpy").imread(str(path)) as image:
        yield image.raw_image


_XRAY, _VENDOR, _CAMERA = "test_xray", "test_vendor", "test_camera"
_gzip = partial(gzip.compress, compresslevel=1)
_plain = partial(FileFormat, reader="none: bytes are read", read=_read_bytes, decoded=False)
_tiff = partial(FileFormat, reader="tifffile", read=_read_tiff)
_hdf5 = partial(FileFormat, reader="h5py", read=_read_hdf5)
_zarr = partial(FileFormat, reader="zarr", read=_read_zarr)
_fits = partial(FileFormat, reader="astropy", read=_read_fits)
_fabio = partial(FileFormat, reader="fabio", read=_read_fabio)


def _unpacked(
    name: str,
    suffix: str,
    reader: str,
    pack: Callable[[bytes], bytes],
    unpack: Callable[[Path], Any],
    share: float,
) -> FileFormat:
    write, read = partial(_write_packed, pack), partial(_read_packed, unpack)
    return FileFormat(name, suffix, reader, write, read, share=share)


def _by_test(module: str, name: str) -> Callable[[Path, NDArray[Any]], None]:
    return partial(_write_by_test, module, name)


def _one_by_test(module: str, name: str) -> Callable[[Path, NDArray[Any]], None]:
    return partial(_write_one_by_test, module, name)


_ALL = (
    FileFormat("MRC", ".mrcs", "mrcfile", _write_mrc, _read_mrc),
    _unpacked("MRC.gz", ".mrcs.gz", "gzip", _gzip, gzip.open, 0.5),
    _unpacked("MRC.bz2", ".mrcs.bz2", "bz2", bz2.compress, bz2.open, 0.125),
    _unpacked("MRC.zst", ".mrcs.zst", "zstandard", _zstd, _open_zstd, 1),
    _tiff("TIFF", ".tif", write=partial(_write_tiff, None)),
    _tiff("TIFF, lzw", ".lzw.tif", write=partial(_write_tiff, "lzw"), share=0.5),
    _tiff("TIFF, deflate", ".deflate.tif", write=partial(_write_tiff, "zlib"), share=0.5),
    _tiff("TIFF, zstd", ".zstd.tif", write=partial(_write_tiff, "zstd")),
    FileFormat("EER", ".eer", "tifffile, imagecodecs", _write_eer, _read_eer),
    FileFormat("NPY", ".npy", "NumPy", _write_npy, _read_npy),
    FileFormat("PNG", ".png", "imagecodecs", _write_png, _read_png, single=True, share=0.25),
    FileFormat("JPEG", ".jpg", "imagecodecs", _write_jpeg, _read_jpeg, single=True, share=0.5),
    _hdf5("HDF5", ".h5", write=partial(_write_hdf5, "")),
    _hdf5("HDF5, deflate", ".deflate.h5", write=partial(_write_hdf5, "deflate"), share=0.5),
    _hdf5("HDF5, bitshuffle and lz4", ".lz4.h5", write=partial(_write_hdf5, "lz4")),
    _hdf5("HDF5, Blosc", ".blosc.h5", write=partial(_write_hdf5, "blosc")),
    _zarr("Zarr 2, zstd", ".2.zarr", write=partial(_write_zarr, 2)),
    _zarr("Zarr 3, zstd", ".3.zarr", write=partial(_write_zarr, 3)),
    _fits("FITS", ".fits", write=partial(_write_fits, False)),
    _fits("FITS, compressed", ".fits.fz", write=partial(_write_fits, True), share=0.25),
    _fabio("EDF", ".edf", write=_by_test(_XRAY, "write_edf")),
    _fabio("SMV", ".img", write=_one_by_test(_XRAY, "write_smv"), single=True),
    _fabio("CBF", ".cbf", write=_write_cbf, single=True, share=0.5),
    _fabio("MarCCD", ".mccd", write=_one_by_test(_XRAY, "write_mccd"), single=True),
    FileFormat(
        "camera raw (DNG)", ".dng", "rawpy", _one_by_test(_CAMERA, "write_dng"), _read_raw, single=True
    ),
    _plain("DM", ".dm4", write=_by_test(_VENDOR, "write_dm")),
    _plain("MIB", ".mib", write=_by_test(_VENDOR, "write_mib")),
    _plain("SER", ".ser", write=_by_test(_VENDOR, "write_ser")),
    _plain("TVIPS", ".tvips", write=_by_test(_VENDOR, "write_tvips")),
)
FORMATS = {file_format.name: file_format for file_format in _ALL}


# Tasks


def write(directory: str, name: str, shape: tuple[int, int], frames: int, movies: int) -> dict[str, Any]:
    """Write movies of about a number of frames in all, or one file per frame; say what there is."""
    file_format = FORMATS[name]
    wanted = max(movies, round(frames * file_format.share))
    each, files = (1, wanted) if file_format.single else (max(1, wanted // movies), movies)
    rng = np.random.default_rng(0)
    pattern = 40 * (1 + 0.02 * rng.standard_normal(shape, np.float32))
    paths = []
    for number in range(files):
        # Of vendors' programs the suffix is all that tells a recording of several files.
        path = Path(directory, f"format_{number:03d}{file_format.suffix}")
        noise = rng.standard_normal((each, *shape), np.float32)
        file_format.write(path, np.rint(pattern + 6 * noise).clip(0, 255).astype(np.uint16))
        paths.append(str(path))
    return {"paths": paths, "frames": each}


def _read(file_format: FileFormat, path: Path, frames: int) -> _Frames:
    return file_format.read(path) if file_format.decoded else _read_bytes(path, frames)


def compare(
    paths: list[str],
    corrected: list[str],
    name: str,
    frames: int,
    sensor: str,
    out_dir: str,
    threads: int,
    repeats: int,
) -> dict[str, float]:
    """Best seconds of the library alone, and of camnorm, over files of a number of frames each.

    ``read``: decode all, a file a thread, and do nothing with them; ``measure`` beside that. ``convert``:
    write them as float32 to plain files besides, which are put in their place when on disk; ``correct``
    beside that.
    """

    def frames_of(path: str) -> _Frames:
        file_format = FORMATS[name]
        return file_format.read(Path(path)) if file_format.decoded else _read_bytes(Path(path), frames)

    def read_one(path: str) -> None:
        for _ in frames_of(path):
            pass

    def convert_one(path: str) -> None:
        target = Path(out_dir, Path(path).name)
        temporary = target.with_suffix(".tmp")
        with open(temporary, "wb", buffering=0) as file:
            for frame in frames_of(path):
                data = frame.astype(np.float32).reshape(-1).data.cast("B")
                while data:
                    data = data[file.write(data) :]
            os.fsync(file.fileno())
        temporary.replace(target)

    def run(one: Callable[[str], None], these: list[str]) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, these))

    def clean() -> None:
        shutil.rmtree(out_dir, ignore_errors=True)
        Path(out_dir).mkdir()

    again = repeats + 1  # the first time imports
    measure(paths, sensor, threads, 1)
    seconds = {
        "read": best(partial(run, read_one, paths), again),
        "measure": measure(paths, None, threads, again),
        "convert": best(partial(run, convert_one, corrected), again, before=clean),
        "correct": correct(corrected, sensor, out_dir, threads, again),
    }
    return {what: min(taken[1:]) for what, taken in seconds.items()}


def check(path: str, name: str) -> bool:
    """Whether camnorm's pixels of a file add up to the library's."""
    import camnorm

    totals = np.zeros(2)
    with camnorm.open_frames(path) as source:
        for index in range(source.count):
            totals[0] += source.read(index).sum(dtype=np.float64)
    for frame in FORMATS[name].read(Path(path)):
        totals[1] += frame.sum(dtype=np.float64)
    return bool(totals[0] == totals[1])


def compress(
    path: str, kind: str, compression: str, sensor: str, out_dir: str, threads: int, repeats: int
) -> dict[str, float]:
    """Best seconds to compress the corrected frames of a file in memory, and to correct it to such a file."""
    import camnorm

    imagecodecs = _library("imagecodecs")
    correction = camnorm.Sensor.load(sensor).correction()
    with camnorm.open_frames(path) as source:
        frames = [correction.apply(source.read(index)[0]) for index in range(source.count)]

    def tiff(frame: NDArray[np.float32]) -> None:
        if compression == "lzw":
            imagecodecs.lzw_encode(frame)
        else:
            codec = imagecodecs.deflate_encode if compression == "deflate" else imagecodecs.zstd_encode
            codec(imagecodecs.floatpred_encode(frame, axis=-1), level=1)

    def hdf5(frame: NDArray[np.float32]) -> None:
        imagecodecs.deflate_encode(frame.reshape(-1, 1).view(np.uint8).T.copy(), level=1)

    def zarr(frame: NDArray[np.float32]) -> None:
        if compression == "zstd":
            imagecodecs.zstd_encode(frame, level=1)
        else:
            zlib.compress(frame.data, 1)

    encoder: Callable[[NDArray[np.float32]], None] = {"tiff": tiff, "hdf5": hdf5, "zarr": zarr}[kind]

    def run() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(encoder, frames))

    options = {"format": kind, "compression": compression}
    seconds = {
        "encode": best(run, repeats + 1),
        "correct": correct([path], sensor, out_dir, threads, repeats + 1, **options),
    }
    return {what: min(taken[1:]) for what, taken in seconds.items()}
