"""Commands of camnorm that write files, and what must be in these."""

from __future__ import annotations

import random
import shlex
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from common import (
    SUFFIXES,
    Check,
    Plan,
    check_complete,
    check_corrected,
    check_correction,
    check_frames_csv,
    check_frc,
    check_manifest,
    check_sensor,
    contents,
    finish,
    make_movies,
    require,
    same_as,
    start,
    write,
)

OUT = "OUT"  # stands for the output folder in the arguments of a case

# The dark frame of the movies is rejected by this.
_LIMITS = ("--mean", "50:")

_DONE = frozenset({0})
_DONE_OR_NEGATIVE = frozenset({0, 3})


@dataclass
class Case:
    """A command and its results."""

    name: str
    arguments: Sequence[str]
    checks: Mapping[str, Check]
    """Of each result, by its name in the output folder, or by a pattern of names."""
    statuses: AbstractSet[int] = _DONE
    """Of a run that does its work."""
    replaces: bool = False
    """Whether there are older results before."""
    seconds: float = 0.0
    """What a whole run takes."""
    operations: int = 0
    """Of a whole run on files in the output folder."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    _left: list[int] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """The verb of camnorm."""
        return self.arguments[0]

    def command(self, out: Path, *more: str) -> list[str]:
        """Arguments of the command line."""
        return [argument.replace(OUT, str(out)) for argument in (*self.arguments, *more)]

    def next_operation(self, random_: random.Random) -> int:
        """Number of an operation, each in its turn, in a random order."""
        with self.lock:
            if not self._left:
                self._left = random_.sample(range(1, self.operations + 1), self.operations)
            return self._left.pop()


class Cases:
    """All commands, with their inputs in a folder that none of them may change."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._whole = folder / "whole"
        self._whole.mkdir()
        self.movies = make_movies(5, 4, (48, 48), 1)
        self._mixed = {"a": make_movies(3, 4, (48, 48), 2), "b": make_movies(3, 4, (24, 32), 3)}
        for kind in SUFFIXES:
            write(self.data / kind, self.movies, kind)
        for name, movies in self._mixed.items():
            write(self.data / "mixed" / name, movies, "mrc")
        names = list(self.movies.files)
        self.parts = [self.movies.only(*names[:2]), self.movies.only(*names[2:])]
        self.sensors = [self.data / f"{name}.h5" for name in ("all", "first", "second")]
        for sensor, movies in zip(self.sensors, [self.movies, *self.parts], strict=True):
            files = [str(self.data / "mrc" / f"{name}.mrc") for name in movies.files]
            self._run(["measure", *files, "-o", str(sensor), *_LIMITS])
        self.before = contents(self.data)
        """What the inputs are."""

    def all(self) -> list[Case]:
        """All cases; those of a verb follow each other."""
        return [*self._measure(), *self._correct(), *self._merge(), *self._others()]

    def prepare(self, case: Case) -> None:
        """Run a case once, as nothing disturbs it: it must do what it is checked for."""
        with case.lock:
            if case.operations:
                return
            if case.replaces:
                old = self._old(case)
                old.mkdir()
                arguments = [argument for argument in case.command(old) if argument != "--overwrite"]
                self._run([*arguments, "--target-mean", "0"])
            out, report = self._whole / case.name, self._whole / f"{case.name}.operations"
            self.make_output(case, out)
            begin = time.monotonic()
            self._run(case.command(out), Plan(str(out), report=str(report)), case.statuses)
            case.seconds = time.monotonic() - begin
            check_complete(out, case.checks)
            case.operations = int(report.read_text())

    def make_output(self, case: Case, out: Path) -> Path | None:
        """Make the output folder of a case; returns the folder of which older results were put in it."""
        out.mkdir()
        if not case.replaces:
            return None
        old = self._old(case)
        shutil.copytree(old, out, dirs_exist_ok=True)
        return old

    def _old(self, case: Case) -> Path:
        return self._whole / f"{case.name}, before"

    def _run(
        self, arguments: Sequence[str], plan: Plan | None = None, statuses: AbstractSet[int] = _DONE
    ) -> None:
        ended = finish(start(arguments, plan or Plan(str(self._whole)), self._whole))
        require(ended.status in statuses, f"{shlex.join(arguments)}: {ended.err}")

    def _measure(self) -> Iterator[Case]:
        result = partial(check_sensor, movies=self.movies)
        for kind in SUFFIXES:
            yield Case(f"measure {kind}", self._measuring(kind), {"s.h5": result})
        responding = partial(check_sensor, movies=self.movies, response=True)
        yield Case("measure --response", [*self._measuring("mrc"), "--response"], {"s.h5": responding})
        arguments = [*self._measuring("mrc"), "--frames-csv", f"{OUT}/frames.csv"]
        table = partial(check_frames_csv, movies=self.movies)
        yield Case("measure --frames-csv", arguments, {"s.h5": result, "frames.csv": table})
        groups = {
            f"s_{number}.h5": partial(check_sensor, movies=movies)
            for number, movies in enumerate(self._mixed.values(), start=1)
        }
        yield Case("measure --split", [*self._measuring("mixed"), "--split"], groups)

    def _measuring(self, folder: str) -> list[str]:
        return ["measure", str(self.data / folder), "-o", f"{OUT}/s.h5", *_LIMITS]

    def _correct(self) -> Iterator[Case]:
        corrected = self.movies.corrected()
        kinds = {
            "mrc": ["none"],
            "tiff": ["none", "lzw", "deflate", "zstd"],
            "hdf5": ["none", "deflate"],
            "zarr": ["none", "zstd"],
        }
        for kind, compressions in kinds.items():
            # Programs count rows from opposite edges.
            order = -1 if kind == "tiff" else 1
            checks = {
                f"{name}{SUFFIXES[kind]}": partial(check_corrected, expected=movie[:, ::order])
                for name, movie in corrected.items()
            }
            for compression in compressions:
                options = ["--format", kind, "--compression", compression]
                yield from self._twice(f"correct {kind} {compression}", options, checks)
        sums = {
            f"{name}.mrc": partial(check_corrected, expected=movie.sum(0, keepdims=True))
            for name, movie in corrected.items()
        }
        yield from self._twice("correct --sum", ["--sum"], sums)
        manifests: dict[str, Check] = {
            f"{name}.mrc.camnorm.json": partial(check_manifest, movies=self.movies) for name in corrected
        }
        manifests["correction-*.camnorm"] = partial(check_correction, movies=self.movies)
        yield from self._twice("correct --virtual", ["--virtual"], manifests)

    def _twice(self, name: str, options: Sequence[str], checks: Mapping[str, Check]) -> Iterator[Case]:
        """Into an empty folder, and in place of other results."""
        arguments = ["correct", str(self.data / "mrc"), "-m", str(self.sensors[0]), "-o", OUT, *options]
        yield Case(name, arguments, checks)
        yield Case(f"{name} --overwrite", [*arguments, "--overwrite"], checks, replaces=True)

    def _merge(self) -> Iterator[Case]:
        whole, first, second = map(str, self.sensors)
        target = ["-o", f"{OUT}/s.h5"]
        merged, rest = (partial(check_sensor, movies=movies) for movies in (self.movies, self.parts[1]))
        yield Case("merge", ["merge", first, second, *target], {"s.h5": merged})
        yield Case("subtract", ["subtract", whole, first, *target], {"s.h5": rest})

    def _others(self) -> Iterator[Case]:
        sensor = str(self.sensors[0])
        states = [f"{images}_{state}" for images in ("pair", "groups") for state in ("raw", "corrected")]
        results = ["verify.json", "verify.png", *(f"verify_{state}.csv" for state in states)]
        arguments = ["verify", str(self.data / "mrc"), "-m", sensor, "-o", OUT, "--group", "2"]
        yield Case("verify", arguments, self._as_undisturbed("verify", *results), _DONE_OR_NEGATIVE)
        arguments = ["show", sensor, "-o", f"{OUT}/show.png"]
        yield Case("show", arguments, self._as_undisturbed("show", "show.png"))
        a, b = "movie_0", "movie_2"
        files = [str(self.data / "mrc" / f"{name}.mrc") for name in (a, b)]
        arguments = ["frc", *files, "--csv", f"{OUT}/frc.csv", "--plot", f"{OUT}/frc.png"]
        curve = partial(check_frc, a=self.movies.files[a][0], b=self.movies.files[b][0])
        yield Case("frc", arguments, {"frc.csv": curve, **self._as_undisturbed("frc", "frc.png")})

    def _as_undisturbed(self, name: str, *results: str) -> dict[str, Check]:
        """Checks of files that can only be compared with those of a run that nothing disturbed."""
        return {result: same_as(self._whole / name / result) for result in results}
