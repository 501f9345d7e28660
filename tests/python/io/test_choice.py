"""The right array of a container is read, and no mask, matrix or text in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits

import camnorm
from camnorm import FormatError, ReadOptions
from camnorm.io import expand_inputs, open_frames

FRAMES = np.random.default_rng(1).poisson(40, (12, 16, 24)).astype(np.uint16)


def read(path: Path, **options: Any) -> np.ndarray:
    with open_frames(path, ReadOptions(**options)) as source:
        frames = source.read(0, source.count)
        for index in range(source.count):
            np.testing.assert_array_equal(source.read(index)[0], frames[index])
        return frames


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(FormatError, match=message):
        open_frames(path, ReadOptions(**options))


# --- HDF5: what cannot be opened or read

Writer = Callable[[h5py.File], None]


def _external(file: h5py.File) -> None:
    file["entry/images"] = h5py.ExternalLink("raw/det_0.h5", "/data")


def _external_dataset(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["something"] = 1
    file["entry/images"] = h5py.ExternalLink("other.h5", "/data")


def _soft(file: h5py.File) -> None:
    file["entry/images"] = h5py.SoftLink("/entry/detector/data")


def _soft_to_external(file: h5py.File) -> None:
    file["entry/other"] = h5py.ExternalLink("gone.h5", "/")
    file["entry/images"] = h5py.SoftLink("/entry/other/data")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(FRAMES.shape, "u2")
    layout[:6] = h5py.VirtualSource("gone.h5", "data", (6, 16, 24))
    file.create_virtual_dataset("entry/images", layout)


def _typed(kind: str) -> Writer:
    def write(file: h5py.File) -> None:
        file["entry/images"] = FRAMES.astype(kind)

    return write


BROKEN = {
    "external": (_external, "/entry/images is in the file raw/det_0.h5, which is missing"),
    "external dataset": (
        _external_dataset,
        "/entry/images is /data of the file other.h5, which is damaged or",
    ),
    "soft": (_soft, "/entry/images is a link to /entry/detector/data, which is missing"),
    "soft to external": (
        _soft_to_external,
        "/entry/other is in the file gone.h5, which is missing, and 1 more",
    ),
    "virtual": (_virtual, r"a part of it \(gone.h5, data\) is missing or damaged"),
    "int64": (_typed("i8"), "/entry/images of shape .*: pixels of type int64 are not supported"),
    "uint64": (_typed("u8"), "pixels of type uint64 are not supported"),
    "complex": (_typed("c8"), "pixels of type complex64 are not supported"),
    "bool": (_typed("?"), "pixels of type bool are not supported"),
    "compound": (_typed("f4, f4"), r"pixels of compound type \(f0, f1\) are not supported"),
}
BESIDE: dict[str, np.ndarray] = {
    "orientation_matrix": np.eye(3)[np.newaxis],
    "pixel_mask": np.zeros((16, 24), np.uint32),
    "flatfield": np.ones((16, 24), np.float32),
    "data_errors": np.ones((12, 16, 24), np.float32),
    "dark": np.ones((16, 24), np.float32),
    "text": np.frombuffer(b'{"json": 1}'.ljust(6000), np.uint8).reshape(-1, 1),
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("broken", BROKEN)
def test_images_that_cannot_be_read_are_not_replaced_by_what_lies_beside(
    tmp_path: Path, broken: str, beside: str
) -> None:
    write, message = BROKEN[broken]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file[f"entry/{beside}"] = BESIDE[beside]
        write(file)
    refused(path, message)


@pytest.mark.parametrize("broken", ["external", "external dataset", "soft", "soft to external"])
def test_a_link_that_leads_nowhere_may_be_the_images(tmp_path: Path, broken: str) -> None:
    """Other frames in the file are read if NeXus or the user names them."""
    write, message = BROKEN[broken]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["entry/darks"] = FRAMES
        write(file)
    refused(path, rf"{message}.*; choose what is there with dataset=NAME: /entry/darks \(12, 16, 24\) uint16")
    np.testing.assert_array_equal(read(path, dataset="entry/darks"), FRAMES)
    with h5py.File(path, "a") as file:
        file.attrs["default"] = "entry"
        file["entry"].attrs["signal"] = "darks"
    np.testing.assert_array_equal(read(path), FRAMES)


def test_a_mask_that_is_missing_is_no_obstacle(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = FRAMES
        file["entry/pixel_mask"] = h5py.ExternalLink("gone.h5", "mask")
        file["entry/flatfield"] = h5py.SoftLink("/nowhere")
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)


def test_links_within_a_file_that_lead_somewhere(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/detector/data"] = FRAMES
        file["entry/data"] = h5py.SoftLink("detector/data")
        file["entry/again"] = h5py.SoftLink("/entry/data")
        file["alias"] = h5py.SoftLink("/entry/detector")
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)


def test_the_signal_of_nexus_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nxs"
    with h5py.File(path, "w") as file:
        file["entry/other"] = FRAMES
        file["entry/images"] = FRAMES.astype("i8")
        file.attrs["default"] = "entry"
        file["entry"].attrs["signal"] = "images"
    refused(path, r"/entry/images of shape \(12, 16, 24\): pixels of type int64 are not supported")
    with h5py.File(path, "a") as file:
        del file.attrs["default"]
    refused(path, "pixels of type int64 are not supported")
    with h5py.File(path, "a") as file:
        file["entry"].attrs["signal"] = "curve"
        file["entry/curve"] = np.arange(9.0)
        del file["entry/images"]
    np.testing.assert_array_equal(read(path), FRAMES)


def test_only_what_is_no_frames_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["entry/pixel_mask"] = BESIDE["pixel_mask"]
        file["entry/rotation"] = BESIDE["orientation_matrix"]
    refused(
        path,
        r"no images in it; choose what is there with dataset=NAME: "
        r"/entry/pixel_mask \(16, 24\) uint32, /entry/rotation \(1, 3, 3\) float64$",
    )
    np.testing.assert_array_equal(read(path, dataset="entry/pixel_mask")[0], BESIDE["pixel_mask"])
    np.testing.assert_array_equal(read(path, dataset="entry/rotation")[0], BESIDE["orientation_matrix"])


# --- HDF5: several axes that count frames


@pytest.mark.parametrize("chunks", [None, (1, 1, 16, 24), (2, 2, 16, 24), (1, 3, 5, 7)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_hdf5_scans(tmp_path: Path, chunks: tuple[int, ...] | None, order: str) -> None:
    scan = FRAMES.reshape(3, 4, 16, 24).astype(order + "f2")
    for compression in (None, "gzip") if chunks else (None,):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file.create_dataset("scan", data=scan, chunks=chunks, compression=compression)
        np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)


def test_hdf5_scan_with_frames_that_were_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        scan = file.create_dataset("scan", (3, 4, 16, 24), "u2", chunks=(1, 2, 16, 24))
        scan[0], scan[2, 2:] = FRAMES[:4], FRAMES[10:]
    with open_frames(tmp_path / "a.h5") as source:
        assert list(source.spans(0, 12)) == [(0, 4, True), (4, 10, False), (10, 12, True)]
        np.testing.assert_array_equal(source.read(10, 12), FRAMES[10:])
        with pytest.raises(FormatError, match="frame 6: this frame was never written"):
            source.read(6)


def test_hdf5_virtual_scan(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    for rows in (3, 2):
        layout = h5py.VirtualLayout((3, 4, 16, 24), "u2")
        for row in range(rows):
            with h5py.File(tmp_path / f"row_{row}.h5", "w") as file:
                file["data"] = FRAMES[4 * row : 4 * row + 4]
            layout[row] = h5py.VirtualSource(f"row_{row}.h5", "data", (4, 16, 24))
        with h5py.File(path, "w") as file:
            file.create_virtual_dataset("data", layout)
        if rows == 3:
            np.testing.assert_array_equal(read(path), FRAMES)
        else:
            refused(path, "frame 8: /data is virtual, and no file stands for this frame")


# --- HDF5: one sequence in several datasets


def write_master(folder: Path, counts: tuple[int, ...], first: int = 1) -> Path:
    master = folder / "run_master.h5"
    begin = 0
    with h5py.File(master, "w") as file:
        for number, count in enumerate(counts, first):
            with h5py.File(folder / f"run_data_{number:06d}.h5", "w") as part:
                frames = FRAMES[begin : begin + count]
                part.create_dataset("entry/data/data", data=frames, chunks=(1, 16, 24), compression="gzip")
            file[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(
                f"run_data_{number:06d}.h5", "/entry/data/data"
            )
            begin += count
        file["entry/instrument/detector/detectorSpecific/pixel_mask"] = np.zeros((16, 24), np.uint32)
    return master


@pytest.mark.parametrize("signal", ["", "data_000001"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_master_file_is_read_completely(tmp_path: Path, first: int, signal: str) -> None:
    master = write_master(tmp_path, (5, 1, 4, 2), first)
    if signal and first:
        with h5py.File(master, "a") as file:
            file.attrs["default"] = "entry"
            file["entry"].attrs["default"] = "data"
            file["entry/data"].attrs["signal"] = signal
    np.testing.assert_array_equal(read(master), FRAMES)
    with open_frames(master) as source:
        assert source.metadata == {"dataset": "/entry/data"}
        np.testing.assert_array_equal(source.read(3, 11), FRAMES[3:11])
        assert len(source.files) == 5
    np.testing.assert_array_equal(read(master, dataset=f"entry/data/data_{first + 2:06d}"), FRAMES[6:10])
    np.testing.assert_array_equal(read(master, dataset="entry/data"), FRAMES)
    with pytest.warns(UserWarning, match="4 files left out whose frames another gives too"):
        assert [file.path for file in expand_inputs(tmp_path)] == [master]


def test_a_master_file_that_lacks_files(tmp_path: Path) -> None:
    master = write_master(tmp_path, (5, 1, 4, 2))
    part = tmp_path / "run_data_000003.h5"
    data = part.read_bytes()
    part.unlink()
    refused(master, "/entry/data/data_000003 is in the file run_data_000003.h5, which is missing")
    part.write_bytes(data[:3000])
    refused(
        master, "/entry/data/data_000003 is /entry/data/data of the file run_data_000003.h5, which is dam"
    )
    part.write_bytes(data)
    with h5py.File(master, "a") as file:
        del file["entry/data/data_000003"]
    refused(master, "/entry/data/data_000003 is missing, data_000004 is there")
    with h5py.File(master, "a") as file:
        del file["entry/data/data_000001"]
    refused(master, "/entry/data/data_000001 is missing, data_000002 is there")
    for name in ("data_000002", "data_000004"):
        (tmp_path / f"run_{name}.h5").unlink()
    refused(master, "/entry/data/data_000001 is missing|data_000002.h5, which is missing")


def test_a_master_file_of_files_that_differ(tmp_path: Path) -> None:
    master = write_master(tmp_path, (5, 1, 4, 2))
    with h5py.File(tmp_path / "run_data_000003.h5", "w") as part:
        part["entry/data/data"] = FRAMES[:, :8]
    refused(
        master, r"the frames of /entry/data/data_000003 are \(8, 24\) uint16; those of data_000001 \(16, 24\)"
    )
    with h5py.File(tmp_path / "run_data_000003.h5", "w") as part:
        part["entry/data/data"] = FRAMES.astype("u4")
    refused(master, r"the frames of /entry/data/data_000003 are \(16, 24\) uint32")


def test_a_frame_of_a_sequence_that_is_damaged(tmp_path: Path) -> None:
    master = write_master(tmp_path, (5, 7))
    with h5py.File(tmp_path / "run_data_000002.h5", "a") as part:
        part["entry/data/data"].id.write_direct_chunk((2, 0, 0), b"nonsense")
    with open_frames(master) as source:
        np.testing.assert_array_equal(source.read(4, 7), FRAMES[4:7])
        with pytest.raises(
            FormatError, match=r"run_master\.h5, frame 7: /entry/data/data_000002: cannot be read"
        ):
            source.read(7)
    sensor = camnorm.measure(master, screen="off")
    assert sensor.count == 11


def test_curves_and_groups_with_numbers_are_no_sequence(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/images"] = FRAMES
        for number in range(3):
            file[f"curves/data_{number:03d}"] = np.arange(5.0)
            file[f"groups/data_{number:03d}/x"] = np.arange(5.0)
    np.testing.assert_array_equal(read(tmp_path / "a.h5"), FRAMES)


# --- EMD


def write_emd(path: Path, data: np.ndarray, names: tuple[str | None, ...], dataset: str = "data") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        group = file.create_group("signals/image")
        group.attrs["emd_group_type"] = 1
        group[dataset] = data
        for number, (name, length) in enumerate(zip(names, data.shape, strict=True), 1):
            group[f"dim{number}"] = np.arange(float(length))
            if name is not None:
                group[f"dim{number}"].attrs["name"] = name
                group[f"dim{number}"].attrs["units"] = ""
    return path


@pytest.mark.parametrize("chunks", [None, (16, 24, 1), (16, 24, 12), (4, 24, 5)])
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f4"])
def test_velox(tmp_path: Path, dtype: str, chunks: tuple[int, ...] | None) -> None:
    path = tmp_path / "a.emd"
    frames = FRAMES.astype(dtype)
    for compression in (None, "gzip") if chunks else (None,):
        with h5py.File(path, "w") as file:
            stored = np.ascontiguousarray(np.moveaxis(frames, 0, -1))
            file.create_dataset(
                "Data/Image/0123abcd/Data", data=stored, chunks=chunks, compression=compression
            )
            file["Data/Image/0123abcd/Metadata"] = np.zeros((60000, 12), np.uint8)
        np.testing.assert_array_equal(read(path), frames)
        with open_frames(path) as source:
            assert (source.shape, source.count, source.offsets) == ((16, 24), 12, None)
            assert source.metadata == {"dataset": "/Data/Image/0123abcd/Data"}
    assert [file.path for file in expand_inputs(tmp_path)] == [path]


def test_velox_of_several_or_complex_images(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    kind = np.dtype([("realFloatHalfEven", "<f4"), ("imagFloatHalfEven", "<f4")])
    with h5py.File(path, "w") as file:
        file["Data/Image/0123/Data"] = np.zeros((32, 17, 1), kind)
        file["Data/Image/0123/Metadata"] = np.zeros((60000, 1), np.uint8)
    refused(path, r"complex pixels \(realFloatHalfEven, imagFloatHalfEven\) are not supported")
    with h5py.File(path, "a") as file:
        file["Data/Image/4567/Data"] = np.moveaxis(FRAMES[:2], 0, -1)
    refused(
        path, r"several arrays can be meant, choose one with dataset=NAME: .*/4567/Data \(16, 24, 2\) uint16"
    )
    np.testing.assert_array_equal(read(path, dataset="Data/Image/4567/Data"), FRAMES[:2])


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("x", "y", "z"), (2, 1, 0)),
        (("R_x", "R_y", "bin_outer_angle"), (2, 1, 0)),
        (("angle", "y", "x"), (0, 1, 2)),
        (("n", "x", "y"), (0, 2, 1)),
        (("y", "x", "tilt"), (2, 0, 1)),
    ],
    ids=str,
)
def test_emd_of_berkeley(tmp_path: Path, names: tuple[str, ...], order: tuple[int, ...]) -> None:
    data = FRAMES.copy()
    path = write_emd(tmp_path / "a.emd", data, names)
    np.testing.assert_array_equal(read(path), data.transpose(order))


def test_emd_of_other_axes(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    np.testing.assert_array_equal(read(write_emd(path, FRAMES[0], ("x", "y")))[0], FRAMES[0].T)
    np.testing.assert_array_equal(read(write_emd(path, FRAMES[0], ("y", "x")))[0], FRAMES[0])
    np.testing.assert_array_equal(read(write_emd(path, FRAMES[0], (None, None)))[0], FRAMES[0].T)
    scan = FRAMES.reshape(3, 4, 16, 24)
    four = write_emd(path, scan, ("R_x", "R_y", "Q_x", "Q_y"), "datacube")
    np.testing.assert_array_equal(read(four), FRAMES)
    with h5py.File(path, "w") as file:  # of version 1
        group = file.create_group("root/cube")
        group.attrs["emd_group_type"] = "array"
        group["data"] = scan
        for axis, name in enumerate(("Rx", "Ry", "Qx", "Qy")):
            group[f"dim{axis}"] = np.arange(float(scan.shape[axis]))
            group[f"dim{axis}"].attrs["name"] = name
    np.testing.assert_array_equal(read(path), FRAMES)
    for names, listed in (
        ((None, None, None), "nothing, nothing, nothing"),
        (("x", "energy", "z"), "x, energy, z"),
    ):
        write_emd(path, FRAMES, names)
        refused(path, f"EMD with axes named {listed}: one must be x and one y to tell")
        refused(path, "EMD with axes named", dataset="signals/image/data")


def test_emd_as_rosettasciio_reads_it(tmp_path: Path) -> None:
    emd = pytest.importorskip("rsciio.emd")
    path = tmp_path / "a.emd"
    for names, shape in ((("x", "y", "z"), (16, 24, 12)), (("x", "y"), (16, 24)), (("", ""), (24, 16))):
        write_emd(path, np.arange(np.prod(shape), dtype="i4").reshape(shape), names)
        (expected,) = emd.file_reader(path)
        np.testing.assert_array_equal(read(path), expected["data"].reshape(-1, *expected["data"].shape[-2:]))
    axes = [{"name": n, "units": "", "offset": 0.0, "scale": 1.0, "navigate": n == "z"} for n in "zyx"]
    signal = {"data": FRAMES, "axes": axes, "metadata": {"General": {"title": "a"}, "Signal": {}}}
    emd.file_writer(path, signal | {"original_metadata": {}})
    np.testing.assert_array_equal(read(path), FRAMES)


# --- FITS


def write_chips(
    path: Path, *names: str, shape: tuple[int, ...] = (16, 24), compressed: bool = False, seed: int = 0
) -> list[np.ndarray]:
    chips = [np.random.default_rng([seed, i]).poisson(90, shape).astype("u2") for i in range(len(names))]
    kind = fits.CompImageHDU if compressed else fits.ImageHDU
    hdus = [kind(chip, name=name) for chip, name in zip(chips, names, strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return chips


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz", ".fits.gz", ".fits.bz2"])
def test_fits_of_several_chips_are_refused_unless_one_is_chosen(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    chips = write_chips(path, "CHIP1", "CHIP2", compressed=suffix == ".fits.fz")
    refused(
        path,
        r"several images can be meant, choose one with dataset=NAME: "
        r"CHIP1 \(16, 24\) uint16, CHIP2 \(16, 24\) uint16$",
    )
    for number, chip in enumerate(chips, 1):
        for name in (f"CHIP{number}", f"chip{number}", str(number), f"CHIP{number},1"):
            np.testing.assert_array_equal(read(path, dataset=name)[0], chip)
    with open_frames(path, ReadOptions(dataset="CHIP2")) as source:
        assert source.left_out == ("CHIP1",)


def test_correct_says_which_chips_it_leaves_out(tmp_path: Path) -> None:
    for number in range(4):
        write_chips(tmp_path / f"{number}.fits", "CHIP1", "CHIP2", seed=number)
    options = ReadOptions(dataset="CHIP1")
    files = [tmp_path / f"{number}.fits" for number in range(4)]
    sensor = camnorm.measure(files, screen="off", options=options)
    with pytest.warns(
        UserWarning, match=r"the others are left out \(CHIP2\): correct them with another dataset="
    ):
        camnorm.correct(files, sensor, tmp_path / "out")


def test_fits_of_extensions_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    hdus = [fits.PrimaryHDU()]
    for version in (1, 2):
        for name, kind in (("SCI", "u2"), ("ERR", "f4"), ("DQ", "i2")):
            hdus.append(fits.ImageHDU(FRAMES[version].astype(kind), name=name, ver=version))
    fits.HDUList(hdus).writeto(path)
    refused(path, r"several images can be meant.*: SCI,1 \(16, 24\) uint16, SCI,2 \(16, 24\) uint16$")
    refused(path, "several images can be meant", dataset="SCI")
    for version, number in ((1, 1), (2, 4)):
        np.testing.assert_array_equal(read(path, dataset=f"SCI,{version}")[0], FRAMES[version])
        np.testing.assert_array_equal(read(path, dataset=str(number))[0], FRAMES[version])
    unnamed = [fits.PrimaryHDU(FRAMES[0]), fits.ImageHDU(FRAMES[1]), fits.ImageHDU(FRAMES[2])]
    fits.HDUList(unnamed).writeto(path, overwrite=True)
    refused(path, r"NAME: PRIMARY \(16, 24\) uint16, 1 \(16, 24\) uint16, 2 \(16, 24\) uint16$")
    np.testing.assert_array_equal(read(path, dataset="2")[0], FRAMES[2])


def test_fits_images_with_errors_masks_and_previews_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    beside = ("ERR", "DQ", "VAR_POISSON", "VAR_RNOISE", "AREA", "WHT", "PIXELDQ", "bad_pixel_mask", "Preview")
    for name in beside:
        hdus = [fits.PrimaryHDU(), fits.ImageHDU(FRAMES, name="SCI"), fits.ImageHDU(FRAMES * 1.0, name=name)]
        for order in (hdus, [hdus[0], hdus[2], hdus[1]]):
            fits.HDUList(order).writeto(path, overwrite=True)
            np.testing.assert_array_equal(read(path), FRAMES)
    preview = fits.PrimaryHDU(FRAMES[0, ::2, ::2].astype("u1"))
    fits.HDUList([preview, fits.ImageHDU(FRAMES)]).writeto(path, overwrite=True)
    np.testing.assert_array_equal(read(path), FRAMES)
    guide = fits.ImageHDU(FRAMES[0, :4], name="GUIDE")
    fits.HDUList([fits.PrimaryHDU(FRAMES), guide]).writeto(path, overwrite=True)
    refused(path, r"PRIMARY \(12, 16, 24\) uint16, GUIDE \(4, 24\) uint16$")


@pytest.mark.parametrize(
    ("shape", "compressed"),
    [
        ((3, 4, 16, 24), False),
        ((3, 4, 16, 24), True),
        ((1, 1, 16, 24), False),
        ((1, 1, 16, 24), True),
        ((2, 3, 2, 16, 24), False),  # astropy compresses no more than four axes
    ],
)
def test_fits_of_several_axes(tmp_path: Path, shape: tuple[int, ...], compressed: bool) -> None:
    path = tmp_path / "a.fits"
    (cube,) = write_chips(path, "CUBE", shape=shape, compressed=compressed)
    np.testing.assert_array_equal(read(path), cube.reshape(-1, 16, 24))


# --- Zarr


def write_zarr(path: Path, data: np.ndarray) -> Path:
    """An array of version 2, as the format's text describes it."""
    path.mkdir(parents=True)
    metadata = {
        "zarr_format": 2,
        "shape": data.shape,
        "chunks": data.shape,
        "dtype": data.dtype.str,
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / ".".join(["0"] * data.ndim)).write_bytes(data.tobytes())
    return path


def write_group(path: Path, **arrays: np.ndarray) -> Path:
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    for name, data in arrays.items():
        write_zarr(path / name, data)
    return path


def test_zarr_arrays_of_a_type_that_is_not_supported(tmp_path: Path) -> None:
    store = write_group(tmp_path / "a.zarr", images=FRAMES.astype("i8"), dark=FRAMES[0])
    refused(store, r"a\.zarr: images of shape \(12, 16, 24\): pixels of type int64 are not supported")
    np.testing.assert_array_equal(read(store, dataset="dark")[0], FRAMES[0])


def test_zarr_arrays_that_are_missing(tmp_path: Path) -> None:
    store = write_group(tmp_path / "a.zarr", images=FRAMES, dark=FRAMES[0], mask=FRAMES[0])
    np.testing.assert_array_equal(read(store), FRAMES)
    metadata = {"zarr_consolidated_format": 1, "metadata": {".zgroup": {}, "images/.zarray": {}}}
    (store / ".zmetadata").write_text(json.dumps(metadata))
    np.testing.assert_array_equal(read(store), FRAMES)
    (store / "images/.zarray").unlink()
    choose = r"; choose what is there with dataset=NAME: dark \(16, 24\) uint16$"
    refused(store, f"the array images is missing.*{choose}")
    (store / ".zmetadata").unlink()
    refused(store, rf"images has chunks, but its metadata \(.zarray or zarr.json\) are missing{choose}")
    (store / "images").rename(tmp_path / "gone")
    (store / "images").symlink_to("nowhere")
    refused(store, f"images is a link to nowhere, which is missing{choose}")
    (store / "images").unlink()
    (store / "images").symlink_to(tmp_path / "gone")
    (tmp_path / "gone/.zarray").write_text((store / "dark/.zarray").read_text())
    refused(store, "which is outside this directory; use --follow-links")


def test_ome_zarr_reads_the_full_resolution_of_its_only_image(tmp_path: Path) -> None:
    store = write_group(tmp_path / "a.zarr", full=FRAMES, half=FRAMES[:, ::2, ::2])
    axes = [{"name": name} for name in "tyx"]
    image: dict[str, Any] = {"version": "0.4", "axes": axes, "datasets": [{"path": "full"}, {"path": "half"}]}
    (store / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    np.testing.assert_array_equal(read(store), FRAMES)
    write_zarr(store / "second", FRAMES + 1)
    images = [image, image | {"datasets": [{"path": "second"}]}]
    (store / ".zattrs").write_text(json.dumps({"multiscales": images}))
    refused(
        store, r"several arrays can be meant, choose one with dataset=NAME: full .*, second \(12, 16, 24\)"
    )
    (store / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    (store / "full/.zarray").unlink()
    refused(store, "no array")


# --- TIFF


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_thumbnails_and_pyramids_are_no_frames(tmp_path: Path, byteorder: Any, bigtiff: bool) -> None:
    path = tmp_path / "a.tif"
    for order in ("first", "last"):
        with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as tiff:
            pages = [(frame, 0) for frame in FRAMES]
            small = [(FRAMES[0, ::2, ::2], 1), (FRAMES[0] % 2 > 0, 4)]
            for page, kind in small + pages if order == "first" else pages + small:
                tiff.write(page, subfiletype=kind, metadata=None)
        np.testing.assert_array_equal(read(path), FRAMES)
        with open_frames(path) as source:
            (remark,) = source.remarks
            assert remark.text == "2 pages marked as of reduced resolution or as mask left out"


def test_tiff_of_several_series_reads_the_main_one(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(FRAMES[0, :5, :8], metadata=None)
        for frame in FRAMES:
            tiff.write(frame, metadata=None)
    with open_frames(path) as source:
        assert (source.shape, source.count) == ((16, 24), 13)
        np.testing.assert_array_equal(source.read(1, 13), FRAMES)
        with pytest.raises(
            FormatError, match=r"frame 0: a page of shape \(5, 8\) uint16; most are \(16, 24\)"
        ):
            source.read(0)


def test_tiff_names_ome_files_that_are_missing(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME><Image><Pixels><TiffData><UUID FileName="a.ome.tif">1</UUID></TiffData>'
        '<TiffData><UUID FileName="b.ome.tif">2</UUID></TiffData></Pixels></Image></OME>'
    )
    for name in ("a.ome.tif", "b.ome.tif"):
        tifffile.imwrite(tmp_path / name, FRAMES, description=xml, metadata=None, photometric="minisblack")
    with open_frames(tmp_path / "a.ome.tif") as source:
        assert source.remarks == ()
    (tmp_path / "b.ome.tif").unlink()
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif"), FRAMES)
    with open_frames(tmp_path / "a.ome.tif") as source:
        (remark,) = source.remarks
        assert remark.text == "part of an OME-TIFF set of which b.ome.tif is missing: not read"
