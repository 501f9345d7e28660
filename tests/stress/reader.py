"""A process that reads files for mutate.py: with camnorm, or with another library.

Requests are lines of JSON, {"task", "sample", "path", "found"}; answers too. Memory is limited, as users'
machines limit it.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from common import Image
from samples import Sample, samples

_LIMIT = 5 * 2**29  # bytes of memory, beyond what the process has when it starts
_MOST_FRAMES = 40
_LARGE = 2**26  # bytes of a frame of which few are read


def _refused(action: Callable[[], Any]) -> tuple[Any, str]:
    """What an action returns, or the message of its refusal."""
    import camnorm
    from camnorm.errors import message_of
    from camnorm.terminal import printable

    try:
        return action(), ""
    except (camnorm.Error, OSError) as error:
        # Without the name of the file, which may be anything: the command line shows it in one line.
        return None, getattr(error, "reason", "") or printable(message_of(error)) or "no message"


def read_frames(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Read frames with camnorm; save those that can be read."""
    import camnorm

    source, message = _refused(lambda: camnorm.open_frames(path, camnorm.ReadOptions(**sample.options)))
    if source is None:
        return {"refused": [message]}
    with source:
        frames: dict[str, Image] = {}
        refused = []
        size = int(np.prod(source.shape, dtype=object)) * source.dtype.itemsize
        most = _MOST_FRAMES if size < _LARGE else 1
        for index in {*range(min(source.count, most)), source.count - 1}:
            read, message = _refused(partial(source.read, index))
            if read is None:
                refused.append(message)
            elif (read.shape, read.dtype) != ((1, *source.shape), source.dtype):
                raise AssertionError(f"frame {index}: {read.shape} {read.dtype} of {source}")
            else:
                frames[str(index)] = read[0]
        np.savez(found, **frames)  # type: ignore[arg-type]
        return {"refused": refused, "frames": len(frames), "count": source.count}


def read_sensor(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Load a sensor file; save its count and sums."""
    import camnorm

    sensor, message = _refused(lambda: camnorm.Sensor.load(path))
    if sensor is None:
        return {"refused": [message]}
    moments = sensor.moments
    np.savez(found, **{"0": np.array([moments.count]), "1": moments.sum(), "2": moments.sum_of_squares()})
    return {"refused": [], "frames": 3}


def read_inputs(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Find out which files a list names."""
    from camnorm.io import expand_inputs

    name = f"@{path}" if path.suffix == ".txt" else path
    files, message = _refused(lambda: expand_inputs([name]))
    return {"refused": [message] if files is None else [], "frames": 0}


def measure_listed(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Measure the frames that a table names."""
    import camnorm

    sensor, message = _refused(lambda: camnorm.measure(frames_list=path, threads=1))
    return {"refused": [message] if sensor is None else [], "frames": 0}


def resume(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Measure the two movies of a checkpoint from there; save the count and sums."""
    import camnorm

    movies = [path.parent / name for name in ("a.mrc", "b.mrc")]
    output = path.with_suffix("")
    sensor, message = _refused(lambda: camnorm.measure(movies, output, screen="off", threads=1))
    if sensor is None:
        return {"refused": [message]}
    output.unlink()
    moments = sensor.moments
    np.savez(found, **{"0": np.array([moments.count]), "1": moments.sum(), "2": moments.sum_of_squares()})
    return {"refused": [], "frames": 3}


def compare(sample: Sample, path: Path, found: Path) -> dict[str, Any]:
    """Compare what camnorm found with what another library reads."""
    assert sample.read is not None
    with np.load(found) as saved:
        frames = {int(name): saved[name] for name in saved.files}
    refused = []
    try:
        for index, expected in enumerate(sample.read(path)):
            if index not in frames:
                continue
            frame = frames.pop(index)
            if expected is None:
                refused.append(index)
            elif not _equal(frame, expected):
                return {"different": _difference(frame, expected)}
    except Exception as error:
        return {"cannot": f"{type(error).__name__}: {error}"}
    if refused:
        return {"cannot": "the other library refuses some of the frames"}
    return {"different": "the other library has fewer frames"} if frames else {}


def _difference(a: Image, b: Image) -> str:
    if a.shape != b.shape:
        return f"{'x'.join(map(str, a.shape))} pixels, not {'x'.join(map(str, b.shape))}"
    return f"{np.sum(a != b)} other pixels, {a.dtype.name}, not {b.dtype.name}"


def _equal(a: Image, b: Image) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")


TASKS = {
    "frames": read_frames,
    "sensor": read_sensor,
    "inputs": read_inputs,
    "frame list": measure_listed,
    "checkpoint": resume,
    "compare": compare,
}


@contextmanager
def _private_output() -> Iterator[IO[str]]:
    """The pipe to who asks, to which no library writes."""
    with os.fdopen(os.dup(1), "w") as pipe:
        os.dup2(2, 1)
        yield pipe


def _peak() -> int:
    """Largest memory of the process since it was last asked for."""
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return peak * 1024


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    """Answer requests until there are no more."""
    import camnorm  # noqa: F401 - before memory is limited

    known = samples()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    _limit_memory()
    with _private_output() as pipe:
        print("ready", file=pipe, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            _peak()
            task, sample = TASKS[request["task"]], known[request["sample"]]
            try:
                answer = task(sample, Path(request["path"]), Path(request["found"]))
            except Exception as error:
                answer = {"fault": f"{type(error).__name__}: {error}"}
                traceback.print_exc()
            print(json.dumps({**answer, "peak": _peak()}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
