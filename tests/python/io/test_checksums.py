"""Images that lie elsewhere in a TIFF file, and checksums of FITS files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from astropy.io import fits

import camnorm
from camnorm.errors import FormatError
from camnorm.io import open_frames

SMALL, LARGE = np.ones((16, 24), "u2"), np.arange(64 * 96, dtype="u2").reshape(64, 96)


def write_tiff(path: Path, page: np.ndarray, subifds: list[np.ndarray], kind: int, **options: Any) -> None:
    with tifffile.TiffWriter(path, **options) as tiff:
        tiff.write(page, subifds=len(subifds), subfiletype=kind, photometric="minisblack")
        for image in subifds:
            tiff.write(image, subfiletype=0 if image is LARGE else 1, photometric="minisblack")


@pytest.mark.parametrize(
    "form", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"bigtiff": True, "byteorder": ">"}]
)
@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("subifds", [[LARGE], [SMALL[::2, ::2].copy(), LARGE, SMALL]])
def test_a_thumbnail_is_not_measured(
    tmp_path: Path, form: dict[str, Any], kind: int, subifds: list[np.ndarray]
) -> None:
    write_tiff(tmp_path / "a.tif", SMALL, subifds, kind, **form)
    message = (
        r"previews of an image of 64 x 96 in a SubIFD, which camnorm does not read; save that image as a"
    )
    with pytest.raises(FormatError, match=message):
        open_frames(tmp_path / "a.tif")


def test_a_thumbnail_before_another_page(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(SMALL, subifds=1, subfiletype=1, photometric="minisblack")
        tiff.write(LARGE, photometric="minisblack")
        tiff.write(SMALL, photometric="minisblack")
    with pytest.raises(FormatError, match="in a SubIFD"):
        open_frames(tmp_path / "a.tif")


@pytest.mark.parametrize("form", [{}, {"bigtiff": True, "byteorder": ">"}])
def test_a_pyramid_is_read_at_full_size(tmp_path: Path, form: dict[str, Any]) -> None:
    write_tiff(tmp_path / "a.tif", LARGE, [LARGE[::2, ::2].copy(), SMALL], 0, **form)
    with open_frames(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(source.read(0)[0], LARGE)


def test_damaged_places_beside_the_frames(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", LARGE, [SMALL], 0)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        tag = tiff.pages[0].tags[330]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for place in (0xFFFFFFF0, len(data) - 1):
        data[tag.valueoffset : tag.valueoffset + 4] = place.to_bytes(4, "little")
        (tmp_path / "a.tif").write_bytes(data)
        with open_frames(tmp_path / "a.tif") as source:
            np.testing.assert_array_equal(source.read(0)[0], LARGE)


def write_fits(path: Path, frames: np.ndarray, compressed: bool = False) -> int:
    """Write with checksums; where the pixels begin."""
    hdu = fits.CompImageHDU(frames) if compressed else fits.PrimaryHDU(frames)
    hdus = fits.HDUList([fits.PrimaryHDU(), hdu] if compressed else [hdu])
    hdus.writeto(path, checksum=True)
    with fits.open(path, disable_image_compression=True) as written:
        return int(written[-1]._data_offset)


def movies(folder: Path, dtype: str, compressed: bool = False) -> tuple[list[Path], list[int]]:
    rng = np.random.default_rng(1)
    files = [folder / f"m{i}.fits" for i in range(8)]
    frames = [rng.poisson(100, (3, 33, 41)).astype(dtype) for _ in files]
    return files, [write_fits(file, movie, compressed) for file, movie in zip(files, frames, strict=True)]


@pytest.mark.filterwarnings("ignore:.* makes up 33%")
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_a_damaged_fits_file_is_rejected(tmp_path: Path, dtype: str) -> None:
    files, places = movies(tmp_path, dtype)
    assert camnorm.measure(files, screen="off").count == 24
    data = bytearray(files[3].read_bytes())
    data[places[3] + 80] ^= 4
    files[3].write_bytes(data)
    with pytest.warns(UserWarning, match="verification failed"):
        fits.open(files[3], checksum=True).close()
    sensor = camnorm.measure(files, screen="off")
    assert sensor.count == 21
    clean = camnorm.measure([file for file in files if file != files[3]], screen="off")
    np.testing.assert_array_equal(
        np.sort(sensor.frames["mean"][sensor.frames["status"] == "accepted"]), np.sort(clean.frames["mean"])
    )
    reasons = sensor.frames["reason"][sensor.frames["status"] == "rejected"].tolist()
    assert len(reasons) == 1
    assert "the checksum of its pixels is" in reasons[0]
    assert reasons[0].endswith("as DATASUM says")
    camnorm.measure(files[:3], tmp_path / "sensor.h5", screen="off")
    with pytest.warns(UserWarning, match="m3.fits: damaged, .*DATASUM says"):
        written = camnorm.correct(files[2:5], tmp_path / "sensor.h5", tmp_path / "out")
    assert [path.name for path in written] == ["m2.tif", "m4.tif"]


def test_a_damaged_compressed_image(tmp_path: Path) -> None:
    files, places = movies(tmp_path, "i2", compressed=True)
    assert camnorm.measure(files, screen="off").count == 24
    data = bytearray(files[3].read_bytes())
    data[places[3] + 2000] ^= 1
    files[3].write_bytes(data)
    sensor = camnorm.measure(files, screen="off")
    assert sensor.count == 21
    assert set(sensor.frames["file"][sensor.frames["status"] == "rejected"]) == {str(files[3])}


@pytest.mark.parametrize("value", ["", "0x12", "text", -1])
def test_a_checksum_that_is_no_number(tmp_path: Path, value: object) -> None:
    files, _ = movies(tmp_path, "i2")
    with fits.open(files[0], mode="update") as hdus:
        hdus[0].header["DATASUM"] = value
    assert camnorm.measure(files, screen="off").count == 24
