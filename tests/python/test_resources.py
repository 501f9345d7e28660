"""What the machine is short of ends the run with one clear error: it is no fault of a file."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import camnorm
from camnorm import FormatError, cli
from camnorm.errors import ResourceError, UnreadableError, shortage_of
from camnorm.io import open_frames
from camnorm.io.base import hdf5helper
from camnorm.io.base.source import MappedFile, decoding
from camnorm.limits import at_once, usable_threads
from camnorm.sensor.framelist import write_frame_list
from image_sets import assert_same_sensor, frames_of, run_script, write_mrc

SCRIPT = Path(__file__).parents[1] / "stress" / "resources.py"
_spec = importlib.util.spec_from_file_location("resources", SCRIPT)
assert _spec is not None
assert _spec.loader is not None
stress = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stress)

SHAPE = (24, 20)
OPEN_FILES = "too many open files: raise the limit (ulimit -n), or use fewer threads"
THREADS = "the system starts no more threads: use fewer threads, or raise the limits (ulimit -u, ulimit -v)"


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


# --- which errors these are


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files", "a.mrc"), OPEN_FILES),
        (
            OSError(errno.ENFILE, "Too many open files in system"),
            "too many open files on this machine: end other programs, or use fewer threads",
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "not enough memory"),
        (MemoryError(), "not enough memory"),
        (MemoryError("std::bad_alloc"), "not enough memory"),
        (MemoryError("Unable to allocate 3 GiB"), "not enough memory: Unable to allocate 3 GiB"),
        (OSError("Unable to open file (name = 'a.h5', errno = 24, error message = '...')"), OPEN_FILES),
        (OSError("Can't read data (memory allocation failed for raw data chunk)"), "not enough memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "not enough memory"),
        (RuntimeError("can't start new thread"), THREADS),
        (UnreadableError("frame 3 cannot be read: Cannot allocate memory", 3), "not enough memory"),
        (FormatError("a.tif", "cannot be read: Too many open files"), OPEN_FILES),
        (caused(FormatError("a.tif", "cannot be read"), MemoryError()), "not enough memory"),
        (caused(KeyError("data"), OSError(errno.EMFILE, "Too many open files")), OPEN_FILES),
    ],
)
def test_shortages(error: Exception, message: str) -> None:
    assert str(shortage_of(error)) == message
    with pytest.raises(ResourceError) as raised, decoding(Path("a.tif")):
        raise caused(ValueError("what a decoder makes of it"), error)
    assert str(raised.value) == message


def test_numpy_says_what_it_could_not_allocate() -> None:
    with pytest.raises(MemoryError) as info:
        np.empty(2**60, np.uint8)
    assert str(shortage_of(info.value)).startswith("not enough memory: Unable to allocate 1.00 EiB")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "a.mrc"),
        OSError(errno.ENOENT, "No such file or directory", "Too many open files"),
        OSError("Unable to open file (unable to lock file, errno = 11, error message = '...')"),
        FormatError("Too many open files.mrc", "truncated"),
        ValueError("damaged"),
    ],
)
def test_faults_of_files_are_no_shortage(error: Exception) -> None:
    assert shortage_of(error) is None
    if not isinstance(error, FileNotFoundError):
        with pytest.raises(FormatError), decoding(Path("a.tif")):
            raise error


# --- in the middle of a run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    movies = frames_of(48, SHAPE, "u2").reshape(12, 4, *SHAPE)
    return [write_mrc(folder / f"{i:02}.mrc", movie) for i, movie in enumerate(movies)]


VERBS: dict[str, Callable[[list[Path], Path], Any]] = {
    "measure": lambda files, out: camnorm.measure(files, out / "s.h5", threads=2),
    "sample": lambda files, out: camnorm.measure(files, every=2, threads=2),
    "groups": lambda files, out: list(camnorm.measure_groups(files, threads=2)),
    "list": lambda files, out: camnorm.measure(frames_list=files[0].with_name("list.csv"), threads=2),
    "correct": lambda files, out: camnorm.correct(
        files, files[0].with_name("s.h5"), out / "corrected", threads=2, overwrite=True
    ),
    "verify": lambda files, out: camnorm.verify(files, files[0].with_name("s.h5"), threads=2),
}
RAISED = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENOMEM, "Cannot allocate memory")]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("error", RAISED, ids=["descriptors", "memory"])
def test_a_shortage_at_any_file_ends_the_run(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, verb: str, error: OSError
) -> None:
    sensor = camnorm.measure(files, files[0].with_name("s.h5"))
    write_frame_list(sensor.frames, files[0].with_name("list.csv"))
    opened = MappedFile.__init__
    count = left = 0

    def open_file(self: MappedFile, path: Path) -> None:
        nonlocal count, left
        count, left = count + 1, left - 1
        if left == 0:
            raise OSError(error.errno, error.strerror, str(path))
        opened(self, path)

    monkeypatch.setattr(MappedFile, "__init__", open_file)
    VERBS[verb](files, tmp_path)
    for number in sorted({1, 2, count // 3, count // 2, 2 * count // 3, count}):
        left = number
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ResourceError, match=str(shortage_of(error)).partition(":")[0]):
            VERBS[verb](files, tmp_path / str(number))
        assert not (tmp_path / str(number) / "s.h5").exists()


def test_a_shortage_does_not_leave_a_group_out(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_mrc(tmp_path / "other.mrc", frames_of(12, (10, 12), "u2"))
    assert len(list(camnorm.measure_groups([*files, other]))) == 2
    mapped = MappedFile.fetch

    def fetch(self: MappedFile, offset: int, length: int) -> None:
        if self.path == other:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        mapped(self, offset, length)

    monkeypatch.setattr(MappedFile, "fetch", fetch)
    for inputs in ([*files, other], [other, *files]):
        with pytest.raises(ResourceError, match=r"^not enough memory$"):
            list(camnorm.measure_groups(inputs))


def test_a_file_that_the_disk_does_not_give_is_rejected(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = MappedFile.__init__

    def open_file(self: MappedFile, path: Path) -> None:
        if path.name == "05.mrc":
            raise OSError(errno.EIO, "Input/output error", str(path))
        opened(self, path)

    monkeypatch.setattr(MappedFile, "__init__", open_file)
    sensor = camnorm.measure(files)
    rejected = sensor.frames[sensor.frames["status"] == "rejected"]
    assert rejected[["file", "index", "reason"]].tolist() == [(str(files[5]), -1, "Input/output error")]


def test_memory_that_is_short_while_frames_are_read(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def map_pixels(*args: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr(MappedFile, "map", map_pixels)
    with pytest.raises((ResourceError, MemoryError)):
        camnorm.measure(files, response=True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_errors_of_the_output_are_not_those_of_the_input(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    sensor = camnorm.measure(files)

    def write(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", write)
    told: list[FormatError] = []
    with pytest.raises(OSError, match=os.strerror(number)) as info:
        camnorm.correct(files, sensor, tmp_path / "out", on_error=told.append)
    assert Path(info.value.filename).parent == tmp_path / "out"
    assert told == []
    assert list((tmp_path / "out").iterdir()) == []


def test_an_extended_header_that_cannot_be_read_is_the_fault_of_the_input(
    tmp_path: Path, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = camnorm.measure(files)

    class Failing:
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def seek(self, offset: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("camnorm.io.formats.mrc.reader.open", lambda *args: Failing(), raising=False)
    told: list[FormatError] = []
    with pytest.raises(camnorm.Error, match="no file could be corrected"):
        camnorm.correct(files, sensor, tmp_path / "out", on_error=told.append)
    assert [error.path for error in told] == list(map(str, files))
    assert told[0].reason == "cannot be read (Input/output error)"


def test_threads_that_the_system_does_not_start(
    tmp_path: Path,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def start(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    monkeypatch.setattr("sys.argv", ["camnorm", "measure", str(files[0].parent / "0*.mrc"), "-o", "s.h5"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    assert capsys.readouterr().err == f"camnorm: error: {THREADS}\n"


# --- limits of the process


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mrc", "tif", "h5", "npy", "mrc.gz"])
@pytest.mark.parametrize(("descriptors", "threads"), [(64, 300), (128, 8)])
def test_few_descriptors(tmp_path: Path, suffix: str, descriptors: int, threads: int) -> None:
    frames = stress.write_files(tmp_path / "in", 150, suffix)
    sensor = tmp_path / "s.h5"
    command = ["measure", tmp_path / "in", "-o", sensor, "--json", "--threads", threads]
    assert stress.outcome(stress.camnorm(command, descriptors=descriptors), 150) == "all"
    assert np.array_equal(camnorm.Sensor.load(sensor).moments.sum(), frames.sum(0, np.int64))


@pytest.mark.slow
@pytest.mark.parametrize(("descriptors", "threads"), [(64, 64), (256, 32)])
def test_all_verbs_with_few_descriptors(tmp_path: Path, descriptors: int, threads: int) -> None:
    stress.write_files(tmp_path / "in", 150, "tif")
    sensor = tmp_path / "s.h5"
    unlimited = camnorm.measure(tmp_path / "in")
    few = {"descriptors": descriptors}
    many = ["--threads", threads]
    assert stress.camnorm(["measure", tmp_path / "in", "-o", sensor, *many], **few).returncode == 0
    assert_same_sensor(camnorm.Sensor.load(sensor), unlimited)
    for options in ([], ["--compression", "lzw"], ["--format", "hdf5"], ["--format", "zarr"], ["--virtual"]):
        out = tmp_path / "-".join(["out", *options])
        run = stress.camnorm(
            ["correct", tmp_path / "in", "-m", sensor, "-o", out, "--mode", "best", *many, *options], **few
        )
        assert (run.returncode, run.stderr) == (0, "")
        suffix = {"hdf5": ".h5", "zarr": ".zarr", "--virtual": ".json"}.get((options or [""])[-1], ".tif")
        assert len(list(out.glob(f"*{suffix}"))) == 150
    manifests = tmp_path / "out---virtual"
    command = ["measure", manifests, "-o", tmp_path / "v.h5", "--json", *many]
    assert stress.outcome(stress.camnorm(command, **few), 150) == "all"
    verify = ["verify", tmp_path / "in", "-m", sensor, "-o", tmp_path / "verify", "--json", *many]
    run = stress.camnorm(verify, **few)
    assert run.stderr == ""
    assert json.loads(run.stdout)["groups"]["raw"]["rings"] == 24
    run = stress.camnorm(["show", sensor, "--json"], **few)
    assert json.loads(run.stdout)["count"] == 150


def test_too_few_descriptors_is_one_clear_error(tmp_path: Path) -> None:
    stress.write_files(tmp_path / "in", 10, "mrc")
    command = ["measure", tmp_path / "in", "-o", tmp_path / "s.h5", "--json"]
    found = {stress.outcome(stress.camnorm(command, descriptors=40), 10) for _ in range(3)}
    (message,) = found
    assert message.startswith("the limit of 40 open files is too low (ulimit -n): ")
    assert not (tmp_path / "s.h5").exists()


def test_limits_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camnorm.limits.descriptors_left", lambda: 100)
    assert at_once(8, 5) == 8
    assert at_once(300, 5) == 20
    assert at_once(300, 5, held=40) == 12
    with pytest.raises(ResourceError, match=r"open files is too low \(ulimit -n\): 4 more are needed"):
        at_once(300, 26, least=4)


def test_the_command_line_raises_the_soft_limit(tmp_path: Path) -> None:
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))\n"
        "from camnorm import cli; sys.argv = ['camnorm', '--version']\n"
        "try: cli.main()\n"
        "except SystemExit: print(resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert run_script(script).stdout.splitlines()[-1] == "(200, 200)"


def test_threads_that_the_address_space_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_threads(5) == 5
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**44, 2**44))
    assert usable_threads(5) == 5
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**20, 2**20))
    assert usable_threads(5) == 1


@pytest.mark.parametrize(("megabytes", "threads"), [(500, 300), (1500, 32)])
def test_little_address_space(tmp_path: Path, megabytes: int, threads: int) -> None:
    stress.write_files(tmp_path / "in", 100, "tif")
    command = ["measure", tmp_path / "in", "-o", tmp_path / "s.h5", "--json", "--threads", threads]
    found = stress.outcome(stress.camnorm(command, megabytes=megabytes), 100)
    assert found == "all" or found.startswith("not enough memory")


SHORT_OF_MEMORY = """
import os, resource, sys
import numpy as np
from camnorm import PixelMoments, _core

frames = np.fromfile(sys.argv[1], np.float32).reshape(4, 512, 512)
file = os.open(sys.argv[1], os.O_RDONLY)
stored = _core.StoredFrames([(file, i * frames[0].nbytes) for i in range(4)], frames.dtype, (512, 512))
moments = PixelMoments((512, 512), np.float32)
moments.add(frames)
before = moments.sum()
with open("/proc/self/statm") as statm:
    used = int(statm.read().split()[0]) * resource.getpagesize()
failed = 0
for more in range(0, 12 * 2**20, 2**18):
    resource.setrlimit(resource.RLIMIT_AS, (used + more, -1))
    try:
        moments.add_located(stored, threads=64)
    except MemoryError:
        failed += 1
    else:
        moments.subtract(frames)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert moments.count == 4
    assert np.array_equal(moments.sum(), before)
print(failed > 0)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_moments_are_unchanged_when_memory_is_short(tmp_path: Path) -> None:
    # Sums of small integers are exact, so that adding and taking away leaves no trace.
    np.random.default_rng(0).integers(0, 100, (4, 512, 512)).astype("f4").tofile(tmp_path / "frames")
    done = run_script(SHORT_OF_MEMORY, tmp_path / "frames")
    assert (done.stdout, done.stderr) == ("True\n", "")


# --- virtual datasets of HDF5


def write_virtual(folder: Path, parts: int) -> Path:
    layout = h5py.VirtualLayout((parts, *SHAPE), "u2")
    for number in range(parts):
        with h5py.File(folder / f"part{number}.h5", "w") as file:
            file["d"] = np.full((1, *SHAPE), number + 1, np.uint16)
        layout[number] = h5py.VirtualSource(f"part{number}.h5", "d", (1, *SHAPE))[0]
    with h5py.File(folder / "all.h5", "w") as file:
        file.create_virtual_dataset("data", layout, fillvalue=0)
    return folder / "all.h5"


def test_files_of_a_virtual_dataset_are_closed_after_each_read(tmp_path: Path) -> None:
    with open_frames(write_virtual(tmp_path, 30)) as source:
        before = len(os.listdir("/dev/fd"))
        for frame in (0, 7, 29):
            assert (source.read(frame) == frame + 1).all()
        assert source.read(0, 30)[:, 0, 0].tolist() == list(range(1, 31))
        assert len(os.listdir("/dev/fd")) == before


def test_virtual_datasets_have_no_gaps_for_lack_of_descriptors(tmp_path: Path) -> None:
    path = write_virtual(tmp_path, 30)
    script = (
        "import os, resource, sys, camnorm\n"
        "source = camnorm.open_frames(sys.argv[1])\n"
        "limit = len(os.listdir('/dev/fd')) + 20\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n"
        "try: print(source.read(0, 30)[:, 0, 0].tolist())\n"
        "except camnorm.Error as error: print(type(error).__name__)\n"
    )
    assert run_script(script, path).stdout == "ResourceError\n"


def test_a_process_that_the_system_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = hdf5helper.answers
    path = write_virtual(tmp_path, 3)

    def killed(process: Any, seconds: float) -> bool:
        if process is not hdf5helper.helper._process:
            return answers(process, seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return False

    hdf5helper.bearable.cache_clear()
    assert hdf5helper.helper.bears([str(path), "data"])  # it has been started
    monkeypatch.setattr(hdf5helper, "answers", killed)
    with pytest.raises(ResourceError, match="was killed: not enough memory"):
        open_frames(path)
    monkeypatch.undo()
    hdf5helper.bearable.cache_clear()
    with open_frames(path) as source:
        assert source.count == 3


def test_a_process_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*args: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    hdf5helper.bearable.cache_clear()
    hdf5helper.helper.end()
    monkeypatch.setattr("subprocess.Popen", start)
    with pytest.raises(ResourceError, match="the system starts no process that tries virtual datasets"):
        open_frames(write_virtual(tmp_path, 3))


# --- memory of the verbs that look at whole images

PEAK = """
import sys
from camnorm import cli
sys.argv = ["camnorm", *sys.argv[1:]]
try:
    cli.main()
except SystemExit:
    with open("/proc/self/status") as status:
        (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM"))
    print(peak, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(("verb", "bytes_per_pixel"), [("show", 60), ("verify", 90)])
def test_memory_of_large_frames(tmp_path: Path, verb: str, bytes_per_pixel: int) -> None:
    """The sums of both halves have 32 bytes a pixel; a 4096 x 4096 frame may take 1.0 and 1.5 GB in all."""
    peaks = []
    for side in (64, 2048):
        folder = tmp_path / str(side)
        folder.mkdir()
        rng = np.random.default_rng(side)
        for number in range(12):
            frame = rng.integers(100, 164, (side, side), np.uint16)
            write_mrc(folder / f"{number:02}.mrc", frame[None])
        sensor = folder / "s.h5"
        camnorm.measure(folder, sensor)
        inputs = [sensor] if verb == "show" else [folder, "-m", sensor, "-o", folder / "v", "--group", 3]
        run = run_script(PEAK, verb, *inputs, "--json", env={**os.environ, "CAMNORM_THREADS": "2"})
        assert json.loads(run.stdout)
        peaks.append(int(run.stderr.split()[-1]) * 1024)
    assert (peaks[1] - peaks[0]) / 2048**2 < bytes_per_pixel
