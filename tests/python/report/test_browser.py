"""The page in a browser: nothing is logged, nothing is asked of the network, everyone can use it."""

from __future__ import annotations

import importlib.resources
import importlib.util
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import camnorm
from browser import CHROMIUM, MISSING, Browser
from camnorm import Sensor
from image_sets import sensor_of

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

SHAPE = (600, 900)
HOT, DEAD = (50, 700), (400, 20)
NASTY = "<img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}"


def sensor(shape: tuple[int, ...] = SHAPE, count: int = 40) -> Sensor:
    pattern = 1000 + 30 * np.random.default_rng(1).normal(size=shape)
    files = []
    for seed in range(max(1, count // 4)):
        stack = pattern + 20 * np.random.default_rng(seed).normal(size=(min(count, 4), *shape))
        if shape == SHAPE:
            stack[:, HOT[0], HOT[1]] += 1000
            stack[:, DEAD[0], DEAD[1]] = 3
        files.append(stack.astype(np.uint16))
    return sensor_of(files)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def measured() -> Sensor:
    return sensor()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, measured: Sensor) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    camnorm.sensor_report(measured, name="camera").save(path, next_command="camnorm correct")
    return path


@pytest.fixture
def opened(browser: Browser, path: Path) -> Iterator[Browser]:
    """The page in a window of a desk; whatever it logs, or asks the network for, is an error."""
    browser.messages.clear()
    browser.requests.clear()
    browser.size(1400, 900)
    browser.open(path)
    yield browser
    assert browser.messages == []
    assert browser.requests == [path.as_uri()]


def readout(browser: Browser, x: int, y: int) -> tuple[float, float]:
    """Value and precision that the page shows for a pixel."""
    text = browser.wait(
        f"document.getElementById('readout').textContent.startsWith('x {x}, y {y}:') && "
        "document.getElementById('readout').textContent"
    )
    found = re.match(r"x \d+, y \d+: (\S+) ± (\S+) counts \((\S+) against its surroundings\)", text)
    assert found is not None, text
    return float(found[1].replace("−", "-")), float(found[2])


def view(browser: Browser, name: str) -> None:
    browser.run(
        f"""(() => {{ const view = document.getElementById('view');
        view.value = [...view.options].find((option) => option.text.startsWith('{name}')).value;
        view.dispatchEvent(new Event('change')); }})()"""
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(1400, 900), (420, 800)])
def test_nothing_is_wider_than_the_window(opened: Browser, width: int, height: int, dark: bool) -> None:
    opened.size(width, height, dark=dark)
    assert opened.run("document.documentElement.scrollWidth") <= width
    widest = """Math.max(...[...document.querySelectorAll('main *:not(.scroll *):not(.unseen)')]
        .map((element) => element.getBoundingClientRect().right))"""
    assert opened.run(widest) <= width


@pytest.mark.skipif(importlib.util.find_spec("axe_core_python") is None, reason="axe-core-python is missing")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1400, 420])
def test_everyone_can_use_it(opened: Browser, width: int, dark: bool) -> None:
    opened.size(width, 900, dark=dark)
    opened.run(importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
    found = opened.run("axe.run().then(({ violations, passes }) => ({ violations, passes: passes.length }))")
    assert found["passes"] > 20
    assert [(v["id"], v["impact"], [n["html"] for n in v["nodes"]][:3]) for v in found["violations"]] == []


def test_the_mode_is_switched(opened: Browser) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    assert opened.run(ground) == "rgb(255, 255, 255)"
    opened.run("document.getElementById('theme').click()")
    assert opened.run(ground) == "rgb(20, 23, 27)"
    assert opened.run("document.getElementById('theme').textContent") == "Light mode"
    opened.run("document.getElementById('theme').click()")
    assert opened.run(ground) == "rgb(255, 255, 255)"


def test_values_are_those_of_the_images(opened: Browser, measured: Sensor) -> None:
    for name, image in (("Mean image", measured.mean), ("Sigma image", measured.sigma)):
        view(opened, name)
        opened.run("document.getElementById('whole').click(); document.getElementById('stage').focus()")
        opened.run("document.getElementById('readout').textContent = ''")
        opened.run("document.getElementById('single').click()")
        x, y = SHAPE[1] // 2, SHAPE[0] // 2
        for key, dx, dy in (
            ("", 0, 0),
            ("ArrowRight", 1, 0),
            ("ArrowDown", 0, 1),
            ("ArrowLeft", -1, 0),
            ("ArrowUp", 0, -1),
        ):
            if key:
                opened.run("document.getElementById('stage').focus()")
                opened.run("document.getElementById('readout').textContent = ''")
                opened.key(key)
                x, y = x + dx, y + dy
            value, precision = readout(opened, x, y)
            assert abs(value - image[y, x]) <= 1.02 * precision + 1e-4 * abs(value)


def test_keys_zoom_and_move(opened: Browser) -> None:
    opened.run("document.getElementById('stage').focus()")
    seen = []
    for key in ("+", "+", "-", "0"):
        opened.key(key)
        opened.wait("document.documentElement.dataset.complete === 'true'")
        seen.append(pixels_of(opened))
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])
    opened.key("ArrowLeft", shift=True)
    opened.wait("document.getElementById('said').textContent.startsWith('x 0, ')")


def test_bad_pixels_are_found_by_keys(opened: Browser) -> None:
    opened.run("document.getElementById('stage').focus()")
    places = set()
    for key in ("n", "n", "p"):
        before = opened.run("document.getElementById('said').textContent")
        opened.key(key)
        said = opened.wait(
            f"document.getElementById('said').textContent !== {json.dumps(before)} && "
            "document.getElementById('said').textContent"
        )
        assert "bad pixel: " in said
        places.add(tuple(map(int, re.findall(r"\d+", said)[:2])))
    assert {(HOT[1], HOT[0]), (DEAD[1], DEAD[0])} == places


def test_a_listed_pixel_is_shown(opened: Browser) -> None:
    opened.run(f"document.querySelector('[data-x=\"{HOT[1]}\"]').click()")
    text = opened.wait("document.getElementById('said').textContent")
    assert text.startswith(f"x {HOT[1]}, y {HOT[0]}: ")
    assert text.endswith("bad pixel: hot")
    assert opened.run("document.activeElement.id") == "stage"


def pixels_of(browser: Browser) -> np.ndarray:
    """What the canvas shows."""
    address = browser.run("document.querySelector('#stage canvas').toDataURL()")
    import base64

    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_marks_are_switched(opened: Browser) -> None:
    def colours() -> set[tuple[int, ...]]:
        found = pixels_of(opened)
        return {tuple(pixel) for pixel in found[np.ptp(found, axis=2) > 60].tolist()}

    assert colours()
    for box in range(opened.run("document.querySelectorAll('[data-mark]').length")):
        opened.run(f"document.querySelectorAll('[data-mark]')[{box}].click()")
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert not colours()


def test_single_pixels_keep_their_contrast(opened: Browser, measured: Sensor) -> None:
    """Grey levels of pixels that are 16 screen pixels wide follow the image."""
    for box in range(opened.run("document.querySelectorAll('[data-mark]').length")):
        opened.run(f"document.querySelectorAll('[data-mark]')[{box}].click()")
    opened.run("document.getElementById('single').click()")
    opened.run("document.getElementById('single').blur()")
    opened.wait("document.documentElement.dataset.complete === 'true'")
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    shown = pixels_of(opened)[..., 0]
    middle = shown.shape[0] // 2, shown.shape[1] // 2
    y, x = SHAPE[0] // 2, SHAPE[1] // 2
    offsets = [(dy, dx) for dy in range(-12, 13) for dx in range(-20, 21) if max(abs(dy), abs(dx)) > 2]
    seen = [shown[middle[0] + 16 * dy, middle[1] + 16 * dx] for dy, dx in offsets]
    true = [measured.mean[y + dy, x + dx] for dy, dx in offsets]
    assert np.corrcoef(seen, true)[0, 1] > 0.97


def test_the_mouse_drags_and_zooms(opened: Browser) -> None:
    box = opened.run(
        """(() => {
        document.getElementById('stage').scrollIntoView({ block: 'center' });
        const box = document.getElementById('stage').getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
    )
    first = pixels_of(opened)
    opened.mouse("mousePressed", *box, button="left", clickCount=1)
    opened.mouse("mouseReleased", *box, button="left", clickCount=1)
    opened.mouse("mouseWheel", *box, deltaX=0, deltaY=-1000)
    opened.wait("document.documentElement.dataset.complete === 'true'")
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    zoomed = pixels_of(opened)
    assert not np.array_equal(first, zoomed)
    opened.mouse("mousePressed", *box, button="left", clickCount=1)
    opened.mouse("mouseMoved", box[0] + 60, box[1] + 40, button="left")
    opened.mouse("mouseReleased", box[0] + 60, box[1] + 40, button="left", clickCount=1)
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    opened.wait("document.documentElement.dataset.complete === 'true'")
    dragged = pixels_of(opened)
    inner = np.s_[100:300, 300:700]
    moved = dragged[140:340, 360:760]
    assert np.abs(moved - zoomed[inner]).mean() < 0.2 * np.abs(dragged[inner] - zoomed[inner]).mean()


def test_it_is_printed_with_pictures(opened: Browser, tmp_path: Path) -> None:
    opened.print(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    opened.call("Emulation.setEmulatedMedia", media="print")
    shown = "getComputedStyle(document.querySelector('{}')).display"
    assert opened.run(shown.format(".without")) == "flex"
    assert opened.run(shown.format("#viewer")) == "none"
    opened.call("Emulation.setEmulatedMedia", media="")


def test_without_scripts_there_are_pictures(browser: Browser, path: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.call("Page.navigate", url=path.as_uri())
        browser.wait("document.readyState === 'complete'")
        assert browser.run("getComputedStyle(document.querySelector('.without')).display") == "flex"
        assert browser.run("document.getElementById('viewer').hidden")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def missing_values() -> Sensor:
    made = sensor((200, 300))
    for name in ("mean", "sigma"):
        image = np.array(getattr(made, name))
        image[10:20, 30:90] = np.nan
        vars(made)[name] = image
    return made


def flat() -> Sensor:
    return sensor_of([np.full((4, 50, 60), 5, np.uint16)] * 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sensor((300, 200, 3)),
        lambda: sensor((40, 2000)),
        lambda: sensor((2000, 40)),
        lambda: sensor((1, 30)),
        lambda: sensor((100, 100), 1),
        missing_values,
        flat,
        lambda: Sensor.from_moments(*sensor((64, 80)).halves),
    ],
    ids=["colour", "wide", "tall", "row", "one frame", "no values", "flat", "moments"],
)
def test_other_sensors(browser: Browser, tmp_path: Path, make: Callable[[], Any]) -> None:
    path = tmp_path / "r.html"
    camnorm.sensor_report(make(), name=NASTY).save(path, next_command=NASTY, words=lambda text: text + NASTY)
    browser.messages.clear()
    browser.requests.clear()
    browser.size(420, 800)
    browser.open(path)
    assert browser.messages == []
    assert browser.requests == [path.as_uri()]
    assert browser.run("document.querySelector('h1').textContent") == NASTY
    assert browser.run("document.title") == f"Sensor report: {NASTY}"
    assert browser.run("document.documentElement.scrollWidth") <= 420
    browser.run("document.getElementById('single').click()")
    assert browser.wait("document.getElementById('said').textContent").startswith("x ")
    assert len(np.unique(pixels_of(browser))) > 1
