"""What the stress scripts share: data, processes, and what must be in the files that camnorm writes.

Nothing here reads or computes with camnorm: files are read by mrcfile, tifffile, h5py and zarr, and numbers
are formed by NumPy.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Protocol, TypeVar

import h5py
import mrcfile
import numpy as np
import numpy.typing as npt
import tifffile
import zarr

Image = npt.NDArray[Any]
Check = Callable[[Path], None]
"""Of a result: raises Violation unless it is whole and right."""

_CHILD = Path(__file__).with_name("child.py")
_SECONDS = 60  # in which every command has ended


class Violation(Exception):
    """Something that camnorm guarantees did not hold."""


def require(condition: object, message: str) -> None:
    """Raise Violation unless a condition holds."""
    if not condition:
        raise Violation(message)


# Processes


@dataclass(frozen=True)
class Plan:
    """What a process does at one of its operations on the files of a folder; see child.py."""

    folder: str
    at: int = 0
    """Number of the operation, from 1 on; 0 for none."""
    signal: int = 0
    """What it sends to itself there; 0 for nothing."""
    seconds: float = 0.0
    """How long it waits there."""
    report: str = ""
    """File to which it writes the number of operations at its end."""


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    status: int
    out: str
    err: str


def start(arguments: Sequence[str], plan: Plan, folder: Path) -> subprocess.Popen[str]:
    """Start the command line of camnorm in a folder, which is also that of its temporary files."""
    command = [sys.executable, str(_CHILD), json.dumps(asdict(plan)), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAMNORM_")}
    environment = {**kept, "MPLBACKEND": "Agg", "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process; Violation if it does not end."""
    try:
        out, err = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Violation(f"did not end within {_SECONDS} seconds") from None
    return Ended(process.returncode, out, err)


# Rounds


class Round(Protocol):
    """Something to be tried, in a folder of its own."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    @property
    def folder(self) -> Path:
        """Where it works."""

    @property
    def log(self) -> list[str]:
        """What was done."""

    def run(self) -> None:
        """Do it; Violation if a guarantee does not hold."""


_R = TypeVar("_R", bound=Round)


def arguments_of_rounds(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all scripts of rounds have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="rounds at a time")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first violation")
    return parser


def run_rounds(
    rounds: Iterator[_R],
    options: argparse.Namespace,
    done: Callable[[_R], None],
    enough: Callable[[], bool],
) -> int:
    """Run rounds until one fails, the time is over or there were enough; report and count violations."""
    end = time.monotonic() + options.seconds
    running: dict[Future[None], _R] = {}
    violations = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        while True:
            failed = violations and not options.keep_going
            while len(running) < options.jobs and not (failed or enough() or time.monotonic() > end):
                one = next(rounds)
                running[pool.submit(one.run)] = one
            if not running:
                return violations
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                one = running.pop(future)
                done(one)
                error = future.exception()
                if isinstance(error, Violation):
                    violations += 1
                    print(f"VIOLATION in {one.name}: {error}", *one.log, f"see {one.folder}", sep="\n  ")
                elif error is not None:
                    raise error


@contextmanager
def working_folder(name: str) -> Iterator[Path]:
    """A temporary folder, which stays if it has something to show."""
    folder = Path(tempfile.mkdtemp(prefix=f"camnorm-{name}-"))
    yield folder
    if not any(path.name.startswith(("round ", "fault ")) for path in folder.iterdir()):
        shutil.rmtree(folder)


# Files and folders


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file in a folder, and what else is there."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "other"
        )
        for path in folder.rglob("*")
    }


def entries(folder: Path) -> Iterator[str]:
    """Names of all files in a folder and those below it; a Zarr store counts as a file."""
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.is_dir() and ".zarr" not in path.name:
            yield from (f"{path.name}/{name}" for name in entries(path))
        else:
            yield path.name


def check_results(
    out: Path, checks: Mapping[str, Check], old: Path | None = None, only: str | None = None
) -> None:
    """All that has a final name in a folder, or one of them, is whole and right, or what was there before."""
    for entry in entries(out) if only is None else [only]:
        check = next((check for pattern, check in checks.items() if fnmatch(entry, pattern)), None)
        if check is not None and not (old and _same(out / entry, old / entry)):
            check(out / entry)


def check_complete(out: Path, checks: Mapping[str, Check], others: Mapping[str, Check] | None = None) -> None:
    """All results are in a folder, whole and right, and nothing else but results of other runs."""
    found = set(entries(out))
    for pattern, check in checks.items():
        results = {entry for entry in found if fnmatch(entry, pattern)}
        require(results, f"there is no {pattern}")
        for entry in results:
            check(out / entry)
        found -= results
    if others:
        check_results(out, others)
        found = {entry for entry in found if not any(fnmatch(entry, name) for name in others)}
    require(not found, f"left over: {', '.join(sorted(found))}")


def _same(a: Path, b: Path) -> bool:
    """Whether two files, or stores, hold the same."""
    if a.is_dir():
        return b.is_dir() and contents(a) == contents(b)
    return b.is_file() and a.read_bytes() == b.read_bytes()


# Data and what camnorm must make of them


@dataclass(frozen=True)
class Movies:
    """Movies of a sensor, and the frames of them that are rejected."""

    files: Mapping[str, Image]
    """Of each name the frames, shape (n, y, x), uint16."""
    rejected: frozenset[tuple[str, int]] = frozenset()
    """Name and index."""

    def accepted(self) -> Image:
        """The frames that a sensor is measured from."""
        return np.stack(
            [
                frame
                for name, frames in self.files.items()
                for index, frame in enumerate(frames)
                if (name, index) not in self.rejected
            ]
        )

    def corrected(self) -> dict[str, Image]:
        """Eq. (2) of every frame, in float64; pixels that never change become the target mean."""
        frames = self.accepted().astype(np.int64)
        count, sums = len(frames), frames.sum(0)
        mean = sums / count
        sigma = np.sqrt(count * (frames**2).sum(0) - sums**2) / count
        good = sigma > 0
        target_mean, target_sigma = mean[good].mean(), sigma[good].mean()
        gain = np.divide(target_sigma, sigma, out=np.zeros_like(sigma), where=good)
        return {name: (movie - mean) * gain + target_mean for name, movie in self.files.items()}

    def only(self, *names: str) -> Movies:
        """Some of the movies."""
        return Movies({name: self.files[name] for name in names}, self.rejected)


def make_movies(count: int, length: int, shape: tuple[int, int], seed: int) -> Movies:
    """Movies by a sensor with a fixed pattern and a dead pixel; one frame is dark."""
    rng = np.random.default_rng(seed)
    pattern = rng.normal(1.0, 0.05, shape)
    files = {}
    for number in range(count):
        level = rng.uniform(900, 1100, (length, 1, 1))
        frames = (rng.poisson(level * np.ones(shape)) * pattern).astype(np.uint16)
        frames[:, 3, 5] = 77
        files[f"movie_{number}"] = frames
    if count > 1:
        files["movie_1"][1] //= 100
    return Movies(files, frozenset({("movie_1", 1)}))


def write(folder: Path, movies: Movies, kind: str) -> None:
    """Write movies as MRC, TIFF, HDF5 or Zarr."""
    folder.mkdir(parents=True)
    for name, frames in movies.files.items():
        path = folder / f"{name}{SUFFIXES[kind]}"
        if kind == "mrc":
            with mrcfile.new(path) as mrc:
                mrc.set_data(frames)
                mrc.set_image_stack()
        elif kind == "tiff":
            tifffile.imwrite(path, frames, photometric="minisblack", metadata=None, compression="zstd")
        elif kind == "hdf5":
            with h5py.File(path, "w") as file:
                file.create_dataset("data", data=frames, chunks=(1, *frames.shape[1:]), compression="gzip")
        else:
            array = zarr.create_array(
                path, shape=frames.shape, chunks=(1, *frames.shape[1:]), dtype=frames.dtype, zarr_format=2
            )
            array[...] = frames


SUFFIXES = {"mrc": ".mrc", "tiff": ".tif", "hdf5": ".h5", "zarr": ".zarr"}


def read(path: Path) -> Image:
    """Frames of a file that `correct` wrote, by the library of the format."""
    frames: Image
    if path.suffix == ".mrc":
        with mrcfile.open(path) as mrc:
            frames = np.array(mrc.data)
    elif path.suffix == ".tif":
        frames = tifffile.imread(path)
    elif path.suffix == ".h5":
        with h5py.File(path) as file:
            frames = file["entry/data/data"][()]
    else:
        frames = np.asarray(zarr.open_array(path / "0", mode="r")[...])
    return frames.reshape(-1, *frames.shape[-2:])


def _whole(check: Callable[..., None]) -> Callable[..., None]:
    """Have a file that cannot even be opened be a violation like one with wrong numbers."""

    def run(path: Path, *arguments: Any, **options: Any) -> None:
        try:
            check(path, *arguments, **options)
        except Exception as error:
            raise Violation(f"{path.name} is not whole and right: {type(error).__name__}: {error}") from error

    return run


@_whole
def check_sensor(path: Path, movies: Movies, response: bool = False) -> None:
    """A sensor file holds n, Σx and Σx² of just these frames, and Σe·x with the exposures e if wanted."""
    frames = movies.accepted().astype(np.int64)
    with h5py.File(path) as file:
        halves = [file["halves/A"], file["halves/B"]]
        counts = [int(half.attrs["count"]) for half in halves]
        require(sum(counts) == len(frames), f"counts {counts}, not {len(frames)} in all")
        for name, power in (("sum", 1), ("sum_of_squares", 2)):
            total = sum(half[name][()].astype(np.int64) for half in halves)
            require(np.array_equal(total, (frames**power).sum(0)), f"wrong {name}")
        require(("responses" in file) == response, "has a response, or lacks it")
        if response:
            exposures = np.rint(frames.mean((1, 2), keepdims=True) * 256).astype(np.int64)
            total = sum(file[f"responses/{half}/sum_of_products"][()].astype(np.int64) for half in "AB")
            require(np.array_equal(total, (exposures * frames).sum(0)), "wrong sum_of_products")
        status = [word.decode() for word in file["frames/status"][()]]
        total = sum(len(movie) for movie in movies.files.values())
        require((len(status), status.count("accepted")) == (total, len(frames)), "wrong frame table")


@_whole
def check_frames_csv(path: Path, movies: Movies) -> None:
    """A table of frames has a row for every frame, with its mean, and whether it is accepted."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(Path(row["file"]).stem, int(row["index"])): (row["status"], float(row["mean"])) for row in rows}
    expected = {(name, index) for name, frames in movies.files.items() for index in range(len(frames))}
    require(len(rows) == len(expected) and found.keys() == expected, "rows of other frames")
    for (name, index), (status, mean) in found.items():
        wanted = "rejected" if (name, index) in movies.rejected else "accepted"
        require(status == wanted, f"{name}, frame {index} is {status}")
        require(np.isclose(mean, movies.files[name][index].mean(), rtol=1e-12), "wrong mean")


@_whole
def check_corrected(path: Path, expected: Image) -> None:
    """Corrected frames are Eq. (2) within the rounding of float32."""
    frames = read(path)
    require(frames.shape == expected.shape, f"shape {frames.shape}, not {expected.shape}")
    require(frames.dtype == np.float32, f"dtype {frames.dtype}")
    difference = np.abs(frames - expected)
    require((difference <= 2e-7 * np.abs(expected).max()).all(), f"differs by {difference.max()}")


@_whole
def check_manifest(path: Path, movies: Movies) -> None:
    """A manifest names a movie that is there, and a whole correction."""
    manifest = json.loads(path.read_text())
    require((path.parent / manifest["source"]["path"]).is_file(), "names no movie")
    check_correction(path.parent / manifest["correction"], movies)


@_whole
def check_correction(path: Path, movies: Movies) -> None:
    """The file of a correction has the digest that is in its name, and the mean image."""
    digest = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    require(path.name == f"correction-{digest}.camnorm", "has another digest")
    with h5py.File(path) as file:
        mean = movies.accepted().astype(np.int64).mean(0)
        require(np.allclose(file["mean"][()], mean, rtol=1e-14), "has another mean image")


@_whole
def check_frc(path: Path, a: Image, b: Image) -> None:
    """A curve is the Fourier ring correlation of two frames, with rings of rounded radius."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    side = min(a.shape)
    centred = [image[:side, :side].astype(float) for image in (a, b)]
    require(a.shape == (side, side), "the frames of this check are square")
    one, other = (np.fft.fft2(image) for image in centred)
    frequencies = np.fft.fftfreq(side, 1 / side)
    rings = np.rint(np.hypot(frequencies[:, None], frequencies)).astype(int).ravel()

    def ring_sums(values: Image) -> Image:
        return np.bincount(rings, values.ravel())[: side // 2 + 1]

    power = ring_sums(np.abs(one) ** 2) * ring_sums(np.abs(other) ** 2)
    expected = ring_sums((one * other.conj()).real) / np.sqrt(power)
    found = np.array([float(row["correlation"]) for row in rows])
    require(found.shape == expected.shape, f"{len(found)} rings, not {len(expected)}")
    require(np.allclose(found[1:], expected[1:], rtol=1e-4, atol=1e-5), "other correlations")


def same_as(reference: Path) -> Check:
    """Check that a file is that of a run which nothing disturbed."""

    def check(path: Path) -> None:
        require(path.read_bytes() == reference.read_bytes(), f"{path.name} is not that of a whole run")

    return check
