"""camnorm beside what one would use instead, and beside what cannot be done without, on the same files.

    python bench/peers.py [SECTION...] [--peers-python FILE] [--json FILE] [--readme]

README.md in this directory tells what is measured and why.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import movies
import relion
from harness import GIB, Run, Section, Skipped, bytes_text, rate_text, seconds_text, table

_CONTENDERS = ("numpy", "libertem", "relion", "scipy", "frc")
_DTYPES = {"uint8": 1, "uint16": 2, "float32": 4}
_EXECUTORS = ("inline", "dask", "threads")

# Largest relative deviations of mean and sigma from camnorm's that a peer may have. All sum in float64,
# where the sums of these frames are exact but for float32; E[x²] - E[x]² then loses some (mean/sigma)² ulp.
# RELION writes float32.
_TOLERANCE = {"numpy": 1e-11, "libertem": 1e-11, "relion": 1e-6}
# Largest difference of ring correlations: transforms in float32.
_FRC_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Job:
    """What all the sections need to know."""

    directory: Path
    shape: tuple[int, int]
    gib: float
    movies: int
    times: int
    threads: int
    repeats: int
    dtypes: tuple[str, ...]
    contenders: frozenset[str]
    peers_python: Path

    def files(self, dtype: str, compression: str = "", share: float = 1.0) -> tuple[list[Path], int]:
        """Movies that hold the bytes asked for, or a share of them, and the bytes of all their pixels."""
        frame = self.shape[0] * self.shape[1] * _DTYPES[dtype]
        each = max(2, round(share * self.gib * GIB / frame / self.movies))
        paths = harness.make_files(self.directory, dtype, self.shape, each, self.movies, compression)
        return paths, self.movies * each * frame

    def best_run(self, call: Callable[[], Run]) -> Run:
        """Best of several runs of a whole command."""
        return min((call() for _ in range(self.repeats)), key=lambda run: run.seconds)

    def whole(self, task: str, **options: Any) -> Run:
        """Best of several processes that each do a peer's task once."""
        return self.best_run(lambda: harness.work(task, self.peers_python, repeats=1, **options)[1])

    def again(self, task: str, **options: Any) -> float:
        """Best time of a peer's task done again and again in one process, after a first time."""
        seconds, _ = harness.work(task, self.peers_python, repeats=self.repeats + 1, **options)
        return float(min(seconds[1:]))

    def measure(self, inputs: Iterable[str | Path], sensor: Path) -> Run:
        """Best of several runs of ``camnorm measure``, with sensor file."""

        def run() -> Run:
            sensor.unlink(missing_ok=True)
            return harness.camnorm("measure", *inputs, "-o", sensor, "--overwrite", *harness.UNSCREENED)

        return self.best_run(run)

    def path(self, name: str) -> Path:
        """A file or directory of results."""
        return self.directory / f"result_{name}"

    def clean(self) -> None:
        """Remove the results: they take as much room as the files."""
        for path in self.directory.glob("result_*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


# Mean and sigma of every pixel


def moments(job: Job) -> list[dict[str, Any]]:
    """Mean and sigma image of movies, by all the contenders.

    Whole commands take the files several times over, since their start takes the same time for any number;
    what is done again in one process takes them once.
    """
    rows = []
    for dtype in job.dtypes:
        files, pixels = job.files(dtype)
        listed = files * job.times
        sensor = job.path("sensor.h5")
        own = job.measure([harness.write_list(job.path("list.txt"), listed)], sensor)
        again = min(
            harness.work("measure", inputs=files, output=None, threads=job.threads, repeats=job.repeats + 1)[
                0
            ][1:]
        )
        common = {"dtype": dtype, "bytes": pixels * job.times}
        rows.append(_row(common, "camnorm measure", "mean, sigma, halves, frame table", own, again))
        results = {}
        for name, peer in (("numpy", _numpy), ("libertem", _libertem), ("relion", _relion)):
            if name not in job.contenders:
                continue
            result = job.path(name)
            try:
                label, gives, run, seconds = peer(job, files, listed, result)
            except Skipped as reason:
                rows.append({**common, "contender": name, "skipped": str(reason)})
                continue
            results[name] = str(result) + (".mrc" if name == "relion" else "")
            row = _row(common, label, gives, run, seconds)
            row["ratio"] = run.seconds / own.seconds
            row["ratio_again"] = None if seconds is None else seconds / again
            rows.append(row)
        deviations, _ = harness.work("compare_moments", sensor=sensor, results=results)
        for name, found in deviations.items():
            if not max(found.values()) <= _TOLERANCE[name]:
                raise SystemExit(f"{name} and camnorm do not agree on {dtype}: relative deviations {found}")
        for row, found in zip(
            (r for r in rows if "ratio" in r and r["dtype"] == dtype), deviations.values(), strict=True
        ):
            row["deviation"] = found
        job.clean()
    return rows


def _row(common: dict[str, Any], contender: str, gives: str, run: Run, again: float | None) -> dict[str, Any]:
    return {
        **common,
        "contender": contender,
        "gives": gives,
        "seconds": run.seconds,
        "seconds_again": again,
        "peak": run.peak,
    }


_Peer = tuple[str, str, Run, float | None]


def _numpy(job: Job, files: list[Path], listed: list[Path], result: Path) -> _Peer:
    # In camnorm's own environment: its NumPy may be newer than the peers' allow.
    again = min(harness.work("numpy_moments", repeats=job.repeats, paths=files, result=result)[0])
    run = job.best_run(lambda: harness.work("numpy_moments", repeats=1, paths=listed, result=result)[1])
    return "numpy loop", "mean, sigma", run, again


def _libertem(job: Job, files: list[Path], listed: list[Path], result: Path) -> _Peer:
    options: dict[str, Any] = {"result": result, "threads": job.threads}
    again = {
        executor: job.again("libertem_moments", paths=files, executor=executor, **options)
        for executor in _EXECUTORS
    }
    executor = min(again, key=again.__getitem__)
    run = job.whole("libertem_moments", paths=listed, executor=executor, **options)
    return f"LiberTEM StdDevUDF ({executor})", "mean, sigma", run, again[executor]


def _relion(job: Job, files: list[Path], listed: list[Path], result: Path) -> _Peer:
    def run() -> Run:
        return relion.estimate_gain(listed, job.path("movies.star"), Path(f"{result}.mrc"), job.threads)

    return relion.COMMAND, "mean", job.best_run(run), None


def moments_text(rows: list[dict[str, Any]]) -> str:
    """The table of `moments`."""
    lines = []
    for row in rows:
        name = f"{row['dtype']}, {bytes_text(row['bytes'])}: {row['contender']}"
        if "skipped" in row:
            lines.append([name, f"skipped: {row['skipped']}", *[""] * 6])
            continue
        again = row["seconds_again"]
        deviation = row.get("deviation", {})
        lines.append(
            [
                name,
                row["gives"],
                seconds_text(row["seconds"]),
                f"{row['ratio']:.1f}" if "ratio" in row else "1",
                "" if again is None else seconds_text(again),
                "1" if "ratio" not in row else "" if again is None else f"{row['ratio_again']:.1f}",
                bytes_text(row["peak"]),
                ", ".join(f"{value:.0e}" for value in deviation.values()),
            ]
        )
    header = [
        "frames: contender",
        "gives",
        "whole command",
        "ratio",
        "again in one process",
        "ratio",
        "peak memory",
        "deviation",
    ]
    return "### Mean and sigma of every pixel\n\n" + table(header, lines)


# Fourier ring correlation


def frc(job: Job) -> list[dict[str, Any]]:
    """Ring correlation of one pair of float32 frames in memory."""
    files = job.files("float32")[0][:2]
    options = {"paths": files, "threads": job.threads, "repeats": job.repeats}
    own_result = job.path("frc_camnorm.npy")
    own, run = harness.work("camnorm_frc", result=own_result, **options)
    rows = [
        {"contender": "camnorm.frc", "seconds": min(own[1:]), "first": own[0], "peak": run.peak},
    ]
    results = {}
    for name, python in (("scipy", None), ("frc", job.peers_python)):
        if name not in job.contenders:
            continue
        label = "scipy.fft and bincount" if name == "scipy" else "frc.two_frc"
        result = job.path(f"frc_{name}.npy")
        try:
            seconds, run = harness.work(f"{name}_frc", python, result=result, **options)
        except Skipped as reason:
            rows.append({"contender": label, "skipped": str(reason)})
            continue
        results[label] = str(result)
        ratio = min(seconds[1:]) / min(own[1:])
        rows.append(
            {
                "contender": label,
                "seconds": min(seconds[1:]),
                "first": seconds[0],
                "peak": run.peak,
                "ratio": ratio,
            }
        )
    deviations, _ = harness.work("compare_frc", own=own_result, results=results)
    for row in rows:
        if row["contender"] in deviations:
            row["deviation"] = deviations[row["contender"]]
            if not row["deviation"] <= _FRC_TOLERANCE:
                raise SystemExit(f"{row['contender']} and camnorm do not agree: {row['deviation']}")
    job.clean()
    return rows


def frc_text(rows: list[dict[str, Any]]) -> str:
    """The table of `frc`."""
    lines = []
    for row in rows:
        if "skipped" in row:
            lines.append([row["contender"], f"skipped: {row['skipped']}", "", "", "", ""])
            continue
        lines.append(
            [
                row["contender"],
                seconds_text(row["seconds"]),
                f"{row.get('ratio', 1):.3g}",
                seconds_text(row["first"]),
                bytes_text(row["peak"]),
                f"{row['deviation']:.0e}" if "deviation" in row else "",
            ]
        )
    header = ["contender", "one pair", "ratio", "the first", "peak memory", "deviation"]
    return "### Fourier ring correlation of two frames\n\n" + table(header, lines)


# camnorm measure beside reading alone


def reading(job: Job) -> list[dict[str, Any]]:
    """Measuring beside the rate at which as many threads read or decode the same files."""
    rows = []
    for dtype, compression in (*((dtype, "") for dtype in job.dtypes), ("uint8", "lzw"), ("uint8", "zstd")):
        # Decoding is so much slower that a part of the bytes does.
        files, pixels = job.files(dtype, compression, share=0.25 if compression else 1.0)
        files *= job.times
        inputs = [harness.write_list(job.path("list.txt"), files)]
        options: dict[str, Any] = {"threads": job.threads, "repeats": job.repeats}
        if compression:
            reference, _ = harness.work("decode", paths=files, compression=compression, **options)
        else:
            reference, _ = harness.work("pread", paths=files, **options)
        inside, _ = harness.work("measure", inputs=inputs, output=None, **options)
        whole = job.measure(inputs, job.path("sensor.h5"))
        rows.append(
            {
                "files": f"{dtype} TIFF, {compression}" if compression else f"{dtype} MRC",
                "bytes": pixels * job.times,
                "reference": min(reference),
                "inside": min(inside),
                "whole": whole.seconds,
                "peak": whole.peak,
            }
        )
        job.clean()
    return rows


def reading_text(rows: list[dict[str, Any]]) -> str:
    """The table of `reading`."""
    header = [
        "files",
        "bytes of pixels",
        "alone",
        "camnorm.measure()",
        "share",
        "whole command",
        "share",
        "peak memory",
    ]
    lines = [
        [
            row["files"],
            bytes_text(row["bytes"]),
            rate_text(row["bytes"] / row["reference"]),
            rate_text(row["bytes"] / row["inside"]),
            f"{row['reference'] / row['inside']:.0%}",
            rate_text(row["bytes"] / row["whole"]),
            f"{row['reference'] / row['whole']:.0%}",
            bytes_text(row["peak"]),
        ]
        for row in rows
    ]
    return "### Measuring beside reading, or decoding, alone\n\n" + table(header, lines)


# camnorm correct beside copying


def correcting(job: Job) -> list[dict[str, Any]]:
    """Correcting MRC to MRC beside reading as much and writing as much, each file put on disk."""
    rows = []
    for dtype in job.dtypes:
        files, pixels = job.files(dtype)
        sensor, out_dir = job.path("sensor.h5"), job.path("corrected")
        harness.work("measure", inputs=files, output=sensor, threads=job.threads, repeats=1)
        # About a GiB written for one that is in the files, whatever the dtype.
        growth = 4 // _DTYPES[dtype]
        files, pixels = files[::growth], pixels * len(files[::growth]) // len(files)
        options: dict[str, Any] = {"threads": job.threads, "repeats": job.repeats, "out_dir": out_dir}
        reference, _ = harness.work("copy", paths=files, times=growth, **options)
        inside, _ = harness.work("correct", inputs=files, sensor=sensor, **options)

        def command(inputs: list[Path] = files, sensor: Path = sensor, out_dir: Path = out_dir) -> Run:
            shutil.rmtree(out_dir)
            return harness.camnorm("correct", *inputs, "-m", sensor, "-o", out_dir)

        whole = job.best_run(command)
        rows.append(
            {
                "files": f"{dtype} to float32",
                "bytes": pixels,
                "written": pixels * growth,
                "reference": min(reference),
                "inside": min(inside),
                "whole": whole.seconds,
                "peak": whole.peak,
            }
        )
        job.clean()
    return rows


def correcting_text(rows: list[dict[str, Any]]) -> str:
    """The table of `correcting`."""
    header = [
        "MRC to MRC",
        "read",
        "written",
        "copying alone",
        "camnorm.correct()",
        "share",
        "whole command",
        "share",
        "peak memory",
    ]
    lines = [
        [
            row["files"],
            bytes_text(row["bytes"]),
            bytes_text(row["written"]),
            seconds_text(row["reference"]),
            seconds_text(row["inside"]),
            f"{row['reference'] / row['inside']:.0%}",
            seconds_text(row["whole"]),
            f"{row['reference'] / row['whole']:.0%}",
            bytes_text(row["peak"]),
        ]
        for row in rows
    ]
    return "### Correcting beside copying\n\n" + table(header, lines)


_Measure = Callable[[Job], list[dict[str, Any]]]
_Text = Callable[[list[dict[str, Any]]], str]
_SECTIONS: dict[str, tuple[_Measure, _Text]] = {
    "moments": (moments, moments_text),
    "frc": (frc, frc_text),
    "reading": (reading, reading_text),
    "correcting": (correcting, correcting_text),
    "movies": (movies.compare, movies.text),
}


def main() -> None:
    """Run the sections that the command line names."""
    parser = harness.arguments(__doc__)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(_SECTIONS)}; by default all"
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=_DTYPES, default=tuple(_DTYPES), help="of the frames; by default all"
    )
    parser.add_argument(
        "--contenders", nargs="*", choices=_CONTENDERS, default=_CONTENDERS, help="by default all"
    )
    parser.add_argument(
        "--peers-python",
        type=Path,
        default=Path(sys.executable),
        metavar="FILE",
        help="Python that has libertem and frc",
    )
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 4096), metavar=("Y", "X"))
    parser.add_argument("--gib", type=float, default=1.0, help="of pixels in the files of each dtype")
    parser.add_argument("--movies", type=int, default=4, help="files of each dtype")
    parser.add_argument(
        "--times", type=int, default=8, help="the files are listed so often for moments and reading"
    )
    options = parser.parse_args()
    unknown = set(options.sections) - set(_SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(unknown)}")
    if options.quick:
        options.shape, options.gib, options.repeats, options.times = (256, 256), 0.0, 1, 2
    harness.limit(options.threads)
    with harness.working_directory(options.directory) as directory:
        job = Job(
            directory,
            tuple(options.shape),
            options.gib,
            options.movies,
            options.times,
            options.threads,
            options.repeats,
            tuple(options.dtypes),
            frozenset(options.contenders),
            options.peers_python,
        )
        job.clean()
        facts = harness.machine(options.threads, _versions(job))
        sections = {}
        for name in options.sections or _SECTIONS:
            run, text = _SECTIONS[name]
            rows = run(job)
            sections[name] = Section(rows, text(rows))
    harness.finish(options, facts, sections)


def _versions(job: Job) -> dict[str, str]:
    """Versions of the contenders that are installed."""
    found, _ = harness.work(
        "versions", packages=["camnorm", "numpy", "mrcfile", "tifffile", "imagecodecs", "scipy"]
    )
    peers, _ = harness.work("versions", job.peers_python, packages=["numpy", "libertem", "numba", "frc"])
    if job.peers_python != Path(sys.executable):
        peers = {
            "numpy of the peers" if name == "numpy" else name: version for name, version in peers.items()
        }
    versions = {**found, **peers}
    if (version := relion.version()) is not None:
        versions["RELION"] = version
    return versions


if __name__ == "__main__":
    main()
