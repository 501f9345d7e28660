"""Files of every kind that camnorm reads, and other libraries that read them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from common import Image

_ROOT = Path(__file__).parents[2]
for _folder in ("bench", "tests/python", "tests/python/io"):  # whose writers are used
    sys.path.append(str(_ROOT / _folder))

Write = Callable[[Path, Image], Any]
Read = Callable[[Path], Iterable[Image | None]]


@dataclass(frozen=True)
class Sample:
    """A kind of file."""

    name: str
    suffix: str
    write: Write
    """Write frames, uint16 of shape (n, y, x)."""
    read: Read | None = None
    """The frames by another library, None in place of one that it refuses."""
    task: str = "frames"
    """What reader.py does with it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `ReadOptions`."""
    packing: str = ""
    """The compression of the file as a whole, within which it is damaged too."""


def frames() -> Image:
    """What is written, modulo 256 where there are only bytes: both bytes of a pixel tell their order."""
    return np.random.default_rng(0).poisson(9000, (3, 24, 32)).astype(np.uint16)


def _library(name: str) -> Any:
    return import_module(name)


# Writers and readers that bench/fileformats.py does not have


def _write_mrc(dtype: str, path: Path, images: Image, **header: Any) -> None:
    with _library("mrcfile").new(path) as mrc:
        mrc.set_data((images % 128 if dtype == "i1" else images).astype(dtype))
        mrc.set_image_stack()
        for name, value in header.items():
            getattr(mrc, name)(value)


def _write_extended_mrc(path: Path, images: Image) -> None:
    _write_mrc("f4", path, images, set_extended_header=np.frombuffer(bytes(range(200)) * 8, "V1"))


def _read_mrc(unpack: Callable[[bytes], bytes], path: Path) -> Iterable[Image]:
    interpreter = _library("mrcfile.mrcinterpreter").MrcInterpreter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = interpreter(iostream=io.BytesIO(unpack(path.read_bytes())), permissive=True).data
    if data is None:
        raise ValueError("mrcfile finds no pixels")
    return np.asarray(data).reshape(-1, *data.shape[-2:])


def _unchanged(data: bytes) -> bytes:
    return data


def _write_tiff(options: Mapping[str, Any], dtype: str, path: Path, images: Image) -> None:
    options = dict(options)
    order, big = options.pop("byteorder", "<"), options.pop("bigtiff", False)
    with _library("tifffile").TiffWriter(path, byteorder=order, bigtiff=big) as tiff:
        for image in images.astype(dtype):
            tiff.write(image, photometric="minisblack", metadata=None, contiguous=False, **options)


def _write_colour_tiff(path: Path, images: Image) -> None:
    colour = np.stack([images, images + 1, images + 2], -1).astype("u1")
    _library("tifffile").imwrite(path, colour, photometric="rgb", metadata=None, compression="lzw")


def _read_tiff(path: Path) -> Iterable[Image | None]:
    with _library("tifffile").TiffFile(path) as tiff:
        for index in count():  # one by one, up to a damaged directory
            try:
                page = tiff.pages[index]
            except IndexError:
                return
            yield _or_none(partial(page.asarray, maxworkers=1))


def _or_none(read: Callable[[], Image]) -> Image | None:
    """What a library reads; None if it refuses."""
    try:
        return read()
    except Exception:
        return None


def _write_h5(options: Mapping[str, Any], dtype: str, path: Path, images: Image) -> None:
    _library("hdf5plugin")
    with _library("h5py").File(path, "w") as file:
        file.create_dataset("data", data=images.astype(dtype), **options)


def _write_nexus(path: Path, images: Image) -> None:
    with _library("h5py").File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update({"NX_class": "NXentry", "default": "data"})
        data = entry.create_group("data")
        data.attrs.update({"NX_class": "NXdata", "signal": "data"})
        data.create_dataset("data", data=images, chunks=(1, *images.shape[1:]), compression="gzip")
        data.create_dataset("other", data=images + 1)


def _read_h5(dataset: str, path: Path) -> Iterable[Image | None]:
    _library("hdf5plugin")
    with _library("h5py").File(path) as file:
        for index in range(len(file[dataset])):
            yield _or_none(partial(file[dataset].__getitem__, index))


def _write_zarr(version: int, options: Mapping[str, Any], path: Path, images: Image) -> None:
    shutil.rmtree(path, ignore_errors=True)
    array = _library("zarr").create_array(
        path, shape=images.shape, dtype=images.dtype, zarr_format=version, **options
    )
    array[...] = images


def _read_npy(path: Path) -> Iterable[Image]:
    images: Image = np.load(path)
    return images if images.ndim > 2 else images[None]


def _write_fits(dtype: str, path: Path, images: Image) -> None:
    fits = _library("astropy.io.fits")
    fits.PrimaryHDU(images.astype(dtype)).writeto(path)


def _read_fits(path: Path) -> Iterable[Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _library("astropy.io.fits").open(path) as images:
            data = next(image.data for image in images if image.data is not None)
            return np.array(data).reshape(-1, *data.shape[-2:])


def _write_png(path: Path, images: Image) -> None:
    path.write_bytes(_library("imagecodecs").png_encode(images[0].astype("u1")))


def _read_pillow(path: Path) -> Iterable[Image]:
    with _library("PIL.Image").open(path) as image:
        return [np.asarray(image)]


def _read_fabio(path: Path) -> Iterable[Image]:
    with _library("fabio").open(str(path)) as image:
        # It takes another frame of a file of one for that of another file.
        return [image.getframe(index).data if index else image.data for index in range(image.nframes)]


def _write_by_test(module: str, name: str, options: Mapping[str, Any], path: Path, images: Image) -> None:
    getattr(_library(module), name)(path, images, **options)


def _write_mode_101(path: Path, images: Image) -> None:
    _library("test_4bit").write_mode_101(path, (images % 16).astype("u1"))


def _read_mode_101(path: Path) -> Iterable[Image]:
    """Two pixels a byte, the first in the low bits; rows of whole bytes."""
    data = path.read_bytes()
    order = ">" if data[212] == 0x11 else "<"
    x, y, n, mode = np.frombuffer(data, f"{order}i4", 4).tolist()
    (extended,) = np.frombuffer(data, f"{order}i4", 1, 92).tolist()
    if mode != 101:
        raise ValueError(f"mode {mode}")
    size = (x + 1) // 2 * y
    for place in range(1024 + extended, 1024 + extended + n * size, size):
        packed = np.frombuffer(data, "u1", size, place).reshape(y, -1)
        yield np.stack([packed & 15, packed >> 4], -1).reshape(y, -1)[:, :x]


def _write_4_bits(path: Path, images: Image) -> None:
    _library("test_4bit").write_bits_per_sample_4(path, (images[0] % 16).astype("u1"))


def _write_dng(path: Path, images: Image) -> None:
    camera = _library("test_camera")
    camera.write_dng(path, camera.bayer(), **camera.LOSSLESS)


def _write_text(text: str, path: Path, images: Image) -> None:
    """A list, or what else names files: two MRC files beside it."""
    for name in ("a.mrc", "b.mrc"):
        if not (path.parent / name).exists():
            _write_mrc("u2", path.parent / name, images)
    path.write_text(text)


def _write_sensor(dtype: str, path: Path, images: Image) -> None:
    movies = [path.parent / f"{name}_{dtype}.mrc" for name in "ab"]
    for movie in movies:
        if not movie.exists():
            _write_mrc(dtype, movie, images)
    _library("camnorm").measure(movies, path, screen="off", response=True)


def _read_sensor(path: Path) -> Iterable[Image]:
    """Count, sums and sums of squares."""
    with _library("h5py").File(path) as file:
        halves = [file["halves/A"], file["halves/B"]]
        yield np.array([sum(int(half.attrs["count"]) for half in halves)])
        for name in ("sum", "sum_of_squares"):
            if name in halves[0]:
                total = sum(half[name][()].astype(np.int64) for half in halves)
                yield np.asarray(total, np.float64)
            else:
                parts = [half[f"{name}_{part}"][()] for part in ("low", "high") for half in halves]
                yield np.asarray(sum(part.astype(np.longdouble) for part in parts), np.float64)


def _write_checkpoint(path: Path, images: Image) -> None:
    """The checkpoint of a measurement of two movies, the second of which was not read yet."""
    _write_text("", path.parent / "unused.txt", images)
    script = """
import sys
from camnorm import measure
from camnorm.sizes import divided
def stop(report):
    if report.frames:
        raise KeyboardInterrupt
try:
    with divided(checkpoint_seconds=0, checkpoint_share=0):
        measure(sys.argv[2:], sys.argv[1], screen="off", threads=1, progress=stop)
except KeyboardInterrupt:
    pass
"""
    output = path.with_suffix("")
    movies = [path.parent / name for name in ("a.mrc", "b.mrc")]
    command = [sys.executable, "-c", script, str(output), *map(str, movies)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)


def _read_moments_of_movies(path: Path) -> Iterable[Image]:
    """Count, sums and sums of squares of both movies."""
    images = np.concatenate([frames(), frames()]).astype(np.int64)
    yield np.array([len(images)])
    for power in (1, 2):
        yield (images**power).sum(0).astype(np.float64)


def _write_manifest(path: Path, images: Image) -> None:
    """The manifest of a movie, which with its correction stays beside it."""
    camnorm = _library("camnorm")
    movie = path.parent / "movie.mrc"
    if not movie.exists():
        _write_mrc("u2", movie, images)
    sensor = camnorm.measure(movie, screen="off")
    (written,) = camnorm.correct(movie, sensor, path.parent, virtual=True, overwrite=True)
    if written != path:
        written.replace(path)


def _all() -> Iterable[Sample]:
    for known in _library("fileformats").FORMATS.values():
        write: Write = known.write
        packing = {"MRC.gz": "gzip", "MRC.bz2": "bzip2", "MRC.zst": "zstd"}.get(known.name, "")
        options = {"eer_grouping": 1} if known.name == "EER" else {}
        read: Read | None = known.read if known.decoded else None
        if known.name == "PNG" or known.name == "JPEG":
            read = _read_pillow
        elif packing:
            read = partial(_read_mrc, partial(unpack, packing))
        elif known.name == "MRC":
            read = partial(_read_mrc, _unchanged)
        elif known.name.startswith("FITS"):
            read = _read_fits
        elif known.reader == "fabio":
            read = _read_fabio
        elif known.name.startswith("TIFF"):
            read = _read_tiff
        elif known.name.startswith("HDF5"):
            read = partial(_read_h5, "data")
        yield Sample(known.name, known.suffix, write, read, options=options, packing=packing)
    for mode, dtype in ((0, "i1"), (1, "i2"), (2, "f4"), (12, "f2")):
        name = f"MRC, mode {mode}"
        yield Sample(name, ".mrc", partial(_write_mrc, dtype), partial(_read_mrc, _unchanged))
    yield Sample("MRC, extended header", ".mrc", _write_extended_mrc, partial(_read_mrc, _unchanged))
    yield Sample("MRC, mode 101", ".mrc", _write_mode_101, _read_mode_101)
    yield from _tiff()
    yield from _hdf5()
    read_zarr = _library("fileformats")._read_zarr
    chunk = (1, 24, 32)
    for version in (2, 3):
        plain = partial(_write_zarr, version, {"chunks": chunk, "compressors": None})
        yield Sample(f"Zarr {version}, plain", ".zarr", plain, read_zarr)
    sharded = partial(_write_zarr, 3, {"chunks": chunk, "shards": (3, 24, 32)})
    yield Sample("Zarr 3, shards", ".zarr", sharded, read_zarr)
    yield Sample("FITS, float", ".fits", partial(_write_fits, ">f4"), _read_fits)
    yield Sample("FITS.gz", ".fits.gz", partial(_write_fits, ">i2"), _read_fits, packing="gzip")
    yield Sample("PNG, 8 bits", ".png", _write_png, _read_pillow)
    for version in (1, 2):
        yield Sample(f"TVIPS {version}", ".tvips", _by_test("test_vendor", "write_tvips", version=version))
    yield Sample("DM3", ".dm3", _by_test("test_vendor", "write_dm", version=3, order=">"))
    yield from _of_camnorm()


def _by_test(module: str, name: str, **options: Any) -> Write:
    return partial(_write_by_test, module, name, options)


def _tiff() -> Iterable[Sample]:
    variants: dict[str, tuple[dict[str, Any], str]] = {
        "big-endian": ({"byteorder": ">"}, ">u2"),
        "BigTIFF": ({"bigtiff": True}, "f4"),
        "tiles": ({"tile": (16, 16)}, "u2"),
        "strips": ({"rowsperstrip": 5}, "i2"),
        "bytes": ({}, "u1"),
        "float16": ({}, "f2"),
        "packbits": ({"compression": "packbits"}, "u1"),
        "lzw, predictor": ({"compression": "lzw", "predictor": True}, "u2"),
        "deflate, predictor": ({"compression": "zlib", "predictor": True}, "f4"),
        "lzma": ({"compression": "lzma"}, "u2"),
        "jpeg": ({"compression": "jpeg"}, "u1"),
        "jpeg2000": ({"compression": "jpeg2000"}, "u2"),
        "lerc": ({"compression": "lerc"}, "u2"),
    }
    for name, (options, dtype) in variants.items():
        yield Sample(f"TIFF, {name}", ".tif", partial(_write_tiff, options, dtype), _read_tiff)
    yield Sample("TIFF, colour", ".tif", _write_colour_tiff, _read_tiff)
    yield Sample("TIFF, 4 bits", ".tif", _write_4_bits, _read_tiff)


def _hdf5() -> Iterable[Sample]:
    chunks = (1, 24, 32)
    variants: dict[str, tuple[dict[str, Any], str]] = {
        "big-endian": ({}, ">u2"),
        "float": ({}, "f4"),
        "fletcher32": ({"chunks": chunks, "fletcher32": True}, "u2"),
        "lzf": ({"chunks": chunks, "compression": "lzf"}, "u2"),
        "scaleoffset": ({"chunks": chunks, "scaleoffset": 0}, "u2"),
        "shuffle": ({"chunks": chunks, "shuffle": True}, "u2"),
        "odd chunks": ({"chunks": (2, 10, 7), "compression": "gzip"}, "u2"),
    }
    for name, (options, dtype) in variants.items():
        write = partial(_write_h5, options, dtype)
        yield Sample(f"HDF5, {name}", ".h5", write, partial(_read_h5, "data"))
    yield Sample("NeXus", ".nxs", _write_nexus, partial(_read_h5, "entry/data/data"))


_STAR = """# version 30001

data_movies

loop_
_rlnMicrographMovieName #1
_rlnOpticsGroup #2
a.mrc 1
b.mrc 1
"""
_MDOC = """PixelSpacing = 1.5
ImageSize = 32 24

[ZValue = 0]
SubFramePath = D:\\x\\a.mrc

[ZValue = 1]
SubFramePath = D:\\x\\b.mrc
"""


def _of_camnorm() -> Iterable[Sample]:
    table = "file,index,mean,std,min,max,half,status,reason\n" + "".join(
        f"{name}.mrc,{index},9000,95,8600,9400,{half},accepted,\n"
        for name, half in (("a", "A"), ("b", "B"))
        for index in range(3)
    )
    yield Sample("list", ".txt", partial(_write_text, "a.mrc\nb.mrc\n"), task="inputs")
    yield Sample("STAR", ".star", partial(_write_text, _STAR), task="inputs")
    yield Sample("mdoc", ".mdoc", partial(_write_text, _MDOC), task="inputs")
    yield Sample("frame list", ".csv", partial(_write_text, table), task="frame list")
    yield Sample("manifest", ".camnorm.json", _write_manifest)
    yield Sample("sensor", ".h5", partial(_write_sensor, "u2"), _read_sensor, task="sensor")
    yield Sample("sensor of floats", ".h5", partial(_write_sensor, "f4"), _read_sensor, task="sensor")
    yield Sample(
        "checkpoint", ".measured.h5.checkpoint", _write_checkpoint, _read_moments_of_movies, task="checkpoint"
    )


# Compression of whole files


def pack(packing: str, data: bytes) -> bytes:
    """Compress a file."""
    packed: bytes
    if packing == "gzip":
        packed = _library("gzip").compress(data, 1)
    elif packing == "bzip2":
        packed = _library("bz2").compress(data)
    else:
        packed = _library("zstandard").ZstdCompressor().compress(data)
    return packed


def unpack(packing: str, data: bytes) -> bytes:
    """Decompress a file; what is behind a damage is lost."""
    if packing == "gzip":
        decompressor: Any = zlib.decompressobj(wbits=31)
    elif packing == "bzip2":
        decompressor = _library("bz2").BZ2Decompressor()
    else:
        decompressor = _library("zstandard").ZstdDecompressor().decompressobj()
    unpacked: bytes = decompressor.decompress(data)
    return unpacked


def samples() -> dict[str, Sample]:
    """All of them, by name."""
    return {sample.name: sample for sample in _all()}
