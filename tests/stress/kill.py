"""Runs of camnorm are ended at any moment, and nothing is lost.

Each round does this in an empty folder, or in one with older results:

1. Run a command and end it, once to three times: before one of its operations on files of the output folder,
   each in its turn, or at a random time; by SIGKILL, SIGTERM or SIGINT. After each time every result that has
   its final name is whole and right, or the older one; nothing outside the output folder has changed.
2. Run the same command to its end. It succeeds, all results are right, and nothing else is in the folder.

Usage: python tests/stress/kill.py [--seconds 60] [--kills N] [--seed N] [--only WORDS] [--jobs N]
"""

from __future__ import annotations

import random
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import cycle
from pathlib import Path

from cases import Case, Cases
from common import (
    Plan,
    arguments_of_rounds,
    check_complete,
    check_results,
    contents,
    finish,
    require,
    run_rounds,
    start,
    working_folder,
)

_TIMES = {"measure": 4, "correct": 4}  # as often as other verbs
_THREADED = ("measure", "correct", "verify")
_SIGNALS = [signal.SIGKILL] * 8 + [signal.SIGTERM, signal.SIGINT]
_AT_RANDOM_TIMES = 0.3  # of the kills; the others are at operations


class Round:
    """One command that is ended again and again, and then not."""

    def __init__(self, cases: Cases, case: Case, number: int, seed: int, folder: Path) -> None:
        self.name = f"round {number}, {case.name}"
        self.case = case
        self.folder = folder / f"round {number}"
        self.log: list[str] = []
        """What was done."""
        self.kills = 0
        self._cases = cases
        self._out = self.folder / "out"
        self._random = random.Random(f"{seed} {number}")

    def run(self) -> None:
        """Do all this."""
        self._cases.prepare(self.case)
        self.folder.mkdir()
        old = self._cases.make_output(self.case, self._out)
        for _ in range(self._random.randint(1, 3)):
            self._kill()
            self._check_outside()
            check_results(self._out, self.case.checks, old)
        self._run_to_the_end()
        self._check_outside()
        check_complete(self._out, self.case.checks)
        shutil.rmtree(self.folder)

    def _kill(self) -> None:
        number = self._random.choice(_SIGNALS)
        delay = self._random.uniform(0, self.case.seconds)
        at_operation = self._random.random() > _AT_RANDOM_TIMES
        operation = self.case.next_operation(self._random) if at_operation else 0
        command = self._command()
        process = start(command, Plan(str(self._out), operation, number), self.folder)
        if not at_operation:
            with suppress(subprocess.TimeoutExpired):
                process.wait(delay)
            process.send_signal(number)
        ended = finish(process)
        moment = f"operation {operation}" if at_operation else f"{delay:.3f} s"
        self.log.append(f"{number.name} at {moment}: status {ended.status}: {shlex.join(command)}")
        # An interrupt that comes while Python imports may end it in any way.
        killed = ended.status in (-number, 128 + number) or "KeyboardInterrupt" in ended.err
        self.kills += killed
        # Else it was done before; or did not begin, since an earlier one had finished some results.
        done = ended.status in self.case.statuses or "--overwrite" in ended.err
        require(killed or done, f"ended with status {ended.status}: {ended.err}")

    def _run_to_the_end(self) -> None:
        ended = finish(start(self._command(), Plan(str(self._out)), self.folder))
        if ended.status == 1 and "--overwrite" in ended.err:  # some results were finished
            ended = finish(start(self._command("--overwrite"), Plan(str(self._out)), self.folder))
        self.log.append(f"not killed: status {ended.status}")
        require(ended.status in self.case.statuses, f"the next run fails: {ended.err}")

    def _command(self, *more: str) -> list[str]:
        threads = ["--threads", str(self._random.randint(1, 4))] if self.case.verb in _THREADED else []
        return self.case.command(self._out, *threads, *more)

    def _check_outside(self) -> None:
        require(contents(self._cases.data) == self._cases.before, "inputs have changed")
        outside = {path.name for path in self.folder.iterdir()} - {"out"}
        require(not outside, f"written outside of the output folder: {outside}")


def schedule(cases: Sequence[Case]) -> Iterator[Case]:
    """Cases without end: several of measure and of correct, then one of each other verb."""
    of_verb = {case.verb: cycle([other for other in cases if other.verb == case.verb]) for case in cases}
    for verb in cycle([name for name in of_verb for _ in range(_TIMES.get(name, 1))]):
        yield next(of_verb[verb])


def main() -> None:
    """Parse arguments, and leave with status 1 if there was a violation."""
    parser = arguments_of_rounds(__doc__)
    parser.add_argument("--kills", type=int, default=sys.maxsize, help="how many kills, if that is sooner")
    parser.add_argument("--only", default="", help="cases with this in their name, such as 'correct zarr'")
    options = parser.parse_args()
    kills: Counter[str] = Counter()
    rounds: Counter[str] = Counter()

    def count(done: Round) -> None:
        kills[done.case.verb] += done.kills
        rounds[done.case.verb] += 1

    with working_folder("kill") as folder:
        cases = Cases(folder)
        chosen = schedule([case for case in cases.all() if options.only in case.name])
        made = (Round(cases, case, number, options.seed, folder) for number, case in enumerate(chosen))
        violations = run_rounds(made, options, count, lambda: kills.total() >= options.kills)
        for verb in rounds:
            print(f"{verb:<10}{kills[verb]:5} kills in {rounds[verb]} rounds")
    sys.exit(violations > 0)


if __name__ == "__main__":
    main()
