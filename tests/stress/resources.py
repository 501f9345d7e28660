"""Runs of the command line that are short of file descriptors or memory: a table of how each ends.

Every cell must be "all" (every frame is accepted) or one clear error, the same in every repetition:

    python tests/stress/resources.py               # descriptors by threads, then memory by threads
    python tests/stress/resources.py --format tif --files 300 --repeat 5
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import tifffile

SHAPE = (48, 64)
DESCRIPTORS = (64, 128, 256, 512, 1024, 4096)
MEGABYTES = (400, 500, 600, 800, 1000, 1500, 2000, 4000)
THREADS = (1, 8, 32, 128, 300)


def _write_hdf5(path: Path, frame: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=frame[None], chunks=(1, *SHAPE), compression="gzip")


def _write_big_endian(path: Path, frame: np.ndarray) -> None:
    np.save(path, frame.astype(">u2"))


def _packed(compress: Callable[[bytes], bytes]) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, frame: np.ndarray) -> None:
        plain = path.with_suffix("")
        mrcfile.write(plain, frame)
        path.write_bytes(compress(plain.read_bytes()))
        plain.unlink()

    return write


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "mrc": mrcfile.write,
    "tif": lambda path, frame: tifffile.imwrite(path, frame, compression="zlib"),
    "h5": _write_hdf5,
    "npy": _write_big_endian,
    "mrc.gz": _packed(lambda data: gzip.compress(data, 1)),
    "mrc.bz2": _packed(lambda data: bz2.compress(data, 1)),
}


def write_files(folder: Path, count: int, suffix: str) -> np.ndarray:
    """Write files of one frame each, and return the frames: none deviates from the others."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    frames = rng.poisson(rng.uniform(90, 110, (count, 1, 1)), (count, *SHAPE)).astype(np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, frame in enumerate(frames):
            WRITERS[suffix](folder / f"{number:05d}.{suffix}", frame)
    return frames


def camnorm(
    arguments: Iterable[object], *, descriptors: int | None = None, megabytes: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process with limits, soft and hard."""
    limits = [
        (which, value)
        for which, value in (
            (resource.RLIMIT_NOFILE, descriptors),
            (resource.RLIMIT_AS, megabytes and megabytes * 10**6),
        )
        if value is not None
    ]
    script = (
        "import resource, sys\n"
        f"for which, value in {limits}:\n"
        "    resource.setrlimit(which, (value, value))\n"
        "sys.argv[0] = 'camnorm'\n"
        "import runpy\n"
        "runpy.run_module('camnorm', run_name='__main__')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def outcome(run: subprocess.CompletedProcess[str], frames: int) -> str:
    """How a run of ``measure --json`` ended: "all", a line of error, or what is wrong with it."""
    lines = run.stderr.splitlines()
    if run.returncode == 0:
        accepted = json.loads(run.stdout)["accepted"]
        return "all" if accepted == frames else f"WRONG: {accepted} of {frames} accepted"
    errors = [line for line in lines if line.startswith("camnorm: error: ")]
    if run.returncode == 1 and len(errors) == 1 == len(lines):
        return errors[0].removeprefix("camnorm: error: ")
    return f"WRONG: status {run.returncode}, {lines[-1:]}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--format", choices=WRITERS, default="mrc")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each cell")
    parser.add_argument("--only", choices=("descriptors", "megabytes"))
    parser.add_argument("--limits", type=int, nargs="+", help="in place of those of the table")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        files, sensor = Path(folder) / "files", Path(folder) / "sensor.h5"
        write_files(files, arguments.files, arguments.format)
        for name, values in (("descriptors", DESCRIPTORS), ("megabytes", MEGABYTES)):
            if arguments.only not in (None, name):
                continue
            print(f"{arguments.files} files of {arguments.format}, {name} by threads")
            for value in arguments.limits or values:
                for threads in arguments.threads:
                    command = ["measure", files, "-o", sensor, "--json", "--threads", threads]
                    found = set()
                    for _ in range(arguments.repeat):
                        found.add(outcome(camnorm(command, **{name: value}), arguments.files))
                        sensor.unlink(missing_ok=True)
                    failed |= len(found) > 1 or any("WRONG" in one for one in found)
                    print(f"{value:6} {threads:4}  {' | '.join(sorted(found))}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
