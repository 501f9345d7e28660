"""The report of a sensor: its numbers, its page as text, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camnorm
from camnorm import PixelMoments, Sensor, cli, jsontext
from camnorm.diagnosis.decomposition import decompose
from camnorm.verification.saved import load_verification
from image_sets import sensor_of, write_mrc

NASTY = "<script>alert(1)</script>\"'&\x1b[31m\u202e{{ 7 * 7 }}</title>"


def frames(count: int, shape: tuple[int, ...] = (64, 96), seed: int = 0, sigma: float = 10.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pattern = 200 + 5 * np.random.default_rng(99).normal(size=shape)
    return (pattern + sigma * rng.normal(size=(count, *shape))).clip(0, 1000).astype(np.uint16)


@pytest.fixture(scope="module")
def sensor() -> Sensor:
    made = sensor_of([frames(5, seed=seed) for seed in range(12)])
    made.provenance.update(command="camnorm measure movies/", version="1", started="today", ended="today")
    return made


class Page(HTMLParser):
    """Elements of a page, and what its text says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "path", "rect"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


def test_a_page_is_one_file_that_needs_no_network(sensor: Sensor) -> None:
    page = Page(camnorm.sensor_report(sensor).html())
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            address = attributes.get(name) or "#"
            assert address.startswith(("#", "data:")), (tag, address)
    (policy,) = (
        a["content"] for t, a in page.elements if (a.get("http-equiv") or "").startswith("Content-Sec")
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind, text in (("style", page.texts["style"]), ("script", page.texts["script"][-1:])):
        digest = hashlib.sha256("".join(text).encode()).digest()
        assert f"{kind}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    # The policy forbids them.
    assert not [t for t, a in page.elements if "style" in a or any(name.startswith("on") for name in a)]


def test_the_verdict_comes_first_and_sections_have_headings(sensor: Sensor) -> None:
    report = camnorm.sensor_report(sensor)
    page = Page(report.html(next_command="camnorm correct movies/ -m sensor.h5 -o corrected"))
    titles = page.texts["h2"]
    assert titles[:4] == ["Verdict", "Camera and set", "Images", "Bad pixels"]
    assert titles[-2:] == ["Checks", "Provenance"]
    assert report.judgement.sentence in page.texts["p"]
    assert "camnorm correct movies/ -m sensor.h5 -o corrected" in page.texts["code"]
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for t, a in page.elements if t == "a"]
    assert {f"#{name}" for name in ("set", "images", "pixels", "frc", "pattern", "spectra", "trends")} <= set(
        links
    )
    assert {link.removeprefix("#") for link in links if link} <= set(ids)
    assert all(a.get("alt") for t, a in page.elements if t == "img")


def test_every_number_has_a_unit_and_a_meaning(sensor: Sensor) -> None:
    result = sensor_and_verification(sensor)
    for section in result.quantities().values():
        for quantity in section:
            assert quantity.unit or quantity.key.startswith("p_"), quantity.key
            assert quantity.meaning.endswith("."), quantity.key
            assert 20 < len(quantity.meaning) < 230, quantity.key
    numbers = result.to_dict()["numbers"]
    assert numbers["frames_accepted"] == {"value": 60, "unit": "frames"}
    assert numbers["target_mean"]["value"] == pytest.approx(float(sensor.target_mean))
    assert numbers["p_pairs"]["value"] == 0.5


def saved_verification(folder: Path) -> Path:
    """Files as `camnorm verify` writes them."""
    found = {
        "independent": True,
        "p": 0.5,
        "rings": 32,
        "outside_3sigma": 1,
        "mean_correlation": 0.01,
        "alpha": 0.025,
    }
    numbers = {
        "independent": True,
        "pairs": {"raw": {**found, "mean_correlation": 0.4}, "corrected": found},
        "groups": {"raw": {**found, "mean_correlation": 0.8}, "corrected": found},
        "group": 12,
        "statistics": [30, 28],
        "files": [[], []],
    }
    folder.mkdir(exist_ok=True)
    (folder / "verify.json").write_text(json.dumps(numbers))
    nyquist = np.arange(33) / 32
    for name, level in (
        ("pair_raw", 0.4),
        ("pair_corrected", 0.0),
        ("groups_raw", 0.8),
        ("groups_corrected", 0.0),
    ):
        rows = "\n".join(f"{f},{'nan' if not f else level},{0.3}" for f in nyquist)
        (folder / f"verify_{name}.csv").write_text(f"nyquist,correlation,threshold_3sigma\n{rows}\n")
    return folder


def sensor_and_verification(sensor: Sensor) -> camnorm.SensorReport:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return camnorm.sensor_report(sensor, verification=saved_verification(Path(folder, "verify")))


def test_a_saved_verification(tmp_path: Path) -> None:
    folder = saved_verification(tmp_path / "v")
    for path in (folder, folder / "verify.json"):
        saved = load_verification(path)
        assert saved.numbers["pairs"]["raw"]["mean_correlation"] == 0.4
        assert set(saved.curves) == {"pair_raw", "pair_corrected", "groups_raw", "groups_corrected"}
        curve = saved.curves["groups_raw"]
        assert (curve.nyquist[-1], curve.correlation[-1], curve.threshold[-1]) == (1.0, 0.8, 0.3)
        assert math.isnan(curve.correlation[0])


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"pairs": {}}', '{"pairs": 5}', "null"])
def test_files_that_are_no_verification(tmp_path: Path, text: str) -> None:
    (tmp_path / "verify.json").write_text(text)
    with pytest.raises(camnorm.FormatError, match=r"is no result of a verification: give the folder"):
        load_verification(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_verification(tmp_path / "none")


def test_a_table_that_is_no_curve(tmp_path: Path) -> None:
    folder = saved_verification(tmp_path / "v")
    (folder / "verify_pair_raw.csv").write_text("a,b\n1,2\n")
    with pytest.raises(camnorm.FormatError, match="is no table of a ring correlation"):
        load_verification(folder)


def test_a_verification_in_memory_is_shown_as_its_files_are(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(26):
        write_mrc(folder / f"m{number:02d}.mrc", frames(2, seed=number))
    sensor = camnorm.measure(folder)
    result = camnorm.verify(folder, sensor)
    result.save(tmp_path / "verify")
    one = camnorm.sensor_report(sensor, verification=result)
    other = camnorm.sensor_report(sensor, verification=tmp_path / "verify")
    assert jsontext.dumps(one.to_dict()) == jsontext.dumps(other.to_dict())
    assert one.to_dict()["independent"] == result.independent
    pages = [Page(report.html()).texts["figcaption"] for report in (one, other)]
    assert pages[0] == pages[1]
    assert any("Mean correlation" in text for text in pages[0])


def test_a_negative_verification_is_said_at_the_top(sensor: Sensor, tmp_path: Path) -> None:
    folder = saved_verification(tmp_path / "v")
    numbers = json.loads((folder / "verify.json").read_text())
    (folder / "verify.json").write_text(json.dumps({**numbers, "independent": False}))
    text = camnorm.sensor_report(sensor, verification=folder).html()
    assert text.index("Verification failed:") < text.index("Camera and set")


def test_hostile_names_are_text(sensor: Sensor) -> None:
    table = sensor.frames.copy()
    table["file"][:] = NASTY
    table["status"][0], table["reason"][0] = "rejected", NASTY
    provenance = {**sensor.provenance, "command": NASTY, "version": NASTY, "started": NASTY, "ended": "x"}
    provenance["files"] = provenance["files"].copy()
    provenance["files"]["path"][:] = NASTY
    provenance["groups"] = [{"camera": NASTY, "shape": [64, 96], "dtype": "uint16", "files": 1, "frames": 1}]
    evil = Sensor(sensor.halves, table, provenance)
    text = camnorm.sensor_report(evil, name=NASTY).html(next_command=NASTY, words=lambda text: text + NASTY)
    page = Page(text)
    assert [t for t, a in page.elements if t == "script"] == ["script"] * 4
    assert "49" not in "".join(page.texts["h1"])
    assert "<script>alert(1)</script>" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)
    assert "".join(page.texts["h1"]).startswith("<script>alert(1)</script>\"'&\\x1b[31m\\u202e{{ 7 * 7 }}")


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_pixel_types(dtype: str) -> None:
    made = sensor_of([frames(4, seed=seed).clip(0, 255).astype(dtype) for seed in range(6)])
    assert camnorm.sensor_report(made).to_dict()["dtype"] == np.dtype(dtype).name


@pytest.mark.parametrize(
    ("shape", "planes"), [((40, 50, 3), ["red", "green", "blue"]), ((20, 30, 2), ["plane 1", "plane 2"])]
)
def test_colour_sensors_have_an_image_for_each_plane(shape: tuple[int, ...], planes: list[str]) -> None:
    made = sensor_of([frames(4, shape, seed) for seed in range(8)])
    options = Page(camnorm.sensor_report(made).html()).texts["option"]
    assert options[: len(planes)] == [f"Mean image, {plane}" for plane in planes]
    assert len(options) == 4 * len(planes)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (3, 500), (5, 5)])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_small_sensors(shape: tuple[int, int], count: int) -> None:
    made = sensor_of([frames(1, shape, seed) for seed in range(count)])
    report = camnorm.sensor_report(made)
    assert not re.search(r"\b(nan|inf)\b", report.html().split("<script")[0])
    json.loads(jsontext.dumps(report.to_dict()))


def test_a_sensor_without_variation() -> None:
    report = camnorm.sensor_report(sensor_of([np.full((4, 32, 32), 7, np.uint16)] * 4))
    assert report.pixels is None
    assert "Not determined: no pixel of the set ever changes" in report.html()
    assert report.to_dict()["bad_pixels"] is None


def test_a_sensor_from_moments_has_no_trends() -> None:
    a, b = (PixelMoments((32, 40), np.uint16) for _ in "AB")
    a.add(frames(20, (32, 40)))
    b.add(frames(20, (32, 40), 1))
    text = camnorm.sensor_report(Sensor.from_moments(a, b)).html()
    assert "The frames came as moments: there is no list of them." in text


def test_bad_pixels_are_marked_and_listed() -> None:
    sets = [frames(4, seed=seed) for seed in range(20)]
    for stack in sets:
        stack[:, 10, 20] = 3
        stack[:, 30, 40] += 500
    report = camnorm.sensor_report(sensor_of(sets))
    assert report.pixels is not None
    found = report.to_dict()["bad_pixels"]
    assert found["counts"] == report.pixels.counts
    assert report.to_dict()["numbers"]["bad_pixels"]["value"] == found["flagged"] >= 2
    page = Page(report.html())
    places = {(a["data-x"], a["data-y"]) for t, a in page.elements if t == "button" and "data-x" in a}
    assert {("20", "10"), ("40", "30")} <= places
    settings = json.loads(page.texts["script"][0])
    marked = {
        mark["name"]: np.frombuffer(base64.b64decode(mark["places"]), "<u4").tolist()
        for mark in settings["marks"]
    }
    assert 30 * 96 + 40 in marked["hot"]


def test_sums_over_neighbours_find_concealed_pixels() -> None:
    rng = np.random.default_rng(3)
    stack = (200 + 10 * rng.normal(size=(400, 64, 64))).astype(np.uint16)
    stack[:, 20, 30] = (stack[:, 20, 29].astype(int) + stack[:, 20, 31]) // 2
    neighbours = camnorm.NeighbourSums((64, 64), np.uint16)
    neighbours.add(stack)
    made = sensor_of(np.array_split(stack, 20))
    assert (
        camnorm.sensor_report(made, neighbours=neighbours).to_dict()["numbers"]["bad_interpolated"]["value"]
        == 1
    )


def test_earlier_measurements(tmp_path: Path) -> None:
    about = {"command": "camnorm measure", "version": "1", "started": "2026-01-01", "ended": "2026-01-01"}
    made = []
    for first in (0, 100):
        sets = [frames(10, (128, 128), first + seed) for seed in range(12)]
        if first:
            for stack in sets:
                stack[:, 40:46, 50:56] -= 80
        made.append(sensor_of(sets))
        made[-1].provenance.update(about)
        made[-1].frames["file"] = [f"{first}-{name}" for name in made[-1].frames["file"]]
        made[-1].provenance["files"]["path"] = [f"{first}-{n}" for n in made[-1].provenance["files"]["path"]]
    made[0].save(tmp_path / "old.h5")
    report = camnorm.sensor_report(made[1], older=[tmp_path / "old.h5"], name="new.h5")
    old, new = report.to_dict()["epochs"]
    assert (old["name"], new["name"]) == ("old.h5", "new.h5")
    assert (old["frames"], old["started"]) == (120, "2026-01-01")
    assert old["changed_pixels"] >= 30
    assert (old["came"], old["went"], new["changed_pixels"]) == (1, 0, None)
    page = Page(report.html())
    assert "Trends over epochs" in page.texts["h2"]
    assert "old.h5" in page.texts["td"]


def test_an_earlier_measurement_of_another_sensor(sensor: Sensor, tmp_path: Path) -> None:
    other = sensor_of([frames(2, (32, 32), seed) for seed in range(4)])
    other.provenance.update(command="", version="1", started="", ended="")
    other.save(tmp_path / "old.h5")
    with pytest.raises(camnorm.Error, match="shape"):
        camnorm.sensor_report(sensor, older=[tmp_path / "old.h5"])


class TestFiles:
    def test_a_report_is_replaced_only_if_asked(self, sensor: Sensor, tmp_path: Path) -> None:
        path = tmp_path / "r.html"
        report = camnorm.sensor_report(sensor)
        report.save(path)
        with pytest.raises(camnorm.Error, match=r"r.html: already exists; use overwrite=True to replace it"):
            report.save(path)
        report.save(path, overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["r.html"]

    def test_other_files_are_not_replaced(self, sensor: Sensor, tmp_path: Path) -> None:
        path = tmp_path / "r.html"
        path.write_text("<html>my page</html>")
        with pytest.raises(camnorm.Error, match="is not a report of camnorm, and is not replaced"):
            camnorm.sensor_report(sensor).save(path, overwrite=True)
        assert path.read_text() == "<html>my page</html>"

    def test_the_name_of_a_file_is_that_of_the_page(self, sensor: Sensor, tmp_path: Path) -> None:
        sensor.save(tmp_path / "k3.h5")
        assert camnorm.sensor_report(tmp_path / "k3.h5").name == "k3.h5"

    def test_no_frames_no_report(self) -> None:
        empty = Sensor(
            (PixelMoments((4, 4), np.uint16),) * 2, np.zeros(0, sensor_of([frames(2)]).frames.dtype), {}
        )
        with pytest.raises(camnorm.Error, match="holds no frames: there is nothing to report"):
            camnorm.sensor_report(empty)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["camnorm", "report", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (int(end.value.code or 0), *capsys.readouterr())

    return run


class TestVerb:
    @pytest.fixture(autouse=True)
    def files(self, sensor: Sensor, tmp_path: Path) -> None:
        sensor.save(tmp_path / "s.h5")

    def test_a_page_and_numbers(self, run: Any, tmp_path: Path) -> None:
        status, out, _ = run("s.h5", "-o", "r.html")
        assert status == 0
        assert re.search(r"^written +r.html, \d+ kB$", out, re.MULTILINE)
        assert out.startswith("verdict")
        page = Page((tmp_path / "r.html").read_text())
        assert any(code.startswith("camnorm ") for code in page.texts["code"])
        assert "keep_illumination" not in "".join(page.texts["dd"])
        status, out, _ = run("s.h5", "--json")
        assert status == 0
        found = json.loads(out)
        assert found["numbers"]["frames_accepted"]["value"] == 60
        assert found["output"] is None

    def test_the_next_command_is_that_of_show(self, run: Any) -> None:
        found = json.loads(run("s.h5", "--json")[1])
        assert found["next"].startswith("camnorm ")

    def test_wrong_use(self, run: Any) -> None:
        status, _, err = run("s.h5")
        assert status == 2
        assert "name the page to write, or ask for --json" in err
        assert run("s.h5", "--frames", "a", "--verification", "b", "-o", "r.html")[0] == 2

    def test_a_page_that_is_there(self, run: Any, tmp_path: Path) -> None:
        (tmp_path / "r.html").write_text('<meta name="generator" content="camnorm 0">')
        status, _, err = run("s.h5", "-o", "r.html")
        assert (status, "use --overwrite to replace it" in err) == (1, True)
        assert run("s.h5", "-o", "r.html", "--overwrite")[0] == 0

    def test_frames_are_verified(self, run: Any, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        for number in range(26):
            write_mrc(tmp_path / "raw" / f"m{number:02d}.mrc", frames(1, seed=number))
        camnorm.measure(tmp_path / "raw").save(tmp_path / "m.h5")
        found = json.loads(run("m.h5", "--frames", "raw", "--json", "-q")[1])
        assert isinstance(found["independent"], bool)
        assert not (tmp_path / "camnorm-verify").exists()


def test_the_parts_of_the_fixed_pattern_are_those_planted() -> None:
    rng = np.random.default_rng(5)
    rows, columns, pixels = (
        sigma * rng.normal(size=size)
        for sigma, size in ((1.93, (240, 1)), (3.11, (1, 320)), (5.01, (240, 320)))
    )
    light = 20 * np.linspace(-1, 1, 320) ** 2
    sets = [200 + rows + columns + pixels + light + 10 * rng.normal(size=(5, 240, 320)) for _ in range(10)]
    found = decompose(sensor_of(sets))
    assert math.sqrt(found.rows) == pytest.approx(rows.std(), rel=0.03)
    # The surface takes the smooth part of the columns.
    assert math.sqrt(found.columns) == pytest.approx(columns.std(), rel=0.05)
    assert math.sqrt(found.pixels) == pytest.approx(pixels.std(), rel=0.01)
    assert math.sqrt(found.illumination) == pytest.approx(light.std(), rel=0.05)
    assert found.left_out == 0


def test_bad_pixels_are_no_part_of_the_fixed_pattern() -> None:
    sets = [frames(5, (100, 120), seed) for seed in range(10)]
    clean = decompose(sensor_of(sets))
    for stack in sets:
        stack[:, ::25, ::30] = 900
    found = decompose(sensor_of(sets))
    assert found.left_out == 16
    assert found.pixels == pytest.approx(clean.pixels, rel=0.01)


def test_parts_that_chance_makes_negative_are_unknown() -> None:
    flat = decompose(sensor_of([10 * np.random.default_rng(s).normal(size=(2, 50, 50)) for s in range(9)]))
    assert all(math.isnan(v) or v < 1.0 for v in (flat.rows, flat.columns))
