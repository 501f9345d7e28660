"""The reference of the documentation: made from the code, or compared with what the code does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer

import camnorm
from camnorm import cli, jsontext
from camnorm.cli.correct import Format
from camnorm.cli.session import FAILED, NEGATIVE, WRONG_USE
from camnorm.cli.verbs import VERBS
from camnorm.demo.demonstration import Scale, run_demo
from camnorm.io.base import registry
from image_sets import write_mrc

sitepages = pytest.importorskip("sitepages", reason="an installed package has no documentation")

from sitepages import api, headers, links, tables  # noqa: E402
from sitepages.commands import command_pages  # noqa: E402
from sitepages.markdown import escaped  # noqa: E402

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def rows(text: str) -> list[list[str]]:
    """Cells of all rows of tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


# Command line


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    return {Path(name).stem: text for name, text in command_pages().items()}


def test_every_verb_has_a_page(commands: dict[str, str]) -> None:
    assert set(commands) == {*VERBS, "index"}
    assert [row[0] for row in rows(commands["index"])][1:] == [
        f"[`camnorm {verb}`]({verb}.md)" for verb in VERBS
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_has_the_options_of_the_help(commands: dict[str, str], verb: str) -> None:
    command = [sys.executable, "-m", "camnorm", verb, "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    named = re.compile(r"(?<![\w`-])--[a-z][a-z0-9-]*")
    options = set(re.findall(r"^ {2,6}(?:-\w, )?(--[a-z][a-z0-9-]*)", shown, re.MULTILINE))
    page = commands[verb]
    listed = re.findall(r"^```\{option\} (.*)$", page, re.MULTILINE)
    assert {name for line in listed for name in named.findall(line)} == options - {"--help"}
    assert len(listed) == len(set(listed)) > 2
    assert not re.search(r"<(list|bool|str|int)|\[str\]|PosixPath|`None`", page)
    assert re.search(r"^```text\ncamnorm " + verb, page, re.MULTILINE)
    assert "```console\n$ camnorm " + verb in page


def test_values_of_options(commands: dict[str, str]) -> None:
    page = commands["verify"]
    assert "```{option} --window NAME\n" in page
    assert "none, hann or tukey. Default: `hann`.\n" in page
    assert "```{option} -o DIR, --output DIR\n" in page
    assert "Default: `camnorm-verify`." in page
    assert "```{option} --corners\n" in page
    assert "camnorm measure [INPUT...] -o FILE [OPTIONS]" in commands["measure"]
    assert "```{option} -o FILE, --output FILE\nSensor file to write. Required.\n" in commands["measure"]


def test_options_in_text_are_code(commands: dict[str, str]) -> None:
    assert "not needed with `--frames-list`." in commands["measure"]
    assert "for `correct --mode response`." in commands["measure"]
    assert "as `--gain_rot` of RELION and `-RotGain` of MotionCor" in commands["measure"]


def test_text_is_no_markup() -> None:
    assert escaped("*.mrc, a_b, `a_b*`, <x>") == r"\*.mrc, a\_b, `a_b*`, \<x\>"


# Python


def test_every_public_name_has_a_page() -> None:
    pages = api.api_pages()
    names = {name for name in camnorm.__all__ if name != "__version__"}
    assert {Path(page).stem for page in pages} == names | {"index"}
    listed = [row[0] for row in rows(pages["reference/python/index.md"]) if row[0] != "name"]
    assert sorted(listed) == sorted(f"[`{name}`]({name}.md)" for name in names)
    assert all(len(row[1]) > 10 for row in rows(pages["reference/python/index.md"]) if row[0] != "name")
    assert (
        "Also caught as [`camnorm.Error`](Error.md), `ValueError`."
        in pages["reference/python/FormatError.md"]
    )


def test_a_name_without_topic_is_refused() -> None:
    class Stray:
        __module__ = "camnorm.stray.module"

    with pytest.raises(ValueError, match=r"^Stray of camnorm.stray has no topic: add the package to one$"):
        api.topic_of("Stray", Stray)


def test_names_in_docstrings() -> None:
    assert sitepages.exists("camnorm.io.base.source")
    assert sitepages.exists("camnorm.io.base.source.FrameSource.read")
    assert not sitepages.exists("camnorm.io.base.gone")
    assert not sitepages.exists("camnorm.io.base.source.Gone")


# C++ and C


def test_every_header_has_a_page() -> None:
    pages = headers.header_pages(ROOT)
    names = {path.name for path in ROOT.glob("cpp/*/camnorm/*.h*")} | {"fftw.hpp"}
    listed = {code(row[0])[0] for row in rows(pages["reference/cpp/index.md"]) if row[0] != "header"}
    assert listed == {f"camnorm/{name}" for name in names}
    for page, text in pages.items():
        for place in re.findall(r"\{literalinclude\} (\S+)", text):
            assert (ROOT / "docs" / page).parent.joinpath(place).resolve().is_file()
    assert pages["reference/cpp/moments-hpp.md"].startswith("# `camnorm/moments.hpp`\n\nExact, additive sums")


def test_a_header_without_introduction_is_refused(tmp_path: Path) -> None:
    header = tmp_path / "new.hpp"
    header.write_text("#pragma once\n\n/// Something else.\nstruct New;\n")
    with pytest.raises(ValueError, match=r"new.hpp has no comment that begins with @file"):
        headers.introduction(header)
    header.write_text(
        "#pragma once\n\n/// @file\n/// New things,\n/// and more.\n///\n/// Details.\n\nstruct New;\n"
    )
    assert headers.introduction(header) == "New things, and more."


# Formats


def test_the_table_of_formats() -> None:
    found = {row[0]: row[1:] for row in rows(tables.formats_page())[1:]}
    assert set(found) == {escaped(row.name) for row in registry.formats() if row.suffixes}
    assert found["NPY"] == ["`.npy`", "", ""]
    assert found["MRC"][1:] == ["yes", ""]
    assert found["TIFF"][1:] == ["yes, `lzw`, `deflate`, `zstd`", ""]
    assert found["Zarr"][-1] == "`zarr`"
    written = {name.lower() for name, row in found.items() if row[1].startswith("yes")}
    assert written == set(Format.__args__) - {"same"}  # type: ignore[attr-defined]


def test_a_format_of_another_package_is_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    row = registry.ImageFormat("new|kind", (".new",), "package:Source", extra="new")
    rows_now = (*registry.formats(), row)
    monkeypatch.setattr(tables, "formats", lambda: rows_now)
    assert "| new\\|kind | `.new` |  | `new` |" in tables.formats_page()


# Environment and exit status


def test_environment_variables() -> None:
    sources = [*ROOT.glob("python/**/*.py"), *ROOT.glob("cpp/**/*.[ch]pp"), *ROOT.glob("python/**/*.cpp")]
    texts = [path.read_text() for path in sources]
    read = {name for text in texts for name in re.findall(r'(?:getenv\(|environ\W+(?:get\()?)"(\w+)"', text)}
    read |= {name for text in texts for name in re.findall(r'"(CAMNORM_[A-Z]+|HDF5_[A-Z_]+)"', text)}
    assert read >= {"CAMNORM_THREADS", "CAMNORM_ISA"}
    page = (REFERENCE / "environment.md").read_text()
    assert {name for row in rows(page)[1:] for name in code(row[0])} == read


def test_exit_status() -> None:
    page = {row[0]: row[1] for row in rows((REFERENCE / "exit-status.md").read_text())[1:]}
    assert set(page) == {"0", str(FAILED), str(WRONG_USE), str(NEGATIVE), "128 + N"}
    program: Any = typer.main.get_command(cli.app.app)
    verbs = {name: program.get_command(None, name).callback for name in VERBS}
    negative = {name for name, verb in verbs.items() if f", {NEGATIVE} " in verb.exit_status}
    assert set(code(page[str(NEGATIVE)])) == negative


# JSON


class Section:
    """Keys of one kind of object in the page, and of which kind their values are."""

    def __init__(self, text: str) -> None:
        self.kinds: dict[str, str] = {}
        self.used: set[str] = set()
        for names, contents in (row for row in rows(text) if row[0] != "key"):
            link = re.search(r"\((?:#|(?=python/))([\w/-]+)(?:\.md)?\)", contents)
            self.kinds |= dict.fromkeys(code(names), link[1] if link else "")
        # Sections whose keys this one has too.
        self.others = re.findall(r"[Tt]he (?:same )?keys (?:of an? |as )\[[^\]]+\]\(#([\w-]+)\)", text)


def json_sections() -> dict[str, Section]:
    parts = re.split(r"^##+ (.+)$", (REFERENCE / "json.md").read_text(), flags=re.MULTILINE)
    names = [re.sub(r"[^\w-]", "", name.lower().replace(" ", "-")) for name in parts[1::2]]
    return dict(zip(names, map(Section, parts[2::2]), strict=True))


def check_keys(sections: Mapping[str, Section], kind: str, value: Any) -> None:
    """See whether the page has all keys of an object, and of the objects in it."""
    sources: list[Section] = []
    waiting = [kind]
    while waiting:
        sources.append(sections[waiting.pop()])
        waiting += sources[-1].others
    for key, content in value.items():
        section = next((section for section in sources if key in section.kinds), None)
        assert section is not None, f"docs/reference/json.md, {kind}: no {key}"
        section.used.add(key)
        inner = section.kinds[key]
        for item in objects_in(content):
            if all(name.isdigit() for name in item):  # numbers by number
                continue
            assert inner, f"docs/reference/json.md, {kind}: {key} does not say what its objects hold"
            if inner.startswith("python/"):  # a class that says what its fields are
                assert set(item) <= set(vars(getattr(camnorm, Path(inner).name))["__dataclass_fields__"])
                continue
            for one in item.values() if inner == "camera" else [item]:  # cameras have names
                check_keys(sections, inner, one)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Objects in a value, in lists too."""
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from objects_in(item)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["camnorm", *arguments, "--json"])
        with redirect_stdout(StringIO()) as printed, pytest.raises(SystemExit):
            cli.main()
        return json.loads(printed.getvalue())

    return run


def movies(folder: Path, dtype: str = "u2", first: int = 0) -> Path:
    folder.mkdir()
    for seed in range(first, first + 8):
        frames = np.random.default_rng(seed).poisson(100, (5, 32, 40)).astype(dtype)
        write_mrc(folder / f"m{seed}.mrc", frames)
    return folder


def two_epochs(folder: Path) -> list[str]:
    """Sensor files with squares of dust that came, went, stayed and moved, and a hot pixel."""
    files = []
    for number, squares in enumerate((((20, 20), (20, 60), (60, 20)), ((20, 20), (60, 60), (60, 30)))):
        light = 100 * (1 + 0.05 * np.random.default_rng(1).normal(size=(96, 96)))
        for y, x in squares:
            light[y : y + 6, x : x + 6] *= 0.7
        light[90, 90] *= 1 + number
        halves = [camnorm.PixelMoments(light.shape, "u2") for _ in "AB"]
        for half in halves:
            half.add(np.random.default_rng([number, len(files)]).poisson(light, (50, 96, 96)).astype("u2"))
        files.append(str(folder / f"epoch{number}.h5"))
        camnorm.Sensor.from_moments(*halves).save(files[-1])
    return files


def defective(folder: Path) -> Path:
    """Movies with a bad column, a cluster and an interpolated pixel."""
    folder.mkdir()
    for seed in range(4):
        frames = np.random.default_rng(seed).poisson(100, (30, 32, 40)).astype("u2")
        frames[:, :, 10] += 100
        frames[:, 20:22, 20:22] += 100
        frames[:, 8, 30] = (frames[:, 8, 29] + frames[:, 8, 31]) // 2
        write_mrc(folder / f"m{seed}.mrc", frames)
    return folder


def stale_gain(folder: Path) -> None:
    """A sensor, and a gain that fits but for some dust."""
    rng = np.random.default_rng(1)
    sensitivity = rng.normal(1, 0.05, (96, 120))
    write_mrc(folder / "g.mrc", 1 / sensitivity[None].astype("f4"))
    sensitivity[40:48, 60:68] *= 0.8
    halves = [camnorm.PixelMoments(sensitivity.shape, np.uint16) for _ in "AB"]
    for half in halves:
        half.add(rng.poisson(200 * sensitivity, (20, *sensitivity.shape)).astype("u2"))
    camnorm.Sensor.from_moments(*halves).save(folder / "g.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_json_keys(run: Callable[..., Any], tmp_path: Path) -> None:
    movies(tmp_path / "raw")
    (tmp_path / "raw" / "bad.mrc").write_bytes(b"no image")
    (tmp_path / "link.mrc").symlink_to(tmp_path / "raw" / "m3.mrc")
    bright = np.random.default_rng(20).poisson(200, (5, 32, 40)).astype("u2")
    bright[:, 20, 25] += 500
    write_mrc(tmp_path / "bright.mrc", bright)
    limits = ("--mean", "1:", "--std", "1:", "--response")
    run("measure", str(defective(tmp_path / "hot")), "-o", "hot.h5", "--neighbours")
    run("health", "hot.h5", "-o", "hot.csv")
    run("measure", str(movies(tmp_path / "more", first=10)), "-o", "t.h5", *limits)
    run("measure", "raw/m0.mrc", "raw/m1.mrc", "-o", "p.h5", *limits)
    stale_gain(tmp_path)
    results = {
        "measure": run("measure", "raw", "link.mrc", "-o", "s.h5", *limits),
        "measure---split": run("measure", "raw", "-o", "split.h5", "--split"),
        "correct": run("correct", "raw", "bright.mrc", "-m", "s.h5", "-o", "out", "--hot-pixels"),
        "verify": run("verify", "hot", "-m", "hot.h5", "--pixels", "hot.csv"),
        "frc": run("frc", "raw/m0.mrc", "raw/m1.mrc"),
        "health": run("health", "hot.h5", "--frames", "bright.mrc"),
        "gain": run("gain", "g.mrc", "g.h5"),
        "export": run("export", "s.h5", "--for", "relion", "-o", "for-relion"),
        "compare": run("compare", *two_epochs(tmp_path), "-o", "changes"),
        "report": run("report", "hot.h5", "--frames", "hot"),
        "merge": run("merge", "s.h5", "t.h5", "-o", "m.h5"),
        "show": run("show", "m.h5"),  # enough movies to predict errors
        "subtract": run("subtract", "s.h5", "p.h5", "-o", "d.h5"),
    }
    scale = Scale(electron_shape=(256, 256), movies=57, bayer_shape=(200, 224), images=100)
    results["demo"] = json.loads(jsontext.dumps(run_demo(tmp_path / "demo", scale=scale).to_dict()))
    sections = json_sections()
    assert {name.partition("---")[0] for name in results} == set(VERBS)
    for verb, result in results.items():
        check_keys(sections, verb, result)
    unused = {name: section.kinds.keys() - section.used for name, section in sections.items()}
    assert {name: keys for name, keys in unused.items() if keys} == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"count": 1, "news": 2}, "sensor: no news"),
        ({"rejected": [{"file": "a", "cause": "b"}]}, "rejected: no cause"),
        ({"reading": {"news": 2}}, "news"),
        ({"dtype": {"name": "u2"}}, "sensor: dtype does not say what its objects hold"),
    ],
)
def test_a_key_that_is_not_in_the_page(value: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_keys(json_sections(), "sensor", value)


# The sensor file


def places_in(path: Path) -> set[str]:
    """Datasets and attributes of a sensor file; those of half B count as those of A."""
    found: set[str] = set()

    def look(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.add(f"/{name}")
        found.update(f"/{name}@{attribute}" for attribute in item.attrs)

    with h5py.File(path) as file:
        found.update(f"/@{attribute}" for attribute in file.attrs)
        file.visititems(look)
    return {re.sub(r"^(/\w+)/B", r"\1/A", place) for place in found}


@pytest.mark.filterwarnings("default")
def test_the_page_of_the_sensor_file(tmp_path: Path) -> None:
    real: set[str] = set()
    for dtype in ("u2", "f4"):
        sensor = tmp_path / f"{dtype}.h5"
        camnorm.measure(movies(tmp_path / dtype, dtype), sensor, response=True, neighbours=True, screen="off")
        real |= places_in(sensor)
    whole = camnorm.measure(tmp_path / "u2", screen="off")
    part = camnorm.measure([tmp_path / "u2" / f"m{i}.mrc" for i in range(2)], screen="off")
    other = camnorm.measure(movies(tmp_path / "other", first=10), screen="off")
    whole.subtract(part).merge(other).save(tmp_path / "merged.h5")
    real |= places_in(tmp_path / "merged.h5")
    camnorm.Sensor.from_moments(*whole.halves).save(tmp_path / "moments.h5")
    real |= places_in(tmp_path / "moments.h5")
    page = (REFERENCE / "sensor-file.md").read_text()
    listed = [name for row in rows(page) for name in code(row[0]) if row[0] != "place"]
    assert len(listed) == len(set(listed))
    assert set(listed) == real


# Links to files outside the documentation


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[a](b.md)", "[a](b.md)"),
        ("[a](../explanation/b.md#c)", "[a](../explanation/b.md#c)"),
        ("[a](https://example.org/../x)", "[a](https://example.org/../x)"),
        ("[a](#b)", "[a](#b)"),
        ("![a](../demo.jpg)", "![a](../demo.jpg)"),
        ("[a](../../CONTRIBUTING.md#b)", "[a](../development/contributing.md#b)"),
        ("[a](../../README.md)", "[a](../index.md)"),
        ("[`a`](../../bench/README.md)", "[`a`](https://example.org/x/bench/README.md)"),
    ],
)
def test_links_of_pages(link: str, expected: str) -> None:
    page = ROOT / "docs" / "howto" / "page.md"
    assert links.with_site_links(link, page, ROOT / "docs", "https://example.org/x") == expected


def test_links_without_an_address_of_the_repository() -> None:
    page = ROOT / "docs" / "howto" / "page.md"
    assert links.with_site_links("see [a](../../bench/x.py).", page, ROOT / "docs", "") == "see a."
    with pytest.raises(ValueError, match=r"\.\./\.\./\.\./x is not in the repository"):
        links.with_site_links("[a](../../../x)", page, ROOT / "docs", "")


def test_tables_of_contents_have_all_pages(tmp_path: Path) -> None:
    (tmp_path / "howto").mkdir()
    for name in ("howto/a.md", "howto/b.md", "howto/c.md", "howto/d.txt", "index.md", "e.md"):
        (tmp_path / name).touch()
    text = "T *\n```{toctree}\n:hidden:\n\nhowto/b\nhowto/*\nother/*\n```\n```{toctree}\nhowto/c\n*\n```\n"
    expected = "T *\n```{toctree}\n:hidden:\n\nhowto/b\nhowto/a\n```\n```{toctree}\nhowto/c\ne\n```\n"
    assert links.with_all_pages(text, tmp_path / "index.md") == expected


def test_project_pages(tmp_path: Path) -> None:
    (tmp_path / "CONTRIBUTING.md").write_text("# A\n\n[b](docs/howto/b.md#c) [d](CHANGELOG.md) [e](#e)\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    pages = links.project_pages(tmp_path)
    assert (
        pages["development/contributing.md"]
        == "# A\n\n[b](../howto/b.md#c) [d](../../CHANGELOG.md) [e](#e)\n"
    )
    assert pages["development/changelog.md"] == "# Changelog\n"
