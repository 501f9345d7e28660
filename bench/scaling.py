"""How time and memory of ``camnorm measure`` grow with frames, their size, threads, and screening.

    python bench/scaling.py [SECTION...] [--json FILE] [--readme]

README.md in this directory tells what is measured and why.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import harness
from harness import GIB, Section, bytes_text, rate_text, seconds_text, table

_LARGE = 10_821  # the paper's largest set
_SIZES = ((1024, 1024), (2048, 2048), (4096, 4096), (4092, 5760), (8192, 8192), (8184, 11520))
_MOVIE_BYTES = 2**27
_MOVIES = 4
_MRC_HEADER_BYTES = 1024
_STATE_BYTES = 2 * 16  # a pixel: two halves, each with two 64-bit sums


@dataclass(frozen=True)
class Job:
    """What all the sections need to know."""

    directory: Path
    shape: tuple[int, int]
    frames: int
    gib: float
    threads: int
    repeats: int

    def movie(self, frames: int) -> int:
        """Frames of a movie of some 100 MB; a whole number of movies makes up all frames."""
        most = max(1, min(8, _MOVIE_BYTES // (self.shape[0] * self.shape[1])))
        return max(n for n in range(1, most + 1) if frames % n == 0)

    def measure(self, frames: int, each: int, repeats: int = 1) -> dict[str, Any]:
        """The command over movies of `each` frames, a few of which are listed again and again."""
        frame_bytes = self.shape[0] * self.shape[1]
        files = harness.make_files(self.directory, "uint8", self.shape, each, _MOVIES)
        inputs = harness.write_list(
            self.directory / "result_list.txt", list(islice(cycle(files), frames // each))
        )
        sensor = self.directory / "result_sensor.h5"
        runs = []
        for _ in range(repeats):
            sensor.unlink(missing_ok=True)
            options = ("-o", sensor, "--overwrite", "--threads", str(self.threads), *harness.UNSCREENED)
            runs.append(harness.camnorm("measure", inputs, *options))
        sensor.unlink()
        run = min(runs, key=lambda run: run.seconds)
        if (accepted := json.loads(run.output)["accepted"]) != frames:
            raise SystemExit(f"{accepted} frames accepted of {frames}")
        return {
            "frames": frames,
            "shape": list(self.shape),
            "threads": self.threads,
            "bytes": frames * frame_bytes,
            "seconds": run.seconds,
            "peak": run.peak,
            "state": frame_bytes * _STATE_BYTES,
        }


def frames(job: Job) -> list[dict[str, Any]]:
    """Ten frames to ten thousand, of one size."""
    counts = [count for count in (10, 100, 1000, 10_000) if count <= job.frames]
    return [job.measure(count, job.movie(10), job.repeats) for count in counts]


def sizes(job: Job) -> list[dict[str, Any]]:
    """Frames of 1k x 1k to 11k x 8k, as many as make up the same bytes."""
    rows = []
    for shape in _SIZES if job.shape == (4096, 4096) else (job.shape,):
        rows.append(same_bytes(replace(job, shape=shape)))
        for path in job.directory.glob(f"uint8_{shape[0]}_{shape[1]}_*"):
            path.unlink()  # all together would take much room
    return rows


def threads(job: Job) -> list[dict[str, Any]]:
    """One thread to all of them."""
    return [same_bytes(replace(job, threads=n)) for n in range(1, job.threads + 1)]


def same_bytes(job: Job) -> dict[str, Any]:
    """As many frames as make up the bytes asked for."""
    count = max(8, round(job.gib * GIB / (job.shape[0] * job.shape[1])) // 8 * 8)
    return job.measure(count, job.movie(8), job.repeats)


def large(job: Job) -> list[dict[str, Any]]:
    """The paper's largest set in one command, and parts of it."""
    each = job.movie(job.frames)
    return [job.measure(job.frames // each // part * each, each) for part in (8, 4, 2, 1)]


def screening(job: Job) -> list[dict[str, Any]]:
    """A set of which 2 % of the frames are blank, screened and not, by turns: the best of each counts."""
    pixels = job.shape[0] * job.shape[1]
    each, movies = 8, max(7, round(job.gib * GIB / (8 * pixels)))
    count = each * movies
    directory = job.directory / "result_screening"
    directory.mkdir(exist_ok=True)
    files = harness.make_files(directory, "uint8", job.shape, each, movies)
    blank = [round((i + 0.5) * count / max(1, count // 50)) for i in range(max(1, count // 50))]
    for number in blank:
        with open(files[number // each], "r+b") as file:
            file.seek(_MRC_HEADER_BYTES + number % each * pixels)
            file.write(bytes(pixels))
    sensor = job.directory / "result_sensor.h5"
    best: dict[str, harness.Run] = {}
    for screen in ("off", "auto") * job.repeats:
        sensor.unlink(missing_ok=True)
        run = harness.camnorm(
            "measure",
            directory,
            "-o",
            sensor,
            "--overwrite",
            "--threads",
            str(job.threads),
            "--screen",
            screen,
        )
        accepted = json.loads(run.output)["accepted"]
        if accepted != count - (len(blank) if screen == "auto" else 0):
            raise SystemExit(f"{accepted} frames accepted of {count}, screening {screen}")
        best[screen] = min(best.get(screen, run), run, key=lambda run: run.seconds)
    sensor.unlink()
    shutil.rmtree(directory)  # in which frames are missing
    return [
        {
            "frames": count,
            "shape": list(job.shape),
            "threads": job.threads,
            "bytes": count * pixels,
            "rejected": len(blank),
            "off": best["off"].seconds,
            "auto": best["auto"].seconds,
            "ratio": best["auto"].seconds / best["off"].seconds,
        }
    ]


def screening_text(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """The table of the section on screening."""
    header = ["frames", "size", "threads", "bytes", "taken back", "unscreened", "screened", "ratio"]
    lines = [
        [
            str(row["frames"]),
            " x ".join(map(str, row["shape"])),
            str(row["threads"]),
            bytes_text(row["bytes"]),
            str(row["rejected"]),
            seconds_text(row["off"]),
            seconds_text(row["auto"]),
            f"{row['ratio']:.3f}",
        ]
        for row in rows
    ]
    return f"### {title}\n\n" + table(header, lines)


def rows_text(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """The table of any section."""
    header = [
        "frames",
        "size",
        "threads",
        "bytes",
        "whole command",
        "rate",
        "ms a frame",
        "peak memory",
        "without the state",
    ]
    lines = [
        [
            str(row["frames"]),
            " x ".join(map(str, row["shape"])),
            str(row["threads"]),
            bytes_text(row["bytes"]),
            seconds_text(row["seconds"]),
            rate_text(row["bytes"] / row["seconds"]),
            f"{1e3 * row['seconds'] / row['frames']:.3g}",
            bytes_text(row["peak"]),
            bytes_text(row["peak"] - row["state"]),
        ]
        for row in rows
    ]
    return f"### {title}\n\n" + table(header, lines) + linearity_text(rows)


def linearity_text(rows: Sequence[dict[str, Any]]) -> str:
    """What a straight line through the times of one size says, if there are enough of them."""
    if len(rows) < 3 or len({(*row["shape"], row["threads"]) for row in rows}) > 1:
        return ""
    # Every point weighs the same relatively, or the largest alone would set the line.
    weights = [1 / row["seconds"] ** 2 for row in rows]
    total = sum(weights)
    mean_frames = sum(w * row["frames"] for w, row in zip(weights, rows, strict=True)) / total
    mean_seconds = sum(w * row["seconds"] for w, row in zip(weights, rows, strict=True)) / total
    covariance = sum(
        w * (row["frames"] - mean_frames) * (row["seconds"] - mean_seconds)
        for w, row in zip(weights, rows, strict=True)
    )
    variance = sum(w * (row["frames"] - mean_frames) ** 2 for w, row in zip(weights, rows, strict=True))
    slope = covariance / variance
    start = mean_seconds - slope * mean_frames
    worst = max(abs(start + slope * row["frames"] - row["seconds"]) / row["seconds"] for row in rows)
    return (
        f"\nA straight line: {start:.2f} s and {1e3 * slope:.3g} ms a frame; it misses no point by more "
        f"than {worst:.0%}.\n"
    )


_SECTIONS: dict[str, tuple[str, Callable[[Job], list[dict[str, Any]]]]] = {
    "frames": ("Number of frames", frames),
    "sizes": ("Size of frames", sizes),
    "threads": ("Threads", threads),
    "large": ("One large set", large),
    "screening": ("Screening of a set with deviant frames", screening),
}


def main() -> None:
    """Run the sections that the command line names."""
    parser = harness.arguments(__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(_SECTIONS)}; by default all"
    )
    parser.add_argument("--frames", type=int, default=_LARGE, help="of the large run")
    parser.add_argument("--gib", type=float, default=8.0, help="read for each size and number of threads")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(_SECTIONS):
        parser.error(f"no section {', '.join(unknown)}")
    shape = (4096, 4096)
    if options.quick:
        shape, options.frames, options.gib, options.repeats = (256, 256), 100, 0.0, 1
    harness.limit(options.threads)
    with harness.working_directory(options.directory) as directory:
        job = Job(directory, shape, options.frames, options.gib, options.threads, options.repeats)
        versions = {name: importlib.metadata.version(name) for name in ("camnorm", "numpy")}
        facts = harness.machine(options.threads, versions)
        sections = {}
        for name in options.sections or _SECTIONS:
            title, run = _SECTIONS[name]
            rows = run(job)
            text = screening_text if name == "screening" else rows_text
            sections[name] = Section(rows, text(title, rows))
    harness.finish(options, facts, sections)


if __name__ == "__main__":
    main()
