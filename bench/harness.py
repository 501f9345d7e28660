"""What the benchmarks of whole programs share: child processes, the machine, tables.

Only the standard library is used here: the peak memory of a child is never told as less than that of the
process that started it, which must therefore stay small.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
WORKER = HERE / "worker.py"
REPEATING = HERE / "repeating.py"
GIB = 2**30

_THREAD_VARIABLES = (
    "CAMNORM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
)
# What may hold NumPy back on the machine at hand, and is no part of a comparison.
_UNSET_VARIABLES = ("CAMNORM_ISA", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


# Files are listed again and again, whose frames are copies that screening would take back.
UNSCREENED = ("--screen", "off")


class Skipped(Exception):
    """A contender that is not there; the message is the word for it in the table."""


@dataclass(frozen=True)
class Run:
    """What a child process took and said."""

    seconds: float
    """From before its start to after its end."""
    processor: float
    """Processor time of the process and its children, in seconds."""
    peak: int
    """Largest resident memory in bytes, pages mapped from files included, of it or a child of its own."""
    output: str
    """Its standard output."""


@dataclass(frozen=True)
class Section:
    """What a part of a program found."""

    rows: list[dict[str, Any]]
    """For programs."""
    text: str
    """For people, in Markdown."""


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Options that all the programs have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=cores(), metavar="N", help="by default all cores")
    parser.add_argument("--repeats", type=int, default=3, metavar="K", help="the best of K counts")
    parser.add_argument("--quick", action="store_true", help="tiny files, once: does it work at all?")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="for the files made, which are kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--readme", action="store_true", help="put the tables into bench/README.md")
    return parser


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit(threads: int) -> None:
    """Keep this process's children to a number of cores, and tell their libraries."""
    for name in _UNSET_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@contextmanager
def working_directory(given: Path | None) -> Iterator[Path]:
    """The directory that was given, or a temporary one."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="camnorm-bench-") as name:
        yield Path(name)


def run(command: Sequence[str | os.PathLike[str]]) -> Run:
    """Run a command, without which there is no sense in going on.

    Raises
    ------
    RuntimeError
        It fails; with what it said.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            words = " ".join(map(str, command))[:300]
            raise RuntimeError(f"{words}: exit status {process.returncode}\n{out.read()}{err.read()}")
        unit = 1 if sys.platform == "darwin" else 1024
        processor = usage.ru_utime + usage.ru_stime
        return Run(seconds, processor, usage.ru_maxrss * unit, out.read())


def camnorm(*arguments: str | os.PathLike[str]) -> Run:
    """Run the command ``camnorm`` of this Python; files that are named again count again."""
    return run([sys.executable, REPEATING, *arguments, "--json"])


def work(task: str, python: Path | None = None, /, **options: Any) -> tuple[Any, Run]:
    """Run a function of worker.py in a process of its own: what it returns, and what that took.

    Another Python than that of this process may be named.

    Raises
    ------
    Skipped
        It needs a package that is not installed.
    """
    done = run([python or sys.executable, WORKER, task, json.dumps(options, default=str)])
    result = json.loads(done.output.splitlines()[-1])
    if isinstance(result, dict) and "missing" in result:
        raise Skipped(f"{result['missing']} is not installed")
    return result, done


def make_files(
    directory: Path, dtype: str, shape: tuple[int, int], each: int, movies: int, compression: str = ""
) -> list[Path]:
    """Simulated movies, in the page cache; an earlier run's if the directory has them."""
    suffix = ".tif" if compression else ".mrcs"
    stem = "_".join(filter(None, [dtype, compression, *map(str, shape), str(each)]))
    paths = [directory / f"{stem}_{number}{suffix}" for number in range(movies)]
    if not all(path.exists() for path in paths):
        work("make", paths=paths, dtype=dtype, shape=shape, frames=each, compression=compression)
    warm(paths)
    return paths


def warm(paths: Sequence[Path]) -> None:
    """Read files once, so that they are in the page cache."""
    buffer = bytearray(2**22)
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def write_list(path: Path, files: Sequence[Path]) -> str:
    """Write a list of inputs for camnorm; return its name as an argument."""
    path.write_text("".join(f"{file}\n" for file in files))
    return f"@{path}"


def machine(threads: int, versions: Mapping[str, str]) -> dict[str, Any]:
    """What ran where: enough to tell why figures of another machine differ."""
    build, _ = work("build_info")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="minutes"),
        "cpu": _cpu_model(),
        "cores": cores(),
        "threads": threads,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "build_info": build,
        "versions": dict(versions),
    }


def machine_text(facts: Mapping[str, Any]) -> str:
    """The machine in words, for people."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    build = ", ".join(f"{name} {value}" for name, value in facts["build_info"].items())
    return (
        f"{facts['date'][:10]}: {facts['cpu']}, {facts['cores']} cores used with {facts['threads']} threads, "
        f"{facts['memory'] / GIB:.0f} GiB, {facts['kernel']}, Python {facts['python']}; {versions}; "
        f"camnorm's build: {build}.\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [list(header), ["---", *["---:"] * (len(header) - 1)], *map(list, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def finish(options: argparse.Namespace, facts: Mapping[str, Any], sections: Mapping[str, Section]) -> None:
    """Print the tables, and write them where the options say; what was not run stays there as it is."""
    texts = {name: f"{section.text}\n{machine_text(facts)}" for name, section in sections.items()}
    print("\n".join(texts.values()))
    if options.json is not None:
        figures = json.loads(options.json.read_text()) if options.json.exists() else {}
        chosen = {key: value for key, value in vars(options).items() if key not in ("json", "readme")}
        for name, section in sections.items():
            figures[name] = {"machine": facts, "options": chosen, "rows": section.rows}
        options.json.write_text(json.dumps(figures, indent=1, default=str) + "\n")
    if options.readme:
        put_into(HERE / "README.md", texts)


def put_into(document: Path, texts: Mapping[str, str]) -> None:
    """Put texts in the places of these names in a document."""
    content = document.read_text()
    for name, text in texts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        before, _, rest = content.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{document} has no place for the table of {name}")
        content = f"{before}{begin}\n{text}\n{end}{after}"
    document.write_text(content)


def seconds_text(seconds: float) -> str:
    """Seconds with three digits."""
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def bytes_text(count: float) -> str:
    """Bytes in the unit that suits them."""
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"


def rate_text(bytes_per_second: float) -> str:
    """A rate, in powers of ten."""
    return f"{bytes_per_second / 1e9:.2f} GB/s"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
