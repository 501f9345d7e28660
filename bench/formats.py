"""camnorm beside the libraries that read and compress each format, on the same files.

    python bench/formats.py [SECTION...] [--json FILE] [--readme]

README.md in this directory tells what is measured and why.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from fileformats import FORMATS
from harness import Section, Skipped, bytes_text, seconds_text, table

_STORED_BYTES = 2  # a pixel of the files: uint16
_WRITTEN_BYTES = 4  # float32
_MOVIES = 4
_CORRECTED = 2  # of these
_COMPRESSIONS = (
    ("tiff", "lzw"),
    ("tiff", "deflate"),
    ("tiff", "zstd"),
    ("hdf5", "deflate"),
    ("zarr", "deflate"),
    ("zarr", "zstd"),
)


@dataclass(frozen=True)
class Job:
    """What both sections need to know."""

    directory: Path
    shape: tuple[int, int]
    frames: int
    threads: int
    repeats: int
    names: tuple[str, ...]

    def write(self, name: str) -> tuple[list[str], int]:
        """Files of a format, in the page cache, and frames of each."""
        made, _ = harness.work(
            "fileformats.write",
            directory=self.directory,
            name=name,
            shape=self.shape,
            frames=self.frames,
            movies=_MOVIES,
        )
        paths: list[str] = made["paths"]
        harness.warm(
            [file for path in paths for file in (Path(path), *Path(path).rglob("*")) if file.is_file()]
        )
        return paths, made["frames"]

    @property
    def options(self) -> dict[str, Any]:
        """What all the tasks need to know."""
        return {
            "sensor": self.directory / "result_sensor.h5",
            "out_dir": self.directory / "result_corrected",
            "repeats": self.repeats,
            "threads": self.threads,
        }

    def clean(self) -> None:
        """Remove files and results: those of all formats together take much room."""
        for path in (*self.directory.glob("format_*"), *self.directory.glob("result_*")):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def formats(job: Job) -> list[dict[str, Any]]:
    """Measuring and correcting the files of each format beside its library."""
    rows = []
    for name in job.names:
        row: dict[str, Any] = {"format": name, "reader": FORMATS[name].reader}
        try:
            row |= _format(job, name)
        except Skipped as reason:
            row["skipped"] = str(reason)
        rows.append(row)
        job.clean()
    return rows


def _format(job: Job, name: str) -> dict[str, Any]:
    paths, each = job.write(name)
    if FORMATS[name].decoded and not harness.work("fileformats.check", path=paths[0], name=name)[0]:
        raise SystemExit(f"{FORMATS[name].reader} and camnorm do not agree on {name}")
    corrected = paths[: len(paths) * _CORRECTED // _MOVIES]
    pixels = job.shape[0] * job.shape[1] * each
    seconds, _ = harness.work(
        "fileformats.compare", paths=paths, corrected=corrected, name=name, frames=each, **job.options
    )
    sizes = {
        "bytes": len(paths) * pixels * _STORED_BYTES,
        "written": len(corrected) * pixels * _WRITTEN_BYTES,
    }
    return {**sizes, **seconds}


def formats_text(rows: list[dict[str, Any]]) -> str:
    """The table of `formats`."""
    header = ["format", "read by", "pixels", "reading", "measure", "ratio", "converting", "correct", "ratio"]
    lines = []
    for row in rows:
        if "skipped" in row:
            lines.append([row["format"], f"skipped: {row['skipped']}", *[""] * 7])
            continue
        lines.append(
            [
                row["format"],
                row["reader"],
                bytes_text(row["bytes"]),
                seconds_text(row["read"]),
                seconds_text(row["measure"]),
                f"{row['measure'] / row['read']:.2f}",
                seconds_text(row["convert"]),
                seconds_text(row["correct"]),
                f"{row['correct'] / row['convert']:.2f}",
            ]
        )
    return "### Reading every format\n\n" + table(header, lines)


def compression(job: Job) -> list[dict[str, Any]]:
    """Correcting to compressed files beside compressing alone, by one thread and by two."""
    rows = []
    paths, each = job.write("MRC")
    harness.work("measure", inputs=paths, output=job.options["sensor"], threads=job.threads, repeats=1)
    for kind, how in _COMPRESSIONS:
        row: dict[str, Any] = {
            "format": kind,
            "compression": how,
            "bytes": each * job.shape[0] * job.shape[1] * _WRITTEN_BYTES,
            "threads": [],
        }
        for threads in (1, 2):
            options = job.options | {"threads": threads, "path": paths[0], "kind": kind, "compression": how}
            seconds, _ = harness.work("fileformats.compress", **options)
            row["threads"].append({"threads": threads, **seconds})
        rows.append(row)
    job.clean()
    return rows


def compression_text(rows: list[dict[str, Any]]) -> str:
    """The table of `compression`."""
    header = ["one file of float32", "bytes"]
    header += [
        f"{what}, {n}" for n in ("1 thread", "2 threads") for what in ("compressing", "correct", "ratio")
    ]
    lines = []
    for row in rows:
        line = [f"{row['format'].upper()}, {row['compression']}", bytes_text(row["bytes"])]
        for found in row["threads"]:
            line += [seconds_text(found["encode"]), seconds_text(found["correct"])]
            line += [f"{found['correct'] / found['encode']:.2f}"]
        lines.append(line)
    return "### Compressing what was corrected\n\n" + table(header, lines)


_Measure = Callable[[Job], list[dict[str, Any]]]
_Text = Callable[[list[dict[str, Any]]], str]
_SECTIONS: dict[str, tuple[_Measure, _Text]] = {
    "formats": (formats, formats_text),
    "compression": (compression, compression_text),
}
_PACKAGES = (
    *("camnorm", "numpy", "mrcfile", "zstandard", "tifffile", "imagecodecs", "h5py", "hdf5plugin", "zarr"),
    *("astropy", "fabio", "rawpy"),
)


def main() -> None:
    """Run the sections that the command line names."""
    parser = harness.arguments(__doc__)
    parser.set_defaults(repeats=2)
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"{', '.join(_SECTIONS)}; by default both"
    )
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=tuple(FORMATS), metavar="NAME", help="by default all"
    )
    parser.add_argument("--shape", type=int, nargs=2, default=(2048, 2048), metavar=("Y", "X"))
    parser.add_argument("--frames", type=int, default=64, help="of each format; less of those that are slow")
    options = parser.parse_args()
    unknown = set(options.sections) - set(_SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(unknown)}")
    if options.quick:
        options.shape, options.frames, options.repeats = (128, 128), 8, 1
    harness.limit(options.threads)
    with harness.working_directory(options.directory) as directory:
        job = Job(
            directory,
            tuple(options.shape),
            options.frames,
            options.threads,
            options.repeats,
            tuple(options.formats),
        )
        job.clean()
        versions, _ = harness.work("versions", packages=_PACKAGES)
        facts = harness.machine(options.threads, versions)
        sections = {}
        for name in options.sections or _SECTIONS:
            run, text = _SECTIONS[name]
            rows = run(job)
            sections[name] = Section(rows, text(rows))
    harness.finish(options, facts, sections)


if __name__ == "__main__":
    main()
