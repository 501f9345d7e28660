"""Decoding and adding compressed movies beside decoding them alone, on the same threads.

Of each movie: frames a second that tifffile decodes, pages shared among the threads; that libtiff decodes,
through imagecodecs; that the codec alone decodes, of strips in memory; and that camnorm decodes and adds to
exact sums, with statistics. All take turns in one process; the median of the ratios is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

import camnorm
from camnorm.io import open_frames
from harness import HERE, put_into, table

SIDE = 4096
ROUNDS = 5
DECODERS: dict[str, Callable[..., Any]] = {
    "lzw": imagecodecs.lzw_decode,
    "deflate": imagecodecs.deflate_decode,
    "zstd": imagecodecs.zstd_decode,
}
MOVIES = [
    *(("lzw", "u1", rows) for rows in (1, 2, 16, SIDE)),
    ("lzw", "u2", 16),
    *(("deflate", dtype, rows) for dtype in ("u1", "u2") for rows in (16, SIDE)),
    *(("zstd", dtype, rows) for dtype in ("u1", "u2") for rows in (16, SIDE)),
]


def write(path: Path, codec: str, dtype: str, rows: int, count: int) -> None:
    """Write a movie of counts: of one electron a pixel as bytes, of forty in 16 bits."""
    rng = np.random.default_rng(0)
    frames = [rng.poisson(1 if dtype == "u1" else 40, (SIDE, SIDE)).astype(dtype) for _ in range(2)]
    with tifffile.TiffWriter(path) as writer:
        for i in range(count):
            writer.write(frames[i % 2], compression=codec, rowsperstrip=rows, metadata=None, contiguous=False)


def compare(path: Path, codec: str, dtype: str, count: int, threads: int) -> dict[str, list[float]]:
    """Seconds that each contender takes for all frames, in each round."""
    lock = threading.RLock()
    data = path.read_bytes()
    moments = camnorm.PixelMoments((SIDE, SIDE), dtype)
    with tifffile.TiffFile(path) as tiff, open_frames(path) as source, ThreadPoolExecutor(threads) as pool:
        pages = list(tiff.pages)

        def by_tifffile(i: int) -> None:
            pages[i].asarray(maxworkers=1, lock=lock)

        def by_libtiff(i: int) -> None:
            imagecodecs.tiff_decode(data, i)

        def by_codec(i: int) -> None:
            page = pages[i]
            size = page.rowsperstrip * SIDE * page.dtype.itemsize
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                DECODERS[codec](data[offset : offset + length], out=size)

        def by_camnorm() -> None:
            stored = source.stored(0, count) if source.is_located else None
            if stored is not None:
                moments.add_located(stored.together([stored]), threads=threads)
                return
            together = max(1, (64 << 20) // (pages[0].size * pages[0].dtype.itemsize))  # as measure() does
            for first in range(0, count, together):
                parts = range(first, min(first + together, count))
                moments.add_stacks(list(pool.map(source.view, parts)), threads=threads)

        contenders: dict[str, Callable[[], object]] = {
            "tifffile": lambda: list(pool.map(by_tifffile, range(count))),
            "libtiff": lambda: list(pool.map(by_libtiff, range(count))),
            "codec": lambda: list(pool.map(by_codec, range(count))),
            "camnorm": by_camnorm,
        }
        by_camnorm()
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(ROUNDS):
            for name, run in contenders.items():
                begin = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    """Compare all movies, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--readme", action="store_true", help="write the table to bench/README.md")
    options = parser.parse_args()
    header = [
        f"{options.frames} frames of {SIDE} x {SIDE}",
        "rows in a strip",
        "tifffile decodes",
        "libtiff decodes",
        "the codec alone",
        "camnorm decodes and adds",
        "ratio to tifffile",
        "ratio to the codec",
    ]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "movie.tif")
        for codec, dtype, rows in MOVIES:
            write(path, codec, dtype, rows, options.frames)
            seconds = compare(path, codec, dtype, options.frames, options.threads)
            cells = [f"{options.frames / min(times):.1f}/s" for times in seconds.values()]
            for name in ("tifffile", "codec"):
                pairs = zip(seconds[name], seconds["camnorm"], strict=True)
                cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
            kind = {"u1": "uint8", "u2": "uint16"}[dtype]
            lines.append([f"{kind}, {codec}", str(rows), *cells])
            print(*lines[-1], sep=", ", flush=True)
    text = f"{options.threads} threads, frames a second.\n\n{table(header, lines)}"
    print(text)
    if options.readme:
        put_into(HERE / "README.md", {"compressed": text})


if __name__ == "__main__":
    main()
