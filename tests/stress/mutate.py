"""Files of all kinds are damaged in all ways: each is refused, or read as another library reads it.

Each mutation changes a whole file: bytes, its length, blocks that change places, numbers of its header that
become extreme, or the end of another file behind its beginning. camnorm reads it in a process of limited
memory. It may

- refuse the file, or single frames, by a camnorm.Error or an OSError of one line;
- give frames: those of the file with other pixels, if only pixels were changed; else those that another
  library reads from the same bytes.

A crash, another exception, 20 seconds or 2 GB are faults: the exit status is 1. Frames that differ from those
of the other library, or that it refuses to read, are listed by kind, to be judged by people: the libraries
have errors too.

Usage: python tests/stress/mutate.py [--seconds 60] [--count N] [--seed N] [--format WORDS] [--number N]
"""

from __future__ import annotations

import argparse
import json
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from common import Image, working_folder
from damage_files import Files, damage, mutate
from samples import Sample, frames, pack, samples, unpack

_READER = Path(__file__).with_name("reader.py")
_SECONDS = 20.0
_START_SECONDS = 60.0
_MOST_MEMORY = 2 * 10**9
# What must come of them


@dataclass(frozen=True)
class Original:
    """A file that is whole."""

    sample: Sample
    files: Files
    frames: Mapping[int, Image]
    """What camnorm reads from it."""

    def expected(self, files: Files) -> dict[int, Image | None] | None:
        """The frames of a damaged file, if it was damaged in nothing but plain pixels, or at its end.

        Frames whose pixels are not all there are None.
        """
        data, changed = self.files.get(""), files.get("")
        places = self._places()
        if data is None or changed is None or places is None:
            return None
        outside = np.ones(len(data), bool)
        for (start, stop), _ in places.values():
            outside[start:stop] = False
        common = min(len(data), len(changed))
        one, other = (np.frombuffer(part[:common], np.uint8) for part in (data, changed))
        if (one != other)[outside[:common]].any() or outside[common:].any():
            return None
        return {
            index: np.frombuffer(changed[start:stop], dtype).reshape(self.frames[index].shape)
            if stop <= len(changed)
            else None
            for index, ((start, stop), dtype) in places.items()
        }

    def _places(self) -> dict[int, tuple[tuple[int, int], np.dtype[Any]]] | None:
        """Where the pixels of each frame lie, and of what dtype; None if they are not plain."""
        places = {}
        for index, frame in self.frames.items():
            for dtype in (frame.dtype, frame.dtype.newbyteorder()):
                start = self.files.get("", b"").find(frame.astype(dtype).tobytes())
                if start >= 0:
                    places[index] = (start, start + frame.nbytes), dtype
                    break
            else:
                return None
        return places


@dataclass(frozen=True)
class Outcome:
    """What came of a mutation."""

    kind: str
    """Column of the table."""
    detail: str = ""


class Reader:
    """A process of reader.py, started anew when it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, **request: object) -> dict[str, Any]:
        """Have it do a task; the answer, or what is wrong with it under "fault"."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        print(json.dumps(request), file=process.stdin, flush=True)
        line = self._line(process, _SECONDS)
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        hangs = process.poll() is None and line is None
        self.end()
        if hangs:
            return {"fault": f"not done after {_SECONDS:g} seconds"}
        return {
            "fault": f"ended by {signal.Signals(-process.returncode).name}"
            if process.returncode < 0
            else "ended"
        }

    def end(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(_READER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        if self._line(process, _START_SECONDS) != "ready\n":
            raise RuntimeError(f"{_READER} does not start")
        return process

    def _line(self, process: subprocess.Popen[str], seconds: float) -> str | None:
        """The next line of a process; an empty one if it has ended, None if it is busy for so long."""
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], seconds)
        return process.stdout.readline() if ready else None


class Lane:
    """Reads one file after another, with camnorm in one process, with other libraries in another."""

    def __init__(self, number: int, folder: Path) -> None:
        self._folder = folder
        self._name = f"file_{ascii_lowercase[number]}"  # fabio looks for other files of a number
        self._found = folder / f"{self._name}.npz"
        self._camnorm, self._other = Reader(), Reader()

    def read(self, sample: Sample, files: Files) -> tuple[dict[str, Any], dict[int, Image], Path]:
        """Read files with camnorm: its answer, and the frames."""
        path = self._folder / f"{self._name}{sample.suffix}"
        write(path, files)
        self._found.unlink(missing_ok=True)
        answer = self._camnorm.ask(
            task=sample.task, sample=sample.name, path=str(path), found=str(self._found)
        )
        if not answer.get("frames"):
            return answer, {}, path
        with np.load(self._found) as saved:
            return answer, {int(name): saved[name] for name in saved.files}, path

    def judge(self, original: Original, files: Files) -> Outcome:
        """Read a damaged file, and compare what was read."""
        sample = original.sample
        answer, found, path = self.read(sample, files)
        fault = _fault_of(answer)
        if fault:
            return Outcome("fault", fault)
        if answer["refused"] and not found:
            return Outcome("refused", answer["refused"][0])
        if not found:
            return Outcome("accepted")
        expected = original.expected(files)
        if expected is not None:
            return _compare(found, expected)
        if sample.read is not None:
            compared = self._other.ask(
                task="compare", sample=sample.name, path=str(path), found=str(self._found)
            )
            if "different" in compared:
                return Outcome("different", compared["different"])
            cannot = compared.get("cannot", compared.get("fault"))
            if cannot is None:
                return Outcome("equal")
        else:
            cannot = "there is no other library"
        unchanged = _compare(found, original.frames).kind == "equal"
        return Outcome("equal") if unchanged else Outcome("unchecked", cannot)

    def end(self) -> None:
        """End the processes."""
        self._camnorm.end()
        self._other.end()


def _fault_of(answer: Mapping[str, Any]) -> str:
    if "fault" in answer:
        return str(answer["fault"])
    if answer["peak"] > _MOST_MEMORY:
        return f"{answer['peak'] / 1e9:.1f} GB of memory"
    lines = [message for message in answer["refused"] if len(message.splitlines()) != 1]
    return f"a message of several lines: {lines[0]!r}" if lines else ""


def _compare(found: Mapping[int, Image], expected: Mapping[int, Image | None]) -> Outcome:
    """Compare frames with those expected; there may be others, but none in place of None."""
    for index, frame in found.items():
        if index in expected and not _equal(frame, expected[index]):
            return Outcome("different", "frames have other pixels than the file")
    return Outcome("equal")


def _equal(frame: Image, expected: Image | None) -> bool:
    return (
        expected is not None
        and frame.shape == expected.shape
        and np.array_equal(frame, expected, equal_nan=frame.dtype.kind == "f")
    )


def write(path: Path, files: Files) -> None:
    """Put a file, or a directory, in its place."""
    remove(path)
    for name, data in files.items():
        target = path / name if name else path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def remove(path: Path) -> None:
    """Remove a file, or a directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def read_files(path: Path) -> Files:
    """What is in a file or a directory."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }


class Run:
    """All mutations of a run."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        """Of each kind of file."""
        self.notes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
        """Numbers of the mutations of each outcome that is to be judged."""
        self._options = options
        self._folder = folder
        self._end = time.monotonic() + options.seconds
        self._numbers = count(options.number or 0)
        self._lock = threading.Lock()
        self._originals = self._write_originals()

    def do(self) -> None:
        """Judge mutations until there were enough, in several lanes."""
        with ThreadPoolExecutor(self._options.jobs) as pool:
            for future in [pool.submit(self._work, number) for number in range(self._options.jobs)]:
                future.result()

    def _write_originals(self) -> list[Original]:
        """Write all files, and see that camnorm reads what the other libraries read."""
        originals = []
        lane = Lane(0, self._folder)
        for sample in samples().values():
            if self._options.format.lower() not in sample.name.lower():
                continue
            path = self._folder / f"original{sample.suffix}"
            remove(path)
            sample.write(path, frames())
            files = read_files(path)
            answer, found, _ = lane.read(sample, files)
            if _fault_of(answer) or answer["refused"]:
                raise RuntimeError(f"the undamaged {sample.name} cannot be read: {answer}")
            original = Original(sample, files, found)
            outcome = lane.judge(original, files)
            if outcome.kind not in ("equal", "accepted"):
                raise RuntimeError(f"the undamaged {sample.name} is {outcome}")
            originals.append(original)
        lane.end()
        return originals

    def _work(self, lane_number: int) -> None:
        lane = Lane(lane_number, self._folder)
        stop = 1 if self._options.number is not None else self._options.count
        first = self._options.number or 0
        while time.monotonic() < self._end and (number := next(self._numbers)) < first + stop:
            original, files = self.mutation(number)
            outcome = lane.judge(original, files)
            self._note(number, original.sample.name, outcome)
            if outcome.kind == "fault" or self._options.number is not None:
                write(self._folder / f"fault {number}{original.sample.suffix}", files)
        lane.end()

    def mutation(self, number: int) -> tuple[Original, Files]:
        """A mutation, the same in every run with the same seed and formats."""
        original = self._originals[number % len(self._originals)]
        random_ = random.Random(f"{self._options.seed} {number} {original.sample.name}")
        others = [data for other in self._originals for data in other.files.values()]
        packing = original.sample.packing
        if packing and random_.random() < 0.5:
            inside = damage(unpack(packing, original.files[""]), random_, others)
            return original, {"": pack(packing, inside)}
        return original, mutate(original.files, random_, others)

    def _note(self, number: int, name: str, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[name][outcome.kind] += 1
            if outcome.kind in ("different", "unchecked", "fault"):
                # Numbers differ from file to file.
                detail = re.sub(r"\d+", "N", outcome.detail)[:150]
                self.notes[outcome.kind, name, detail].append(number)
            if self._options.number is not None:
                print(f"{name}: {outcome}")


_COLUMNS = ("refused", "equal", "accepted", "unchecked", "different", "fault")


def main() -> None:
    """Parse arguments, print a table, and leave with status 1 if there was a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="how long to go on")
    parser.add_argument(
        "--count", type=int, default=sys.maxsize, help="how many mutations, if that is sooner"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", default="", help="kinds of files with this in their name")
    parser.add_argument("--number", type=int, help="do only this mutation, and keep the file")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time")
    options = parser.parse_args()
    with working_folder("mutate") as folder:
        run = Run(options, folder)
        run.do()
        print(*(f"see {path}" for path in sorted(folder.glob("fault *"))), sep="\n")
    print(f"{'':<28}" + "".join(f"{column:>11}" for column in _COLUMNS))
    total: Counter[str] = Counter()
    for name, outcomes in run.outcomes.items():
        total += outcomes
        print(f"{name:<28}" + "".join(f"{outcomes[column]:>11}" for column in _COLUMNS))
    print(f"{'in all':<28}" + "".join(f"{total[column]:>11}" for column in _COLUMNS))
    for (kind, name, detail), numbers in sorted(run.notes.items()):
        print(f"{kind}: {name}: {len(numbers)} times: {detail} (mutation {', '.join(map(str, numbers[:5]))})")
    sys.exit(total["fault"] > 0)


if __name__ == "__main__":
    main()
