"""Do two versions of camnorm give the same bytes? Sums, corrected files and JSON of the demonstration's data.

    python bench/identity.py OLD_PYTHON NEW_PYTHON [-o DIR]

Each interpreter has one version installed. The old one makes the raw frames. What differs between any
two runs is left out: times, versions, commands.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py

# Of JSON and of provenances: what is another at each run.
_VARYING = {"seconds", "started", "ended", "version", "command", "directory", "rate"}

_ELECTRON, _BAYER = "../raw/electron/raw", "../raw/bayer/raw"
_COMMANDS = {
    "measure": ["measure", _ELECTRON, "-o", "s.h5", "--frames-csv", "frames.csv"],
    "measure_colour_filter": ["measure", _BAYER, "-o", "b.h5", "--screen", "off"],
    "measure_response": ["measure", _ELECTRON, "-o", "r.h5", "--response", "--frames", "1:", "--every", "2"],
    "measure_list": ["measure", "--frames-list", "frames.csv", "-o", "l.h5"],
    "measure_part": ["measure", f"{_ELECTRON}/movie_00*.mrc", "-o", "p.h5", "--max-frames", "20"],
    "subtract": ["subtract", "s.h5", "p.h5", "-o", "d.h5"],
    "merge": ["merge", "d.h5", "p.h5", "-o", "m.h5"],
    "show": ["show", "s.h5"],
    "show_colour_filter": ["show", "b.h5", "-o", "b.png"],
    "verify": ["verify", _ELECTRON, "-m", "s.h5", "-o", "v", "--pairs", "2"],
    "verify_colour_filter": ["verify", _BAYER, "-m", "b.h5", "-o", "vb", "--window", "tukey", "--corners"],
    "frc": ["frc", f"{_ELECTRON}/movie_000.mrc", f"{_ELECTRON}/movie_001.mrc", "--csv", "c.csv"],
    **{
        f"correct_{name}": ["correct", f"{_ELECTRON}/movie_00[0-3].mrc", "-m", "s.h5", "-o", name, *options]
        for name, options in {
            "mrc": [],
            "int16": ["--dtype", "int16", "--scale"],
            "tiff": ["--format", "tiff", "--dtype", "uint16"],
            "lzw": ["--format", "tiff", "--compression", "lzw"],
            "zstd": ["--format", "tiff", "--compression", "zstd", "--threads", "1"],
            "hdf5": ["--format", "hdf5", "--compression", "deflate"],
            "zarr": ["--format", "zarr"],
            "sum": ["--sum", "--bad-policy", "interpolate"],
            "light": ["--keep-illumination", "128", "--shrink"],
            "gain": ["--mode", "gain", "--dtype", "float16"],
        }.items()
    },
    "correct_response": [
        "correct",
        f"{_ELECTRON}/movie_010.mrc",
        "-m",
        "r.h5",
        "-o",
        "r",
        "--mode",
        "response",
    ],
    "correct_bayer": ["correct", f"{_BAYER}/image_00*.tif", "-m", "b.h5", "-o", "bayer"],
}


def stable(value: Any) -> Any:
    """A value of JSON without what varies."""
    if isinstance(value, dict):
        return {key: stable(item) for key, item in value.items() if key not in _VARYING}
    return [stable(item) for item in value] if isinstance(value, list) else value


def digest_of(path: Path) -> str:
    """What is in a file: all bytes, or of a sensor file its datasets and attributes but for what varies."""
    if path.suffix == ".json":
        return hashlib.sha256(json.dumps(stable(json.loads(path.read_text()))).encode()).hexdigest()
    if path.suffix != ".h5" or path.parent.name == "hdf5":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()

    def take(name: str, item: Any) -> None:
        attributes = {key: str(value) for key, value in item.attrs.items() if key not in _VARYING}
        digest.update(json.dumps([name, attributes], sort_keys=True).encode())
        if isinstance(item, h5py.Dataset) and not name.endswith("/command"):
            digest.update(
                str(item.dtype).encode()
                + (repr(item[()]).encode() if item.dtype == object else item[()].tobytes())
            )

    with h5py.File(path) as file:
        file.visititems(take)
    return digest.hexdigest()


def run(python: str, folder: Path, name_after: str) -> dict[str, str]:
    """Outcome of every command, and digest of every file, in a folder that is renamed in the end."""
    folder.mkdir()
    found: dict[str, str] = {}
    for name, arguments in _COMMANDS.items():
        print(f"{name_after}: {name}", file=sys.stderr)
        command = [python, "-m", "camnorm", *arguments, "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        told = json.dumps(stable(json.loads(done.stdout))) if done.stdout else done.stderr
        found[f"{name}: status {done.returncode}"] = hashlib.sha256(told.encode()).hexdigest()
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png")
    found |= {str(path.relative_to(folder)): digest_of(path) for path in files}
    folder.rename(folder.with_name(name_after))
    return found


def main() -> None:
    """Compare, print what differs, and end with status 1 if anything does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", help="Python that has the one version")
    parser.add_argument("new", help="Python that has the other")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="where all files go, and stay")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.output or Path(temporary)).absolute()
        folder.mkdir(exist_ok=True)
        demo = [asked.old, "-m", "camnorm", "demo", "-o", os.fspath(folder / "raw"), "--quiet"]
        subprocess.run(demo, check=True, stdout=subprocess.DEVNULL)
        # In one place, since paths are part of the results.
        versions = ((asked.old, "old"), (asked.new, "new"))
        old, new = (run(python, folder / "work", name) for python, name in versions)
    differing = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    print(f"{len(old)} outcomes and files: {len(differing)} differ", *differing, sep="\n  ")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
