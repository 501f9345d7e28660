"""Two to four runs of camnorm write to the same places at once, and none of them harms another.

Each round starts commands at about the same time; each waits before a random operation on files of the output
folder, so that they meet everywhere. Required afterwards:

- each run has succeeded, or said in one line that the output is being written by another process, or is there
  already; at least one has succeeded;
- every result that has its final name is whole, and that of one of the runs that succeeded;
- the next run of one of the commands succeeds, and nothing else is in the folder then.

Usage: python tests/stress/together.py [--seconds 60] [--rounds N] [--seed N] [--only WORDS] [--jobs N]
"""

from __future__ import annotations

import random
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from cases import Case, Cases
from common import (
    Ended,
    Plan,
    Violation,
    arguments_of_rounds,
    check_complete,
    check_results,
    check_sensor,
    contents,
    entries,
    finish,
    require,
    run_rounds,
    start,
    working_folder,
)

_LONGEST_WAIT = 0.6  # seconds, about what a run takes
_REFUSALS = ("is being written by another camnorm process", "--overwrite")


class Round:
    """Some commands that run together in one folder."""

    def __init__(self, name: str, together: Sequence[Case], cases: Cases, seed: str, folder: Path) -> None:
        self.name = f"{folder.name}, {name}"
        self.kind = name
        self.folder = folder
        self.log: list[str] = []
        """What was done."""
        self.succeeded = 0
        self._random = random.Random(seed)
        self._together = list(islice(cycle(together), self._random.randint(2, 4)))
        self._cases = cases
        self._out = folder / "out"

    def run(self) -> None:
        """Do all this."""
        for case in self._together:
            self._cases.prepare(case)
        self.folder.mkdir()
        old = self._cases.make_output(self._together[0], self._out)
        done = [
            case
            for case, ended in zip(self._together, self._run_together(), strict=True)
            if self._has_succeeded(case, ended)
        ]
        require(done, "no run has succeeded")
        self.succeeded = len(done)
        self._check_results(done, old)
        case = self._random.choice(self._together)
        self._run_again(case)
        every = {name: check for one in (*self._together, case) for name, check in one.checks.items()}
        check_complete(self._out, case.checks, every)
        require(contents(self._cases.data) == self._cases.before, "inputs have changed")
        shutil.rmtree(self.folder)

    def _run_together(self) -> list[Ended]:
        processes = []
        for case in self._together:
            operation = self._random.randint(1, case.operations)
            seconds = self._random.uniform(0, _LONGEST_WAIT)
            command = case.command(self._out)
            self.log.append(f"waits {seconds:.3f} s before operation {operation}: {shlex.join(command)}")
            processes.append(start(command, Plan(str(self._out), operation, seconds=seconds), self.folder))
            time.sleep(self._random.choice([0, 0, 0.1, 0.3]))
        try:
            return [finish(process) for process in processes]
        finally:
            for process in processes:  # if one of them did not end
                process.kill()

    def _has_succeeded(self, case: Case, ended: Ended) -> bool:
        self.log.append(f"status {ended.status}: {ended.err.strip()}")
        if ended.status in case.statuses:
            return True
        lines = [line for line in ended.err.splitlines() if not line.startswith("camnorm: warning: ")]
        clear = len(lines) == 1 and any(refusal in lines[0] for refusal in _REFUSALS)
        require(ended.status == 1 and clear, f"a run ends with status {ended.status}: {ended.err}")
        return False

    def _check_results(self, done: Sequence[Case], old: Path | None) -> None:
        """Each run that succeeded has all its results; every result is that of one of these.

        If none has succeeded, it is that of any run, or an older one.
        """
        found = list(entries(self._out))
        for case in done:
            for name in case.checks:
                require(any(fnmatch(entry, name) for entry in found), f"there is no {name}")
        errors = []
        for entry in found:
            for case in done or self._together:
                try:
                    check_results(self._out, case.checks, None if done else old, only=entry)
                    break
                except Violation as error:
                    errors.append(str(error))
            else:
                raise Violation("; ".join(errors))

    def _run_again(self, case: Case) -> None:
        """As after a kill: what others have finished is replaced."""
        ended = finish(start(case.command(self._out), Plan(str(self._out)), self.folder))
        if ended.status == 1 and "--overwrite" in ended.err:
            ended = finish(start(case.command(self._out, "--overwrite"), Plan(str(self._out)), self.folder))
        self.log.append(f"alone: status {ended.status}")
        require(ended.status in case.statuses, f"the next run fails: {ended.err}")


def meetings(cases: Cases) -> dict[str, Sequence[Case]]:
    """Commands that meet in one folder."""
    known = {case.name: case for case in cases.all()}
    measure, correct, merge = known["measure mrc"], known["correct mrc none"], known["merge"]
    files = [str(cases.data / "mrc" / f"{name}.mrc") for name in cases.parts[0].files]
    other = Case(
        "measure others",
        ["measure", *files, *measure.arguments[2:]],
        {"s.h5": partial(check_sensor, movies=cases.parts[0])},
    )
    some = Case(
        "correct some",
        ["correct", *files, *correct.arguments[2:]],
        {name: check for name, check in correct.checks.items() if name[:-4] in cases.parts[0].files},
    )
    return {
        "measure the same": [measure],
        "measure others": [measure, other],
        "measure and merge": [measure, merge],
        "merge twice": [merge],
        "correct the same": [correct],
        "correct some of the same": [correct, some],
        "correct --overwrite": [known["correct tiff zstd --overwrite"]],
        "correct --overwrite, zarr": [known["correct zarr none --overwrite"]],
        "correct --virtual": [known["correct --virtual"]],
        "verify": [known["verify"]],
        "show": [known["show"]],
    }


def main() -> None:
    """Parse arguments, and leave with status 1 if there was a violation."""
    parser = arguments_of_rounds(__doc__)
    parser.add_argument("--rounds", type=int, default=sys.maxsize, help="how many, if that is sooner")
    parser.add_argument("--only", default="", help="meetings with this in their name, such as 'measure'")
    options = parser.parse_args()
    rounds: Counter[str] = Counter()
    succeeded: Counter[str] = Counter()

    def count(done: Round) -> None:
        rounds[done.kind] += 1
        succeeded[done.kind] += done.succeeded

    def make(known: Mapping[str, Sequence[Case]], cases: Cases, folder: Path) -> Iterator[Round]:
        for number, (name, together) in enumerate(cycle(known.items())):
            yield Round(name, together, cases, f"{options.seed} {number}", folder / f"round {number}")

    with working_folder("together") as folder:
        cases = Cases(folder)
        known = {name: some for name, some in meetings(cases).items() if options.only in name}
        made = make(known, cases, folder)
        violations = run_rounds(made, options, count, lambda: rounds.total() >= options.rounds)
    for name in rounds:
        print(f"{name:<28}{rounds[name]:4} rounds, {succeeded[name]} runs succeeded")
    sys.exit(violations > 0)


if __name__ == "__main__":
    main()
