"""The command line: parses arguments, calls the library, prints what it returns.

Results go to stdout, everything else to stderr. Exit status: 0 done, 1 failed, 2 wrong use, 3 done but
the verdict is negative, 128 + its number if a signal ended it: 130 after Ctrl-C.
"""

from __future__ import annotations

import inspect
import io
import logging
import math
import os
import re
import signal
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import Enum
from functools import wraps
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

import camnorm
from camnorm import jsontext
from camnorm.errors import NAN_HINT, NAN_REASON, message_of, shortage_of
from camnorm.io import Protected, ReadOptions, Selection, check_content
from camnorm.limits import raise_descriptor_limit
from camnorm.sensor.file import save_contents
from camnorm.sensor.framelist import check_frame_list_target, write_frame_list
from camnorm.terminal import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID
    from typing_extensions import Self

    from camnorm.diagnosis.convergence import Convergence
    from camnorm.diagnosis.finding import Finding
    from camnorm.diagnosis.fixedpattern import FixedPattern
    from camnorm.errors import FormatError
    from camnorm.fourier.curve import RingCorrelation
    from camnorm.progress import Progress
    from camnorm.sensor.sensor import Sensor
    from camnorm.verification.verdict import Assessment

__all__ = ["app", "main"]

_EVERYTHING = Selection()

_FAILED, _WRONG_USE, _NEGATIVE, _ENDED = 1, 2, 3, 128

# Of the tables on stdout, whose columns are not to be cut where a terminal is narrower.
_WIDTH = 100

# Rejected frames, checks that do not tell, and rings of a curve that people are shown; programs get all.
_REJECTED_SHOWN = 10
_UNTOLD_SHOWN = 2
_RINGS_SHOWN = 24

# Options by the arguments that the library's messages name.
_OPTIONS = {
    name: "--" + name.replace("_", "-")
    for takes in (camnorm.measure, camnorm.correct, camnorm.verify, camnorm.ReadOptions)
    for name in inspect.signature(takes).parameters
} | {
    "mean_limits": "--mean",
    "measure_groups": "--split",
    "out_dir": "--output",
    "std_limits": "--std",
    "sum_frames": "--sum",
}

# An argument with its value; a name that is no other word; or any name where it is what the message is about.
_NAMES = "|".join(_OPTIONS)
_ARGUMENT = re.compile(
    rf"(?<![\w./-])({_NAMES})=('[^']*'|[\w.]+)"
    rf"|(?<![\w./-])((?=\w*_)(?:{_NAMES}))(?![\w./=:-])"
    rf"|(?:^|(?<=: ))({_NAMES})(?= must | is too )"
)

app = typer.Typer(
    name="camnorm",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line and end the process."""
    _open_standard_streams()
    raise_descriptor_limit()
    if logging.lastResort is not None:  # what libraries log of the files that they read
        logging.lastResort.setFormatter(_PrintableFormatter())
    # A read-only home is no matter of the user's images.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    # Names of files may hold bytes that are no text, and a terminal may not know a sigma.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = app(_arguments(sys.argv[1:]), prog_name="camnorm", standalone_mode=False)
    except OSError as error:  # of a help that nobody takes: verbs say theirs themselves
        _complain("error", message_of(error))
        status = _FAILED
    except Exception as error:
        # Errors of use have no common class that every version of typer names.
        if not hasattr(error, "format_message"):
            sys.excepthook = lambda _, error, __: _print_trace(error)
            raise
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context else ""
        _complain("error", error.format_message() + hint)
        status = _WRONG_USE
    sys.exit(status)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _arguments(words: Sequence[str]) -> list[str]:
    """Give --keep-illumination its value, auto, where it has none: an option, an input or nothing follows."""
    end = words.index("--") if "--" in words else len(words)
    done = list(words)
    for place, word in enumerate(words[:end]):
        if word == "--keep-illumination" and not _is_value(*words[place + 1 : end][:1]):
            done[place] += "=auto"
    return done


def _is_value(word: str = "-") -> bool:
    """Whether the word behind --keep-illumination, if there is one, belongs to it."""
    with suppress(ValueError):
        float(word)
        return True
    return not (word.startswith(("-", "@")) or re.search(r"[*?\[]", word) or os.path.lexists(word))


def _open_standard_streams() -> None:
    """Have somewhere to print to, also if the streams are closed, as some daemons start programs.

    A file that is opened must not get the number of one of them: what libraries write there would be in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stdout is None or sys.stderr is None:
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end of the process
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere


# Frame of every verb: errors, progress, output


@contextmanager
def _session(debug: bool) -> Iterator[list[int]]:
    """Say errors and warnings in one line each, and leave with the status that belongs to them.

    Yields the signals that were to end the program, for a `_ProgressBar`.
    """
    with warnings.catch_warnings(), _signals_interrupt() as signals:
        warnings.showwarning = _show_warning
        try:
            yield signals
            print(end="", flush=True)
        except BrokenPipeError:
            # Whoever reads has seen enough.
            raise typer.Exit(_FAILED) from None
        except KeyboardInterrupt as interrupt:
            _complain("interrupted", *interrupt.args)
            raise typer.Exit(_ENDED + (signals or [signal.SIGINT])[0]) from None
        except Exception as error:
            told = shortage_of(error)
            if told is None and not isinstance(error, (camnorm.Error, OSError, ValueError, TypeError)):
                raise  # a mistake of the program
            if debug:
                _print_trace(error)
            _complain("error", message_of(told or error))
            raise typer.Exit(_FAILED) from None


@contextmanager
def _signals_interrupt() -> Iterator[list[int]]:
    """Have what else ends a program do what Ctrl-C does, so that nothing half done is left; tell of all.

    Schedulers and closing terminals send these. Ignored ones, as by nohup, stay ignored.
    """
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        waiting = signal.getsignal(signal.SIGINT)
        if waiting is not interrupt and callable(waiting):  # for when it does no harm
            waiting(number, frame)
        else:
            raise KeyboardInterrupt

    known = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in known if number is not None}
    before = {number: handler for number, handler in before.items() if handler in defaults}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _complain(*parts: str) -> None:
    """Write one line to stderr."""
    line = ": ".join(["camnorm", *(" ".join(_with_options(part).split("\n")) for part in parts)])
    print(printable(line), file=sys.stderr)


def _with_options(message: str) -> str:
    """Name the options where a message of the library names its arguments."""

    def option(found: re.Match[str]) -> str:
        name, value, alone, subject = found.groups()
        if name is None:
            return _OPTIONS[alone or subject]
        return _OPTIONS[name] if value == "True" else " ".join([_OPTIONS[name], value.strip("'")])

    return _ARGUMENT.sub(option, message)


def _print_trace(error: BaseException) -> None:
    """Write to stderr where an error comes from."""
    for part in traceback.TracebackException.from_exception(error).format():
        place = part[0].isspace()  # else the error itself, with what it names
        lines = part.rstrip("\n").split("\n") if place else [part.rstrip("\n")]
        print(*map(printable, lines), sep="\n", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _complain("warning", str(message))


class _ProgressBar:
    """Progress of a verb on stderr, if that is a terminal; a callback for the library.

    It ends the verb after a signal whose KeyboardInterrupt was lost, as in a finalizer.
    """

    def __init__(self, quiet: bool, signals: Sequence[int]) -> None:
        self.bytes = 0
        """Bytes of pixels read."""
        self.rate = ""
        """Frames and megabytes a second since the first report of the stage."""
        self._stage = ""
        self._begin = (0.0, 0, 0)
        self._signals = signals
        self._task: TaskID | None = None
        self._shown = sys.stderr.isatty() and not quiet
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                expand=True,
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        if self._signals:
            raise KeyboardInterrupt
        now = time.monotonic()
        self.bytes = progress.bytes
        if progress.stage != self._stage:
            # Rates leave out what an interrupted run had done before.
            self._stage = progress.stage
            self._begin = (now, progress.frames, progress.bytes)
            self._start_stage(progress)
        begin, frames, pixels = self._begin
        if now > begin and progress.frames > frames:
            self.rate = _rate(progress.frames - frames, progress.bytes - pixels, now - begin)
        if self._task is not None:
            self._bar.update(self._task, completed=progress.done, rate=self.rate)

    def _start_stage(self, progress: Progress) -> None:
        if not self._shown:
            return
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(progress.stage, total=progress.total, rate="")


class _PoliteInterrupt:
    """Ctrl-C that waits for the next report, when the state of a measurement can be saved.

    In the middle of things it would be lost in some library, or the checkpoint would. A second one does
    not wait.
    """

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self._asked = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def __call__(self, progress: Progress) -> None:
        self._report(progress)
        if self._asked:
            raise KeyboardInterrupt

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True


def _rate(frames: int, pixels: int, seconds: float) -> str:
    return f"{frames / seconds:.4g} frames/s, {pixels / seconds / 1e6:.4g} MB/s"


def _print_json(result: Mapping[str, Any]) -> None:
    print(jsontext.dumps(result))


def _print_rich(renderable: RenderableType) -> None:
    from rich.console import Console

    Console(width=_WIDTH).print(renderable)


def _print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns, whatever the length of the values."""
    for name, value in facts:
        print(printable(f"{name:<16}{value}"))


def _print_rejected(rejected: Sequence[Mapping[str, Any]]) -> None:
    if not rejected:
        return
    print("rejected:")
    for row in rejected[:_REJECTED_SHOWN]:
        where = row["file"] if row["index"] is None else f"{row['file']}, frame {row['index']}"
        print(printable(f"  {where}: {_with_options(row['reason'])}"))
    if len(rejected) > _REJECTED_SHOWN:
        print(f"  ... and {len(rejected) - _REJECTED_SHOWN} more (--json lists all)")
    if any(NAN_REASON in row["reason"] for row in rejected):
        print(f"{NAN_REASON}: {_with_options(NAN_HINT)}")


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _sensor_summary(sensor: Sensor) -> dict[str, Any]:
    """What programs are told of a sensor by every verb that makes or shows one."""
    rejected = sensor.frames[sensor.frames["status"] == "rejected"]
    return {
        "count": sensor.count,
        "halves": [half.count for half in sensor.halves],
        "frames": len(sensor.frames),
        "accepted": len(sensor.frames) - len(rejected),
        "rejected": [
            {"file": file, "index": index if index >= 0 else None, "reason": reason}
            for file, index, reason in rejected[["file", "index", "reason"]].tolist()
        ],
        "shape": sensor.shape,
        "dtype": sensor.dtype.name,
        "target_mean": sensor.target_mean,
        "target_sigma": sensor.target_sigma,
        "response": _response_summary(sensor),
        "screening": sensor.provenance["screening"] or None,
        "selection": sensor.provenance.get("selection"),
        "reading": sensor.provenance.get("reading"),
    }


def _response_summary(sensor: Sensor) -> dict[str, float] | None:
    """Exposures of the frames, and their share of the variance of a pixel; None if there is no response."""
    response = sensor.response
    if response is None:
        return None
    mean, std = response.exposures()
    return {"exposure_mean": mean, "exposure_std": std, "share": (std / sensor.target_sigma) ** 2}


def _sensor_facts(summary: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Put a summary into words."""
    a, b = summary["halves"]
    return [
        ("frames", f"{_size(summary['shape'])} {summary['dtype']}"),
        ("accepted", f"{summary['count']}: {a} in half A, {b} in half B"),
        ("rejected", len(summary["rejected"])),
        *_settings(summary, "selection", {"every": 1}),
        *_settings(summary, "reading", ReadOptions().to_dict()),
        ("screening", _screening_words(summary["screening"])),
        ("target mean", f"{summary['target_mean']:.6g}"),
        ("target sigma", f"{summary['target_sigma']:.6g}"),
        *_response_facts(summary["response"]),
    ]


def _response_facts(response: Mapping[str, float] | None) -> Iterator[tuple[str, object]]:
    if response is not None:
        yield (
            "response",
            "exposures {exposure_mean:.6g} ± {exposure_std:.3g}, {share:.0%} of a pixel's variance".format(
                **response
            ),
        )


def _settings(
    summary: Mapping[str, Any], name: str, defaults: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    """What was set other than by default, in a line if there is such."""
    values = (summary[name] or {}).items()
    words = [f"{key.replace('_', '-')} {value}" for key, value in values if value != defaults.get(key)]
    if words:
        yield name, ", ".join(words)


def _screening_words(screening: Mapping[str, Any] | None) -> str:
    words = []
    if screening and "k" in screening:
        limits = [f"{name} {low:.6g} to {high:.6g}" for name, (low, high) in _limits(screening).items()]
        words.append(f"k = {screening['k']:g}: {', '.join(limits) or 'too few frames'}")
    for name, ends in (screening or {}).get("given", {}).items():
        low, high = ("" if end is None else f"{end:.6g}" for end in ends)
        words.append(f"given: {name} {low}:{high}")
    return "; ".join(words) or "off"


def _limits(screening: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Limits of "mean" and "std" that the set set, in what the provenance keeps of a screening."""
    return {name: tuple(screening[name]) for name in ("mean", "std") if name in screening}


# Arguments and options that several verbs have


def _help(text: str, *examples: str, details: str = "", negative: str = "") -> str:
    """Help of a verb; the backspace keeps the lines of the examples apart.

    `negative` is what it means if the status is that of a negative verdict.
    """
    lines = "\n".join(f"$ {example}" for example in examples)
    meanings = {0: "done", _FAILED: "failed", _WRONG_USE: "wrong use", _NEGATIVE: negative}
    status = ", ".join(f"{status} {meaning}" for status, meaning in meanings.items() if meaning)
    return "\n\n".join(filter(None, [text, details, f"\bExamples:\n{lines}", f"Exit status: {status}."]))


def _version(wanted: bool) -> None:
    if wanted:
        print(f"camnorm {camnorm.__version__}")
        raise typer.Exit


def _screening_k(text: str) -> str | float:
    if text in ("auto", "off"):
        return text
    try:
        k = float(text)
    except ValueError:
        k = math.nan
    if not 0.0 < k < math.inf:
        raise typer.BadParameter(f"{text!r} is not auto, off or a positive number.", param_hint="--screen")
    return k


def _range(text: str | None, option: str) -> tuple[float | None, float | None] | None:
    """LOW:HIGH, either of which may be missing."""
    if text is None:
        return None
    try:
        low, high = (float(end) if end.strip() else None for end in text.split(":"))
    except ValueError:
        low, high = math.nan, None
    ends = [end for end in (low, high) if end is not None]
    if not ends or not all(map(math.isfinite, ends)) or ends != sorted(ends):
        raise typer.BadParameter(f"{text!r} is not LOW:HIGH, LOW: or :HIGH.", param_hint=option)
    return low, high


class _Dtype(str, Enum):
    float32 = "float32"
    float16 = "float16"
    int16 = "int16"
    uint16 = "uint16"
    int8 = "int8"
    uint8 = "uint8"


class _Format(str, Enum):
    same = "same"
    mrc = "mrc"
    tiff = "tiff"
    hdf5 = "hdf5"
    zarr = "zarr"


class _Compression(str, Enum):
    none = "none"
    lzw = "lzw"
    deflate = "deflate"
    zstd = "zstd"


class _BadPolicy(str, Enum):
    neutral = "neutral"
    interpolate = "interpolate"
    nan = "nan"


class _Mode(str, Enum):
    both = "both"
    mean = "mean"
    gain = "gain"
    response = "response"


class _FourBit(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


class _Mode0(str, Enum):
    auto = "auto"
    signed = "signed"
    unsigned = "unsigned"


class _WindowName(str, Enum):
    none = "none"
    hann = "hann"
    tukey = "tukey"


class _BinningName(str, Enum):
    round = "round"
    floor = "floor"


_Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        show_default=False,
        help="Image files, directories, glob patterns, @list.txt, a STAR file of movies, or an mdoc file.",
    ),
]
_Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", show_default=False, help="Number of threads; by default all cores."),
]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")]
_SensorArgument = Annotated[
    Path, typer.Argument(metavar="SENSOR", show_default=False, help="Sensor file of `camnorm measure`.")
]
_SensorOutput = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", show_default=False, help="Sensor file to write."),
]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")]
_OverwriteSensor = Annotated[
    bool, typer.Option("--overwrite", help="Replace a sensor file that holds another measurement.")
]
_Window = Annotated[
    _WindowName, typer.Option(metavar="NAME", help="Window against the frames' edges: none, hann or tukey.")
]


def _selection(
    frames: Annotated[
        str | None,
        typer.Option(
            metavar="START:STOP",
            show_default=False,
            rich_help_panel="Frames",
            help="Take only these frames of every file, as Python slices do: 3:20, 1:, :-2, ::4.",
        ),
    ] = None,
    every: Annotated[
        int,
        typer.Option(
            metavar="N",
            show_default=False,
            rich_help_panel="Frames",
            help="Take every Nth of these, counted through all files: of single images every Nth file.",
        ),
    ] = 1,
    max_frames: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default=False,
            rich_help_panel="Frames",
            help="Take at most N of these, at random (but always the same), spread over the files.",
        ),
    ] = None,
) -> dict[str, Any]:
    """Which frames are taken, as keywords of the library."""
    with _wrong_use():
        return asdict(Selection(frames, every, max_frames))


def _reading(
    mrc_mode0: Annotated[
        _Mode0 | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            rich_help_panel="Reading",
            help="Bytes of MRC mode 0: auto (signed, if not marked otherwise), signed or unsigned.",
        ),
    ] = None,
    tiff_4bit: Annotated[
        _FourBit | None,
        typer.Option(
            "--tiff-4bit",
            metavar="NAME",
            show_default=False,
            rich_help_panel="Reading",
            help="Whether bytes of TIFF files hold two pixels: auto (by their size, as RELION), yes or no.",
        ),
    ] = None,
    eer_grouping: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default=False,
            rich_help_panel="Reading",
            help="Raw frames of EER files in one frame.",
        ),
    ] = None,
    eer_sampling: Annotated[
        int | None,
        typer.Option(
            metavar="1|2|4",
            show_default=False,
            rich_help_panel="Reading",
            help="Pixels of EER frames along a physical one.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            rich_help_panel="Reading",
            help="Where the images are within HDF5, NeXus and Zarr files.",
        ),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="SHAPE:DTYPE:OFFSET",
            show_default=False,
            rich_help_panel="Reading",
            help="Files are bare pixels: 4096x4096:uint16, or 512x512:>u2:1024 behind 1024 bytes.",
        ),
    ] = None,
    gain: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Reading",
            help="Gain reference by which frames are multiplied.",
        ),
    ] = None,
    defects: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Reading",
            help="Defects that are filled from their neighbours: text or image.",
        ),
    ] = None,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            rich_help_panel="Reading",
            help="Let HDF5 and Zarr files read pixels from files outside their folder.",
        ),
    ] = False,
) -> Any:
    """How files are read, as `ReadOptions`; None if nothing was said of it."""
    given = {
        "mrc_mode0": mrc_mode0 and mrc_mode0.value,
        "tiff_4bit": tiff_4bit and tiff_4bit.value,
        "eer_grouping": eer_grouping,
        "eer_sampling": eer_sampling,
        "dataset": dataset,
        "raw": raw,
        "gain": gain,
        "defects": defects,
        "follow_links": follow_links or None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    with _wrong_use():
        return ReadOptions.from_dict(given) if given else None


def _adjustments(
    mode: Annotated[
        _Mode,
        typer.Option(
            metavar="NAME",
            rich_help_panel="Correction",
            help="What is corrected: both (mean and sigma of every pixel), mean (subtracted), gain (a "
            "factor, as of gain references), or response (see `measure --response`).",
        ),
    ] = _Mode.both,
    keep_illumination: Annotated[
        str | None,
        typer.Option(
            metavar="auto|PIXELS",
            show_default=False,
            rich_help_panel="Correction",
            help="Leave illumination as it is, from waves of this length on; without a value, or with auto, "
            "of half the shorter side of a frame.",
        ),
    ] = None,
    shrink: Annotated[
        bool,
        typer.Option(
            "--shrink",
            rich_help_panel="Correction",
            help="For few frames: take noise out of the mean and the sigma image.",
        ),
    ] = False,
) -> dict[str, Any]:
    """Which correction, as keywords of the library."""
    from camnorm.correction.adjustments import Adjustments

    scale: float | bool | None = None
    if keep_illumination is not None:
        try:
            scale = True if keep_illumination == "auto" else float(keep_illumination)
        except ValueError:
            raise typer.BadParameter(
                f"{keep_illumination!r} is not auto or a number.", param_hint="--keep-illumination"
            ) from None
    with _wrong_use():
        return asdict(Adjustments(mode.value, scale, shrink))


@contextmanager
def _wrong_use() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _sharing(
    **makers: Callable[..., object],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Have arguments of a verb made from options that it shares with others."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        shared = {name: inspect.signature(maker, eval_str=True).parameters for name, maker in makers.items()}
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(verb, eval_str=True).parameters.values():
            parameters += shared.get(parameter.name, {parameter.name: parameter}).values()

        @wraps(verb)
        def run(**values: object) -> None:
            for name, maker in makers.items():
                values[name] = maker(**{option: values.pop(option) for option in shared[name]})
            verb(**values)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


@app.callback(
    invoke_without_command=True,
    help=_help(
        "Measure an image sensor from the images that it took, correct them, and prove that it worked.",
        "camnorm demo",
        "camnorm measure movies/ -o sensor.h5",
        "camnorm correct movies/ -m sensor.h5 -o corrected",
        "camnorm verify movies/ -m sensor.h5",
    ),
)
def _camnorm(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(_WRONG_USE)


# Verbs


@app.command(
    help=_help(
        "Make raw frames of two cameras with known defects, do the whole job on them, draw figures.",
        "camnorm demo",
        "camnorm demo -o /tmp/demo --json",
        negative="done, but the corrected frames are not independent",
    )
)
def demo(
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", file_okay=False, help="Directory for all files, 0.5 GB."
        ),
    ] = Path("camnorm-demo"),
    threads: _Threads = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    from camnorm.demo.demonstration import run_demo

    with _session(debug) as signals:
        with _ProgressBar(quiet, signals) as bar:
            result = run_demo(output, threads=threads, progress=bar)
        if as_json:
            _print_json(result.to_dict())
        else:
            print(result)
    if not result.independent:
        raise typer.Exit(_NEGATIVE)


@app.command(
    help=_help(
        "Measure a sensor: one pass over all frames gives the moments of every pixel.",
        "camnorm measure movies/ -o sensor.h5",
        "camnorm measure 'run1/*.tif' @more.txt -o sensor.h5 --screen 4",
        "camnorm measure movies.star -o sensor.h5 --json > summary.json",
        "camnorm measure Images-Disc1/ -o sensor.h5 --frames 3: --max-frames 10000",
        "camnorm measure movies/ -o sensor.h5 --mean 900:1200 --frames-csv frames.csv",
        "camnorm measure --frames-list frames.csv -o sensor.h5",
        "camnorm measure mixed/ -o sensor.h5 --split",
        details="Frames that cannot be used are listed and left out; what is suspicious of the set is said. "
        "After an interruption, even a kill, the same command goes on from its checkpoint.",
    )
)
@_sharing(selection=_selection, options=_reading)
def measure(
    output: _SensorOutput,
    selection: dict[str, Any],
    options: Any,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Image files, directories, glob patterns, @list.txt, a STAR file of movies, or an mdoc "
            "file; not needed with --frames-list.",
        ),
    ] = None,
    screen: Annotated[
        str,
        typer.Option(
            metavar="auto|off|K",
            rich_help_panel="Screening",
            help="Reject frames whose mean or standard deviation lies more than K MADs from the median, and "
            "blank, saturated and repeated ones; auto is 6.",
        ),
    ] = "auto",
    response: Annotated[
        bool,
        typer.Option(
            "--response",
            help="Keep how pixels follow the exposures of the frames, for `correct --mode response`.",
        ),
    ] = False,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            show_default=False,
            rich_help_panel="Screening",
            help="Reject frames of another mean; also LOW: or :HIGH.",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH",
            show_default=False,
            rich_help_panel="Screening",
            help="Reject frames of another standard deviation; likewise.",
        ),
    ] = None,
    frames_csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Screening",
            help="Write the table of frames as CSV, to be edited.",
        ),
    ] = None,
    frames_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel="Screening",
            help="Measure just the frames that such a table says are accepted; then auto screens no more.",
        ),
    ] = None,
    split: Annotated[
        bool,
        typer.Option(
            "--split",
            rich_help_panel="Screening",
            help="Measure each group of one shape, pixel type, camera and exposure on its own, into "
            "FILE_1, FILE_2 and so on.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a sensor file, and a table of frames, of other frames."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable frame.")] = False,
    threads: _Threads = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug) as signals:
        asked: dict[str, Any] = {
            "screen": _screening_k(screen),
            "mean_limits": _range(mean, "--mean"),
            "std_limits": _range(std, "--std"),
            "response": response,
            "options": options,
            "overwrite": overwrite,
            "strict": strict,
            "threads": threads,
        }
        if not inputs and frames_list is None:
            raise typer.BadParameter("Name images, or a --frames-list.", param_hint="INPUT")
        if frames_csv is not None and frames_csv.absolute() == output.absolute():
            raise typer.BadParameter("is the sensor file.", param_hint="--frames-csv")
        if split and (frames_list is not None or frames_csv is not None or selection != asdict(_EVERYTHING)):
            raise typer.BadParameter(
                "does not go with --frames-list, --frames-csv, --frames, --every and --max-frames.",
                param_hint="--split",
            )
        if frames_list is not None and selection != asdict(_EVERYTHING):
            raise typer.BadParameter(
                "does not go with --frames, --every and --max-frames.", param_hint="--frames-list"
            )
        if frames_csv is not None:
            Protected(path for path in (frames_list,) if path is not None).check(frames_csv)
            check_frame_list_target(frames_csv, None if overwrite else output)
        results = []
        start = time.monotonic()
        try:
            with _ProgressBar(quiet, signals) as bar, _PoliteInterrupt(bar) as report:
                if split:
                    sensors = camnorm.measure_groups(inputs or [], output, **asked, progress=report)
                else:
                    one = camnorm.measure(
                        inputs or None, output, **asked, **selection, frames_list=frames_list, progress=report
                    )
                    sensors = iter([one])
                for number, sensor in enumerate(sensors, start=1):
                    target = output.with_name(f"{output.stem}_{number}{output.suffix}") if split else output
                    results.append(
                        {
                            **_sensor_summary(sensor),
                            "findings": [found.to_dict() for found in camnorm.screening.findings(sensor)],
                            "seconds": time.monotonic() - start,
                            "bytes": bar.bytes,
                            "output": target,
                        }
                    )
                    if frames_csv is not None:
                        write_frame_list(sensor.frames, frames_csv)
                    start = time.monotonic()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on from the last checkpoint") from None
        if as_json:
            _print_json({"groups": results} if split else results[0])
            return
        for result in results:
            took = f"{result['seconds']:.3g} s"
            _print_facts(
                [
                    *_sensor_facts(result),
                    ("time", f"{took}, {bar.rate}" if bar.rate and not split else took),
                    ("written", result["output"]),
                ]
            )
            _print_flagged(result["findings"])
            _print_rejected(result["rejected"])
            if split:
                print()


def _print_flagged(findings: Sequence[Mapping[str, Any]]) -> None:
    """Print what of the set is not as it should be."""
    flagged = [finding for finding in findings if finding["flagged"]]
    if flagged:
        print("worth a look:")
    for finding in flagged:
        _print_item("!", f"{finding['name']}: {finding['sentence']}")


@app.command(
    help=_help(
        "Write corrected copies of image files: MRC (with its header), TIFF, HDF5 and Zarr stay what they "
        "are; all others become TIFF.",
        "camnorm correct movies/ -m sensor.h5 -o corrected",
        "camnorm correct movies/ -m sensor.h5 -o out --format tiff --compression zstd --dtype int16 --scale",
        "camnorm correct '*.mrc' -m sensor.h5 -o out --target-mean 0 --target-sigma 1",
        "camnorm correct images/ -m sensor.h5 -o out --dtype uint16 --overwrite",
        details="Files are read as the sensor's were, unless told otherwise.",
    )
)
@_sharing(selection=_selection, options=_reading, adjustments=_adjustments)
def correct(
    inputs: _Inputs,
    sensor: Annotated[
        Path, typer.Option("--sensor", "-m", metavar="FILE", show_default=False, help="Sensor file.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            show_default=False,
            file_okay=False,
            help="Directory to write to.",
        ),
    ],
    selection: dict[str, Any],
    options: Any,
    adjustments: dict[str, Any],
    dtype: Annotated[
        _Dtype,
        typer.Option(metavar="TYPE", help="Pixels written: float32, float16, int16, uint16, int8, uint8."),
    ] = _Dtype.float32,
    scale: Annotated[
        bool,
        typer.Option("--scale", help="Scale int16 pixels such that 40 target sigmas to either side fit."),
    ] = False,
    format: Annotated[
        _Format,
        typer.Option(
            metavar="NAME",
            help="Files written: same (as the input, or TIFF if that cannot be written), mrc, tiff, hdf5 or "
            "zarr.",
        ),
    ] = _Format.same,
    compression: Annotated[
        _Compression,
        typer.Option(metavar="NAME", help="None, deflate, for TIFF also lzw and zstd, for Zarr also zstd."),
    ] = _Compression.none,
    target_mean: Annotated[
        float | None,
        typer.Option(metavar="I0", show_default=False, help="Mean of every pixel; by default the sensor's."),
    ] = None,
    target_sigma: Annotated[
        float | None,
        typer.Option(metavar="S0", show_default=False, help="Its standard deviation; likewise."),
    ] = None,
    bad_policy: Annotated[
        _BadPolicy,
        typer.Option(
            metavar="POLICY",
            help="What dead pixels become: neutral (the target mean), interpolate (from their neighbours) "
            "or nan.",
        ),
    ] = _BadPolicy.neutral,
    sum_frames: Annotated[
        bool, typer.Option("--sum", help="Write the sum of each file's corrected frames instead of them.")
    ] = False,
    virtual: Annotated[
        bool,
        typer.Option(
            "--virtual", help="Write small files, NAME.camnorm.json, that are read as the corrected frames."
        ),
    ] = False,
    overwrite: _Overwrite = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable file.")] = False,
    threads: _Threads = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug) as signals:
        start = time.monotonic()
        failed: list[FormatError] = []
        with _ProgressBar(quiet, signals) as bar:
            written = camnorm.correct(
                inputs,
                sensor,
                output,
                dtype=dtype.value,
                scale="auto" if scale else None,
                format=format.value,
                compression=compression.value,
                target_mean=target_mean,
                target_sigma=target_sigma,
                bad_policy=bad_policy.value,
                **adjustments,
                sum_frames=sum_frames,
                virtual=virtual,
                overwrite=overwrite,
                **selection,
                options=options,
                strict=strict,
                threads=threads,
                progress=bar,
                on_error=failed.append,
            )
        seconds = time.monotonic() - start
        rejected = [{"file": error.path, "index": error.frame, "reason": error.reason} for error in failed]
        if as_json:
            _print_json(
                {
                    "files": len(written) + len(rejected),
                    "written": written,
                    "rejected": rejected,
                    "dtype": dtype.value,
                    "seconds": seconds,
                    "bytes": bar.bytes,
                    "output": output,
                }
            )
        else:
            took = f"{seconds:.3g} s"
            _print_facts(
                [
                    ("corrected", f"{len(written)} files"),
                    ("rejected", f"{len(rejected)} files"),
                    ("time", f"{took}, {bar.rate}" if bar.rate else took),
                    ("written to", output),
                ]
            )
            _print_rejected(rejected)


@app.command(
    help=_help(
        "Test by Fourier ring correlation whether corrected frames are independent of each other.",
        "camnorm verify movies/ -m sensor.h5",
        "camnorm verify movies/ -m sensor.h5 --same-statistics -o paper-scheme",
        "camnorm verify images/ --json",
        details="Test frames are left out of the statistics. Writes a figure, numbers and curves. "
        "Files are read as the sensor's were, unless told otherwise.",
        negative="done, but the corrected frames are not independent",
    )
)
@_sharing(selection=_selection, options=_reading, adjustments=_adjustments)
def verify(
    inputs: _Inputs,
    selection: dict[str, Any],
    options: Any,
    adjustments: dict[str, Any],
    sensor: Annotated[
        Path | None,
        typer.Option(
            "--sensor",
            "-m",
            metavar="FILE",
            show_default=False,
            help="Sensor file; without it the inputs are measured first.",
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", file_okay=False, help="Directory for figure and curves."
        ),
    ] = Path("camnorm-verify"),
    group: Annotated[int, typer.Option(min=1, metavar="N", help="Frames in a group average.")] = 12,
    pairs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Pairs of groups: more of them show weaker patterns.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the choice of test frames.")] = 0,
    same_statistics: Annotated[
        bool, typer.Option("--same-statistics", help="The same for both groups, as in the paper.")
    ] = False,
    window: _Window = _WindowName.hann,
    corners: Annotated[
        bool, typer.Option("--corners", help="Test beyond Nyquist too, where Bayer patterns show.")
    ] = False,
    threads: _Threads = None,
    quiet: _Quiet = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug) as signals:
        with _ProgressBar(quiet, signals) as bar:
            result = camnorm.verify(
                inputs,
                sensor,
                group=group,
                pairs=pairs,
                seed=seed,
                same_statistics=same_statistics,
                window=_window(window),
                corners=corners,
                **adjustments,
                **selection,
                options=options,
                threads=threads,
                progress=bar,
            )
        written = result.save(output)
        if as_json:
            _print_json({**result.to_dict(), "written": written})
        else:
            _print_assessments(
                {
                    f"{images}, {state}": getattr(comparison, state)
                    for images, comparison in (("pair", result.pairs), ("groups", result.groups))
                    for state in ("raw", "corrected")
                }
            )
            _print_flagged([finding.to_dict() for finding in result.findings])
            if result.convergence is not None:
                _print_convergence(result.convergence)
            if result.fixed_pattern is not None:
                _print_pattern(result.fixed_pattern)
            print()
            a, b = result.statistics
            chosen = [
                ", ".join(f"{Path(file).name}:{index}" for file, index in group) for group in result.files
            ]
            compared = (("pair", result.pairs), ("groups", result.groups))
            _print_facts(
                [
                    ("groups of", f"{len(result.files[0])} frames (file:frame), left out of the statistics"),
                    *(
                        (f"group {number}", frames)
                        for number, frames in enumerate(chosen, start=1)
                        if len(chosen) == 2  # verify.json has them all
                    ),
                    ("statistics", f"{a} frames for both" if same_statistics else f"{a} and {b} frames"),
                    *(
                        [("correction", str(result.adjustments).replace("_", "-"))]
                        if result.adjustments
                        else []
                    ),
                    (
                        "mean FRC",
                        ", ".join(
                            f"{name} {one.corrected.mean_correlation:+.2g} ± "
                            f"{one.corrected.mean_correlation_error:.1g}, predicted {one.predicted_bias:.2g}"
                            for name, one in compared
                        ),
                    ),
                    ("FRC floor", ", ".join(f"{name} {one.floor:+.2g}" for name, one in compared)),
                    *_p_of_pairs(result.groups.corrected),
                    *(("note", _with_options(note)) for note in result.notes),
                    ("written to", f"{output}: {', '.join(path.name for path in written)}"),
                    ("verdict", f"the corrected frames are {_verdict(result.independent)}"),
                ]
            )
    if not result.independent:
        raise typer.Exit(_NEGATIVE)


@app.command(
    help=_help(
        "Fourier ring correlation of two frames: one curve, and whether the frames are independent.",
        "camnorm frc a.mrc b.mrc",
        "camnorm frc movie.mrc movie.mrc --frame-b 7 --window hann",
        "camnorm frc a.tif b.tif --csv curve.csv --plot curve.png",
    )
)
@_sharing(options=_reading)
def frc(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="Image file.")],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="Image file, or the same.")],
    options: Any,
    frame_a: Annotated[int, typer.Option(min=0, metavar="N", help="Frame of A, from 0.")] = 0,
    frame_b: Annotated[int, typer.Option(min=0, metavar="N", help="Frame of B, from 0.")] = 0,
    window: _Window = _WindowName.none,
    binning: Annotated[
        _BinningName, typer.Option(metavar="NAME", help="Radius to ring: round or floor.")
    ] = _BinningName.round,
    corners: Annotated[bool, typer.Option("--corners", help="Go on beyond Nyquist.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Write the curve; a file a colour plane."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Draw it: .png, .pdf or .svg."),
    ] = None,
    threads: _Threads = None,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug):
        from camnorm.fourier.curve import CURVE_MARK
        from camnorm.verification.verdict import Assessment

        protected = Protected([a, b])
        if plot is not None:
            protected.check(plot)
            _check_figure(plot)
        found = camnorm.frc(
            _read_frame(a, frame_a, options),
            _read_frame(b, frame_b, options),
            binning=binning.value,
            window=_window(window),
            corners=corners,
            threads=threads,
        )
        curves = found if isinstance(found, list) else [found]
        names = [f"plane {plane}" for plane in range(len(curves))] if isinstance(found, list) else ["FRC"]
        assessment = Assessment(tuple(curves), alpha=0.05)
        if csv is not None:
            planes = range(len(curves))
            tables = [csv.with_name(f"{csv.stem}_{plane}{csv.suffix}") for plane in planes]
            tables = tables if isinstance(found, list) else [csv]
            for table in tables:
                protected.check(table)
                check_content(table, CURVE_MARK, "a table of a ring correlation")
            for table, curve in zip(tables, curves, strict=True):
                curve.to_csv(table)
        if plot is not None:
            camnorm.plot.save(camnorm.plot.frc_figure({f"{a.name} and {b.name}": curves}), plot)
        if as_json:
            _print_json(
                {
                    "a": {"file": a, "index": frame_a},
                    "b": {"file": b, "index": frame_b},
                    "shape": curves[0].shape,
                    "binning": binning.value,
                    "window": _window(window),
                    **assessment.to_dict(),
                    "curves": [_curve_columns(curve) for curve in curves],
                }
            )
        else:
            for name, curve in zip(names, curves, strict=True):
                _print_curve(name, curve)
            _print_assessments({"A and B": assessment})


@app.command(
    help=_help(
        "Show what is in a sensor file, and whether the set is fit for the method and large enough.",
        "camnorm show sensor.h5",
        "camnorm show sensor.h5 -o sensor.png",
        "camnorm show sensor.h5 --json",
        details="With -o also pictures: mean and sigma image, their spectra, histograms and course of the "
        "frames' means and standard deviations, what a correction leaves over the number of frames, and what "
        "the fixed pattern costs over the frequency.",
    )
)
def show(
    sensor: _SensorArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FIGURE",
            show_default=False,
            help="Draw all of this: .png, .pdf or .svg.",
        ),
    ] = None,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug):
        loaded = camnorm.Sensor.load(sensor)
        summary = _sensor_summary(loaded)
        if output is not None:
            _check_figure(output)
        from camnorm.diagnosis.fixedpattern import tells_pattern

        convergence = camnorm.frames_needed(loaded)
        findings = camnorm.check(loaded, convergence)
        pattern = camnorm.fixed_pattern(loaded) if tells_pattern(loaded) else None
        if output is not None:
            figure = camnorm.plot.sensor_figure(
                loaded.mean,
                loaded.sigma,
                loaded.frames["mean"],
                loaded.frames["std"],
                limits=_limits(loaded.provenance["screening"]),
                rejected=loaded.frames["status"] == "rejected",
                convergence=convergence,
                pattern=pattern,
            )
            camnorm.plot.save(figure, output)
        files = loaded.provenance["files"]
        origin = {key: loaded.provenance[key] for key in ("version", "command", "started", "ended")}
        if as_json:
            _print_json(
                {
                    "sensor": sensor,
                    **summary,
                    **origin,
                    "files": len(files),
                    "figure": output,
                    "findings": [finding.to_dict() for finding in findings],
                    "convergence": convergence.to_dict(),
                    "fixed_pattern": None if pattern is None else pattern.to_dict(),
                }
            )
        else:
            size = int(files["size"][files["size"] > 0].sum())
            _print_facts([("sensor", sensor), *_sensor_facts(summary)])
            _print_findings(findings)
            _print_convergence(convergence)
            if pattern is not None:
                _print_pattern(pattern)
            print()
            _print_facts(
                [
                    ("files", f"{len(files)}, {size / 1e9:.3g} GB"),
                    ("measured", f"{origin['started']} to {origin['ended']}, camnorm {origin['version']}"),
                    ("command", origin["command"]),
                    *([] if output is None else [("figure", output)]),
                ]
            )
            _print_rejected(summary["rejected"])


def _print_findings(findings: Sequence[Finding]) -> None:
    """Print what speaks against a set, what it does not tell, and the names of the checks that it passes."""
    flagged = [finding for finding in findings if finding.flagged]
    untold = [finding for finding in findings if not finding.flagged and math.isnan(finding.value)]
    passed = [finding.name for finding in findings if finding not in flagged and finding not in untold]
    print("\ncan it be trusted?")
    for finding in flagged:
        _print_item("!", f"{finding.name}: {finding.sentence}")
        _print_item(" ", f"{finding.value:.3g}, limit {finding.limit:.3g}: {finding.because}.")
    for finding in untold[:_UNTOLD_SHOWN]:
        _print_item("?", f"{finding.name}: {finding.sentence}")
    if untold[_UNTOLD_SHOWN:]:
        _print_item("?", f"nor is told: {', '.join(finding.name for finding in untold[_UNTOLD_SHOWN:])}")
    if passed:
        _print_item("+", f"in order: {', '.join(passed)}")


def _print_convergence(convergence: Convergence) -> None:
    """Print how precise a measurement is and what more frames would give."""
    print("\nare the frames enough?")
    for sentence in convergence.advice():
        _print_item("-", sentence)


def _print_pattern(pattern: FixedPattern) -> None:
    """Print how strong the fixed pattern is and what it costs."""
    print("\nwhat does the fixed pattern cost?")
    noise = pattern.noise_variance**0.5
    _print_item(
        "-",
        f"Its standard deviation is {max(pattern.variance, 0.0) ** 0.5:.3g}, illumination included, that of "
        f"noise and scene in a frame {noise:.3g}.",
    )
    for exposure, images in ((1, "single frames"), (12, "sums of 12 frames")):
        _print_item(
            "-",
            f"In {images} it costs {100 * pattern.derating(exposure):.2f} % of the DQE; corrected, "
            f"{100 * pattern.derating_corrected(exposure):.2f} %.",
        )


def _print_item(mark: str, text: str) -> None:
    """Print a sentence in lines that a terminal holds."""
    text = printable(_with_options(text))
    print(textwrap.fill(text, 100, initial_indent=f"  {mark} ", subsequent_indent="    "))


@app.command(
    help=_help(
        "Put measurements of one sensor together, exactly as if they had been one.",
        "camnorm merge monday.h5 tuesday.h5 -o both.h5",
        "camnorm merge shards/*.h5 -o sensor.h5",
    )
)
def merge(
    first: _SensorArgument,
    others: Annotated[list[Path], typer.Argument(metavar="SENSOR", show_default=False, help="More of them.")],
    output: _SensorOutput,
    overwrite: _OverwriteSensor = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug):
        sensor = camnorm.Sensor.load(first)
        for other in others:
            sensor = sensor.merge(camnorm.Sensor.load(other))
        _save_sensor(sensor, output, overwrite, as_json, Protected([first, *others]))


@app.command(
    help=_help(
        "Take a measurement away from one that contains it, exactly.",
        "camnorm subtract both.h5 monday.h5 -o tuesday.h5",
    )
)
def subtract(
    first: _SensorArgument,
    second: Annotated[
        Path, typer.Argument(metavar="PART", show_default=False, help="Sensor file of frames in SENSOR.")
    ],
    output: _SensorOutput,
    overwrite: _OverwriteSensor = False,
    as_json: _Json = False,
    debug: _Debug = False,
) -> None:
    with _session(debug):
        sensor = camnorm.Sensor.load(first).subtract(camnorm.Sensor.load(second))
        _save_sensor(sensor, output, overwrite, as_json, Protected([first, second]))


def _save_sensor(sensor: Sensor, output: Path, overwrite: bool, as_json: bool, protected: Protected) -> None:
    if not sensor.count:
        raise camnorm.Error("no frame is left: nothing was written")
    save_contents(output, sensor.contents, overwrite, protected)
    summary = _sensor_summary(sensor)
    if as_json:
        _print_json({**summary, "output": output})
    else:
        _print_facts([*_sensor_facts(summary), ("written", output)])


def _check_figure(path: Path) -> None:
    check_content(path, camnorm.plot.MARK.encode(), "a figure of camnorm")


def _window(name: _WindowName) -> str | None:
    return None if name is _WindowName.none else name.value


def _read_frame(path: Path, index: int, options: Any) -> Any:
    with camnorm.open_frames(path, options or camnorm.ReadOptions()) as source:
        if index >= source.count:
            raise camnorm.Error(f"{path}: no frame {index}, the last is {source.count - 1}")
        return source.read(index)[0]


def _curve_columns(curve: RingCorrelation) -> dict[str, list[float]]:
    return {
        "radius": curve.radius.tolist(),
        "frequency": curve.frequency.tolist(),
        "nyquist": curve.nyquist.tolist(),
        "n": curve.n.tolist(),
        "correlation": curve.correlation.tolist(),
        "z": curve.z.tolist(),
        "threshold_3sigma": curve.threshold("3sigma").tolist(),
        "threshold_3sigma_exact": curve.threshold("3sigma-exact").tolist(),
    }


def _print_curve(name: str, curve: RingCorrelation) -> None:
    """Print some rings, evenly spaced from the first beyond DC to the last."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("ring", "cycles/pixel", "of Nyquist", "pixels", name, "±3σ", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = _curve_columns(curve)
    last = len(columns["radius"]) - 1
    shown = min(last, _RINGS_SHOWN)
    rings = [1 + round(i * (last - 1) / max(shown - 1, 1)) for i in range(shown)]
    for ring in rings:
        correlation, threshold = columns["correlation"][ring], columns["threshold_3sigma"][ring]
        table.add_row(
            str(ring),
            f"{columns['frequency'][ring]:.4f}",
            f"{columns['nyquist'][ring]:.3f}",
            str(columns["n"][ring]),
            f"{correlation:+.4f}",
            f"{threshold:.4f}",
            "outside" if abs(correlation) > threshold else "",
        )
    _print_rich(table)
    if shown < last:
        print(f"{shown} of {last} rings; --csv writes all")
    print()


def _p_of_pairs(assessment: Assessment) -> list[tuple[str, str]]:
    """A line for each pair alone, if there are several."""
    if len(assessment.p_of_pairs) == 1:
        return []
    return [("p of each pair", ", ".join(f"{p:.2g}" for p in assessment.p_of_pairs))]


def _print_assessments(assessments: Mapping[str, Assessment]) -> None:
    """Print a row of numbers for each comparison."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("frames", no_wrap=True)
    for heading in ("outside\n±3σ", "outside\nexact", "mean\nFRC", "\nz", "\np"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("\nverdict", no_wrap=True)
    for name, found in assessments.items():
        table.add_row(
            name,
            str(found.outside_3sigma),
            str(found.outside_exact),
            f"{found.mean_correlation:+.4f}",
            f"{found.z:+.2f}",
            f"{found.p:.2g}",
            _verdict(found.independent),
        )
    _print_rich(table)
    print(
        f"By chance {found.expected_outside_3sigma:.2g} of {found.rings} rings lie outside ±3σ, "
        f"{found.expected_outside_exact:.2g} outside the exact curve. Independent: p from {found.alpha:g} on."
    )


def _verdict(independent: bool) -> str:
    return "independent" if independent else "correlated"
