"""What the benchmarks run in processes of their own: ``worker.py TASK OPTIONS``.

TASK is a function of this file, or ``MODULE.FUNCTION`` of one beside it, OPTIONS its arguments as JSON;
what it returns is printed as JSON. Peers may be installed elsewhere than camnorm: every function imports
what it needs itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PIECE = 2**22  # bytes read or written at a time: a buffer that stays in the cache
_MRC_MODES = {"uint8": 0, "uint16": 6, "float32": 2}
_MRC_HEADER_BYTES = 1024


def best(call: Callable[[], Any], repeats: int, before: Callable[[], Any] | None = None) -> list[float]:
    """Seconds of each of several calls; nothing that one returns is kept over the next.

    What is to be done `before` each is not timed.
    """
    seconds = []
    for _ in range(repeats):
        if before is not None:
            before()
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return seconds


# Files


def make(paths: Sequence[str], dtype: str, shape: tuple[int, int], frames: int, compression: str) -> None:
    """Write movies of noise under a fixed pattern of 2 %, with values that all the readers agree on.

    Bytes end at 127, since some programs take those of an MRC file for signed. Noise is drawn once and
    laid at another place under every frame.
    """
    pixels = math.prod(shape)
    mean, sigma = {"uint8": (40.0, 6.0), "uint16": (1000.0, 32.0), "float32": (40.0, 6.0)}[dtype]
    rng = np.random.default_rng(1)
    spare = max(1, pixels // 4)
    noise = sigma * rng.standard_normal(pixels + spare, np.float32)
    pattern = mean * (1 + 0.02 * rng.standard_normal(pixels, np.float32))
    for path in paths:
        movie = (
            _frame(noise[k : k + pixels] + pattern, dtype).reshape(shape)
            for k in rng.integers(spare, size=frames)
        )
        # Under another name first: a file that is there is whole.
        unfinished = Path(path).with_suffix(".unfinished")
        if compression:
            import tifffile

            with tifffile.TiffWriter(unfinished) as tiff:
                for frame in movie:
                    tiff.write(
                        frame, compression=compression, rowsperstrip=shape[0], contiguous=False, metadata=None
                    )
        else:
            write_mrc(unfinished, dtype, shape, frames, movie)
        unfinished.replace(path)


def write_mrc(
    path: str | Path, dtype: str, shape: tuple[int, int], count: int, frames: Iterable[NDArray[Any]]
) -> None:
    """Write a movie whose bytes all programs take for what they are."""
    with open(path, "wb") as file:
        file.write(_mrc_header(dtype, shape, count))
        for frame in frames:
            file.write(frame.data)


def _frame(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if dtype == "float32":
        return values
    return np.rint(np.clip(values, 0, 127 if dtype == "uint8" else 65535)).astype(dtype)


def _mrc_header(dtype: str, shape: tuple[int, int], frames: int) -> bytes:
    import mrcfile.dtypes

    header = np.zeros((), mrcfile.dtypes.HEADER_DTYPE)
    header["nx"], header["ny"], header["nz"] = shape[1], shape[0], frames
    header["mx"], header["my"], header["mz"] = shape[1], shape[0], 1
    header["mode"] = _MRC_MODES[dtype]
    header["cella"] = (shape[1], shape[0], 1)
    header["cellb"] = 90
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["dmax"], header["dmean"], header["rms"] = -1, -2, -1  # not known
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0)
    # IMOD's stamp, without which camnorm takes bytes for signed, as the others always do.
    header["extra2"] = (1146047817).to_bytes(4, "little").rjust(44, b"\0").ljust(84, b"\0")
    return header.tobytes()


# camnorm


def versions(packages: list[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for package in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def build_info() -> dict[str, Any]:
    import camnorm

    return dict(camnorm.build_info())


def measure(inputs: list[str], output: str | None, threads: int, repeats: int) -> list[float]:
    import camnorm

    # Files are listed several times, and copies would be taken back.
    return best(lambda: camnorm.measure(inputs, output, screen="off", threads=threads), repeats)


def correct(
    inputs: list[str], sensor: str, out_dir: str, threads: int, repeats: int, **options: Any
) -> list[float]:
    import camnorm

    loaded = camnorm.Sensor.load(sensor)

    def run() -> None:
        camnorm.correct(inputs, loaded, out_dir, threads=threads, **options)

    return best(run, repeats, before=partial(shutil.rmtree, out_dir, ignore_errors=True))


# Peers: moments. Each leaves the images under `result`, as a user would, after the time is taken.


def numpy_moments(paths: list[str], result: str, repeats: int) -> list[float]:
    """Sums of frames and of their squares in float64, in a plain loop."""
    import mrcfile

    images: list[NDArray[np.float64]] = []

    def run() -> None:
        total: Any = 0
        squares: Any = 0
        count = 0
        for path in paths:
            with mrcfile.mmap(path) as movie:
                for frame in movie.data:
                    values = frame.astype(np.float64)
                    total += values
                    squares += values * values
                    count += 1
        mean = total / count
        images[:] = mean, np.sqrt(squares / count - mean * mean)

    seconds = best(run, repeats)
    _save(result, images)
    return seconds


def libertem_moments(paths: list[str], result: str, executor: str, threads: int, repeats: int) -> list[float]:
    """LiberTEM's StdDevUDF. Its reader takes one file: movies are put together by its own merge."""
    import libertem.api
    from libertem.udf.stddev import StdDevUDF, merge

    images: list[NDArray[np.float64]] = []
    cpus = None if executor == "inline" else threads
    with libertem.api.Context.make_with(executor, cpus=cpus) as context:

        def run() -> None:
            count = 0
            for path in paths:
                dataset = context.load("mrc", path=path)
                part = context.run_udf(dataset, StdDevUDF())
                n = int(np.asarray(part["num_frames"].data).flat[0])
                shape = part["sum"].data.shape
                sums, deviations = (np.asarray(part[name].data).reshape(-1) for name in ("sum", "varsum"))
                if count == 0:
                    count, total, squares = n, sums, deviations
                else:
                    count = merge(count, total, squares, n, sums, deviations, sums / n)
            images[:] = (total / count).reshape(shape), np.sqrt(squares / count).reshape(shape)

        seconds = best(run, repeats)
    _save(result, images)
    return seconds


def _save(result: str, images: Sequence[NDArray[np.float64]]) -> None:
    for name, image in zip(("mean", "sigma"), images, strict=True):
        np.save(f"{result}_{name}.npy", image)


def compare_moments(sensor: str, results: dict[str, str]) -> dict[str, dict[str, float]]:
    """Largest relative deviations of others' images from camnorm's."""
    import camnorm

    own = camnorm.Sensor.load(sensor)
    found = {}
    for name, result in results.items():
        if name == "relion":
            # Its gain is the mean over the image by the mean of the pixel, in float32.
            import mrcfile

            inverse = 1.0 / np.asarray(mrcfile.read(result), np.float64).reshape(own.shape)
            mean = inverse * (own.mean.mean() / inverse.mean())
            found[name] = {"mean": _deviation(mean, own.mean)}
        else:
            found[name] = {
                "mean": _deviation(np.load(f"{result}_mean.npy"), own.mean),
                "sigma": _deviation(np.load(f"{result}_sigma.npy"), own.sigma),
            }
    return found


def _deviation(image: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(image - own) / own))


# Peers: ring correlation of the first frames of two files


def camnorm_frc(paths: list[str], result: str, threads: int, repeats: int) -> list[float]:
    import camnorm

    a, b = _pair(paths)
    first = best(lambda: camnorm.frc(a, b, binning="floor", threads=threads), 1)
    seconds = best(lambda: camnorm.frc(a, b, binning="floor", threads=threads), repeats)
    curve = camnorm.frc(a, b, binning="floor", threads=threads)
    assert not isinstance(curve, list)  # as for colour frames
    np.save(result, curve.correlation)
    return first + seconds


def frc_frc(paths: list[str], result: str, threads: int, repeats: int) -> list[float]:
    """The package frc, in the precision that it chooses; it has no option for threads."""
    import frc

    # As the others: the mean is no part of the comparison, and costs accuracy.
    a, b = (np.ascontiguousarray(frame - frame.mean()) for frame in _pair(paths))
    seconds = best(lambda: frc.two_frc(a, b), repeats + 1)
    np.save(result, frc.two_frc(a, b))
    return seconds


def scipy_frc(paths: list[str], result: str, threads: int, repeats: int) -> list[float]:
    """Real transforms by scipy and sums over rings by bincount, as one would write it."""
    import scipy.fft

    a, b = _pair(paths)

    def run() -> NDArray[np.float64]:
        fa, fb = (scipy.fft.rfft2(frame - frame.mean(dtype=np.float64), workers=threads) for frame in (a, b))
        height, width = a.shape
        ky = np.fft.fftfreq(height, 1 / height)[:, None]
        kx = np.arange(width // 2 + 1)
        ring = np.hypot(ky, kx).astype(np.intp).reshape(-1)
        twice = np.where((kx == 0) | (2 * kx == width), 1.0, 2.0)  # columns whose mates are left out

        def sums(values: NDArray[Any]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(ring, (values * twice).reshape(-1)), np.float64)

        cross = sums((fa * fb.conj()).real)
        power = sums(fa.real**2 + fa.imag**2) * sums(fb.real**2 + fb.imag**2)
        with np.errstate(invalid="ignore"):
            return np.asarray((cross / np.sqrt(power))[: min(height, width) // 2])

    seconds = best(run, repeats + 1)
    np.save(result, run())
    return seconds


def compare_frc(own: str, results: dict[str, str]) -> dict[str, float]:
    """Largest deviations of others' curves from camnorm's, without the zero frequency."""
    curve = np.load(own)
    return {
        name: float(np.abs(other[1:] - curve[1 : other.size]).max())
        for name, other in ((name, np.load(path)) for name, path in results.items())
    }


def _pair(paths: list[str]) -> list[NDArray[np.float32]]:
    shape = None
    pair = []
    for path in paths:
        nx, ny = np.fromfile(path, "<i4", 2)
        shape = int(ny), int(nx)
        frame = np.fromfile(path, "<f4", math.prod(shape), offset=_MRC_HEADER_BYTES)
        pair.append(frame.reshape(shape))
    return pair


# References: what cannot be done without


def pread(paths: list[str], threads: int, repeats: int) -> list[float]:
    """Read files into a small buffer a thread, which is used again and again."""
    local = threading.local()

    def read(piece: tuple[int, int]) -> None:
        if not hasattr(local, "buffer"):
            local.buffer = [bytearray(_PIECE)]
        os.preadv(piece[0], local.buffer, piece[1])

    def run() -> None:
        files = {path: os.open(path, os.O_RDONLY) for path in set(paths)}
        sizes = {path: os.fstat(file).st_size for path, file in files.items()}
        with ThreadPoolExecutor(threads) as pool:
            pieces = ((files[path], start) for path in paths for start in range(0, sizes[path], _PIECE))
            list(pool.map(read, pieces))
        for file in files.values():
            os.close(file)

    return best(run, repeats)


def decode(paths: list[str], compression: str, threads: int, repeats: int) -> list[float]:
    """Read and decode all the pages of TIFF files into one frame a thread, and do nothing with them."""
    import imagecodecs
    import tifffile

    decoder = {"lzw": imagecodecs.lzw_decode, "zstd": imagecodecs.zstd_decode}[compression]
    local = threading.local()

    def read(page: tuple[int, int, int, int]) -> None:
        file, offset, size, count = page
        if not hasattr(local, "frame"):
            local.frame = bytearray(count)
        decoder(os.pread(file, size, offset), out=local.frame)

    def run() -> None:
        files = {}
        pages: dict[str, list[tuple[int, int, int, int]]] = {}
        for path in set(paths):
            file = files[path] = os.open(path, os.O_RDONLY)
            with tifffile.TiffFile(path) as tiff:
                pages[path] = [
                    (file, page.dataoffsets[0], page.databytecounts[0], page.nbytes) for page in tiff.pages
                ]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read, (page for path in paths for page in pages[path])))
        for file in files.values():
            os.close(file)

    return best(run, repeats)


def copy(paths: list[str], out_dir: str, times: int, threads: int, repeats: int) -> list[float]:
    """Read each file and write `times` its bytes to a new one, which is put in its place when on disk."""

    def one(path: str, buffer: bytearray) -> None:
        target = Path(out_dir, Path(path).name)
        temporary = target.with_suffix(".tmp")
        with open(path, "rb", buffering=0) as source, open(temporary, "wb", buffering=0) as file:
            while count := source.readinto(buffer):
                for _ in repeat(None, times):
                    file.write(memoryview(buffer)[:count])
            os.fsync(file.fileno())
        temporary.replace(target)
        directory = os.open(out_dir, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def run() -> None:
        Path(out_dir).mkdir()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, paths, [bytearray(_PIECE) for _ in paths]))

    # Not to replace files: to free the memory of old ones takes as long as to write.
    return best(run, repeats, before=partial(shutil.rmtree, out_dir, ignore_errors=True))


def main() -> None:
    try:
        module, _, name = sys.argv[1].rpartition(".")
        task = getattr(import_module(module), name) if module else globals()[name]
        result = task(**json.loads(sys.argv[2]))
    except ModuleNotFoundError as error:
        result = {"missing": error.name}
    print(json.dumps(result))


if __name__ == "__main__":  # executors of LiberTEM start this file again
    main()
