"""Whole commands over movies: camnorm, RELION, and what one writes with tifffile or libtiff and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import harness
import relion
from harness import Run, Skipped, bytes_text, seconds_text, table

__all__ = ["compare", "decode_and_sum", "deviations", "make", "text"]

_ROWS = 16  # in a strip
_ELECTRONS = 0.02  # a pixel and page of EER
# Relative deviations of the mean image from camnorm's. RELION writes its inverse in float32.
_TOLERANCE = {"relion": 1e-5, "tifffile": 1e-12, "libtiff": 1e-12}


class _Movies(NamedTuple):
    name: str
    kind: str
    files: int
    frames: int
    """In each file."""
    peers: tuple[str, ...]
    own_options: tuple[str, ...] = ()
    """With these and those of RELION, both count the same frames."""
    relion_options: tuple[str, ...] = ()


_EER_OPTIONS = ("--eer_upsampling", "1", "--dont_invert")  # of EER it writes mean counts only
_MOVIES = (
    _Movies("MRC", "mrcs", 4, 16, ("relion",)),
    _Movies("TIFF, LZW", "lzw", 4, 24, ("relion", "tifffile", "libtiff")),
    _Movies("TIFF, deflate", "deflate", 4, 24, ("relion", "tifffile", "libtiff")),
    _Movies("EER", "eer", 2, 240, ("relion",), ("--eer-grouping", "1"), _EER_OPTIONS),
)
_EER_SHAPE = (4096, 4096)  # RELION knows no other


class Job(Protocol):
    """What `peers.py` tells its sections."""

    @property
    def directory(self) -> Path: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def threads(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def contenders(self) -> frozenset[str]: ...
    def path(self, name: str) -> Path: ...
    def clean(self) -> None: ...


def compare(job: Job) -> list[dict[str, Any]]:
    """Each kind of movies by all contenders, which take turns: the best of several runs."""
    rows: list[dict[str, Any]] = []
    for movies in _MOVIES:
        if movies.kind != "eer" or job.shape == _EER_SHAPE:
            rows += _compare(job, movies)
        job.clean()
    return rows


def _compare(job: Job, movies: _Movies) -> Iterator[dict[str, Any]]:
    frames = movies.frames if job.shape == _EER_SHAPE else 4
    suffix = f".{movies.kind}" if movies.kind in ("mrcs", "eer") else ".tif"
    stem = "_".join(["movies", movies.kind, *map(str, job.shape), str(frames)])
    files = [job.directory / f"{stem}_{number}{suffix}" for number in range(movies.files)]
    if not all(file.exists() for file in files):
        harness.work("movies.make", paths=files, kind=movies.kind, shape=job.shape, frames=frames)
    harness.warm(files)
    sensor = job.path("sensor.h5")
    results = {name: job.path(f"{name}.mrc" if name == "relion" else f"{name}.npy") for name in movies.peers}

    def own() -> Run:
        sensor.unlink(missing_ok=True)
        return harness.camnorm("measure", *files, "-o", sensor, "--screen", "off", *movies.own_options)

    def summed(library: str) -> Run:
        options = {"library": library, "threads": job.threads, "result": results[library]}
        return harness.work("movies.decode_and_sum", paths=files, **options)[1]

    calls: dict[str, Callable[[], Run]] = {"camnorm": own}
    for name in movies.peers:
        if name == "relion":
            star, gain = job.path("movies.star"), results[name]
            calls[name] = partial(
                relion.estimate_gain, files, star, gain, job.threads, *movies.relion_options
            )
        else:
            calls[name] = partial(summed, name)
    common = {"files": movies.name, "frames": frames * movies.files}
    runs: dict[str, list[Run]] = {}
    for _ in range(job.repeats):
        for name, call in list(calls.items()):
            try:
                runs.setdefault(name, []).append(call())
            except Skipped as reason:
                del calls[name]
                yield {**common, "contender": name, "skipped": str(reason)}
    compared = {name: str(results[name]) for name in runs if runs[name] and name != "camnorm"}
    found, _ = harness.work("movies.deviations", sensor=sensor, results=compared, kind=movies.kind)
    for name, deviation in found.items():
        if not deviation <= _TOLERANCE[name]:
            raise SystemExit(f"{name} and camnorm do not agree on {movies.name}: {deviation}")
    for name, some in runs.items():
        if some:
            yield {**common, "contender": name, **_best(some, runs["camnorm"])}


def _best(runs: list[Run], own: list[Run]) -> dict[str, float]:
    """Least time and processor time, and what they are beside camnorm's."""
    seconds, processor = (min(getattr(run, name) for run in runs) for name in ("seconds", "processor"))
    return {
        "seconds": seconds,
        "processor": processor,
        "peak": max(run.peak for run in runs),
        "ratio": seconds / min(run.seconds for run in own),
        "processor_ratio": processor / min(run.processor for run in own),
    }


_LABELS = {
    "camnorm": "camnorm measure",
    "relion": relion.COMMAND,
    "tifffile": "tifffile and NumPy",
    "libtiff": "libtiff (imagecodecs) and NumPy",
}


def text(rows: list[dict[str, Any]]) -> str:
    """The table of `compare`."""
    header = [
        "files: contender",
        "frames",
        "whole command",
        "ratio",
        "processor time",
        "ratio",
        "peak memory",
    ]
    lines = []
    for row in rows:
        name = f"{row['files']}: {_LABELS[row['contender']]}"
        if "skipped" in row:
            lines.append([name, f"skipped: {row['skipped']}", *[""] * 5])
            continue
        lines.append(
            [
                name,
                str(row["frames"]),
                seconds_text(row["seconds"]),
                f"{row['ratio']:.1f}",
                seconds_text(row["processor"]),
                f"{row['processor_ratio']:.1f}",
                bytes_text(row["peak"]),
            ]
        )
    return "### Whole commands over movies\n\n" + table(header, lines)


# What worker.py runs.


def make(paths: list[str], kind: str, shape: tuple[int, int], frames: int) -> None:
    """Write movies of one electron a pixel under a pattern of 5 %; of EER, 0.02 electrons."""
    import numpy as np

    rng = np.random.default_rng(1)
    if kind == "eer":
        pages = [_page(rng, shape) for _ in range(16)]
        for path in paths:
            _write_eer(path, [pages[i] for i in rng.integers(len(pages), size=frames)], shape)
        return
    pattern = np.maximum(1 + 0.05 * rng.standard_normal(shape, np.float32), 0)
    several = [rng.poisson(pattern).astype(np.uint8) for _ in range(24)]
    for path in paths:
        movie = [several[i] for i in rng.integers(len(several), size=frames)]
        if kind == "mrcs":
            from worker import write_mrc

            write_mrc(path, "uint8", shape, frames, movie)
            continue
        import tifffile

        with tifffile.TiffWriter(path) as tiff:
            for frame in movie:
                tiff.write(frame, compression=kind, rowsperstrip=_ROWS, contiguous=False, metadata=None)


def _page(rng: Any, shape: tuple[int, int]) -> bytes:
    """A page of EER with 7 bits of run length and 2 + 2 of the place in the pixel."""
    import numpy as np

    pixels = shape[0] * shape[1]
    hits = np.append(np.flatnonzero(rng.random(pixels) < _ELECTRONS), pixels)
    gaps = np.diff(hits, prepend=-1) - 1
    full, rest = gaps // 127, gaps % 127
    # Codes of 7 bits for full runs, of 11 for electrons; the last run has none.
    starts = np.cumsum(full + 1) - 1
    codes, lengths = np.full(starts[-1] + 1, 127, np.uint16), np.full(starts[-1] + 1, 7)
    codes[starts] = rest + 128 * rng.integers(16, size=rest.size)
    lengths[starts[:-1]] = 11
    bits = np.unpackbits(codes.astype("<u2").view(np.uint8).reshape(-1, 2), axis=1, bitorder="little")
    data = np.packbits(bits[np.arange(16) < lengths[:, None]], bitorder="little").tobytes()
    return data + bytes(-len(data) % 8)


def _write_eer(path: str, pages: list[bytes], shape: tuple[int, int]) -> None:
    from fileformats import test_writer

    test_writer("eer_files", "write_eer")(Path(path), pages, shape=shape)


def decode_and_sum(paths: list[str], library: str, threads: int, result: str) -> None:
    """Mean and sigma of all frames: decoded by threads, and added in float64 by as many."""
    import imagecodecs
    import numpy as np
    import tifffile

    def frames_of(path: str) -> Iterator[Any]:
        with tifffile.TiffFile(path) as tiff:
            if library == "tifffile":
                yield from (page.asarray(maxworkers=1) for page in tiff.pages)
                return
            count = len(tiff.pages)
        data = Path(path).read_bytes()
        yield from (imagecodecs.tiff_decode(data, i) for i in range(count))

    def add(path: str) -> tuple[Any, Any, int]:
        total = squares = None
        count = 0
        for frame in frames_of(path):
            values = frame.astype(np.float64)
            if total is None:
                total, squares = np.zeros_like(values), np.zeros_like(values)
            total += values
            values *= values
            squares += values
            count += 1
        return total, squares, count

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(add, paths))
    count = sum(part[2] for part in parts)
    mean = sum(part[0] for part in parts) / count
    sigma = np.sqrt(np.maximum(sum(part[1] for part in parts) / count - mean * mean, 0))
    np.save(result, np.stack([mean, sigma]))


def deviations(sensor: str, results: dict[str, str], kind: str) -> dict[str, float]:
    """Largest relative deviation of each mean image from camnorm's."""
    import mrcfile
    import numpy as np

    import camnorm

    own = camnorm.Sensor.load(sensor).mean
    seen = own > 0
    found = {}
    for name, path in results.items():
        if name == "relion":
            mean = mrcfile.read(path).astype(np.float64)
            if kind != "eer":
                np.divide(1.0, mean, out=mean, where=mean > 0)
            if kind not in ("mrcs", "eer"):
                mean = mean[::-1]  # RELION reads the last row of a TIFF file first
            # Whatever scale a version gives it.
            mean *= own[seen].mean() / mean[seen].mean()
        else:
            mean = np.load(path)[0]
        found[name] = float(np.max(np.abs(mean[seen] / own[seen] - 1)))
    return found
