from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from skipstep.engine import picture as reader
from skipstep.engine.metrics import image_psnr
from skipstep.engine.picture import fit_picture, read_picture
from skipstep.errors import IgnoredInputWarning, OptionError

NOBODY = 65534


def _scene(width: int = 48, height: int = 32) -> Image.Image:
    """Smooth, and different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 5, y * 7, (x + 2 * y) % 256], axis=2).astype(np.uint8))


def _saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def _same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and np.array_equal(np.asarray(one), np.asarray(other))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes, after: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = (_chunk(b"IHDR", header), *extra, _chunk(b"IDAT", zlib.compress(rows)), after, _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _png_of(pixels: np.ndarray[Any, Any], colour: int, *extra: bytes) -> bytes:
    """16-bit PNG of (height, width, channels), which Pillow cannot write in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return _png(pixels.shape[1], pixels.shape[0], 16, colour, rows, *extra)


# --- what a person sees


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff", "a.webp", "ünïcode ☃.PNG"])
def test_a_plain_picture_comes_back_as_it_is(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name == "a.webp" else {}
    seen = read_picture(_saved(tmp_path / name, _scene(), **options))
    assert seen.mode == "RGB"
    assert seen.info == {}
    assert _same(seen, _scene())


@pytest.mark.parametrize("suffix", [".jpg", ".avif"])
def test_lossy_pictures_are_close(tmp_path: Path, suffix: str) -> None:
    seen = read_picture(_saved(tmp_path / f"a{suffix}", _scene(), quality=95))
    assert image_psnr(seen, _scene()) > 35


TURNS: dict[int, Callable[[Any], Any]] = {  # from stored to upright, as EXIF 2.32 defines it
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).transpose(1, 0, 2),
    8: lambda stored: np.rot90(stored),
}
FILES = {
    "png": ("a.png", {}),
    "webp": ("a.webp", {"lossless": True}),
    "tiff": ("a.tiff", {}),
    "lzw": ("a.tiff", {"compression": "tiff_lzw"}),
    "jpeg": ("a.jpg", {"quality": 98, "subsampling": 0}),
    "avif": ("a.avif", {"quality": 98, "subsampling": "4:4:4"}),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("orientation", TURNS)
def test_exif_rotation_is_undone(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    name, options = FILES[kind]
    seen = read_picture(_saved(tmp_path / name, _scene(), exif=exif, **options))
    upright = Image.fromarray(np.ascontiguousarray(TURNS[orientation](np.asarray(_scene()))))
    assert seen.size == upright.size
    assert _same(seen, upright) or (kind in ("jpeg", "avif") and image_psnr(seen, upright) > 35)


@pytest.mark.parametrize("exif", [b"", b"Exif\0\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"\0" * 9])
def test_damaged_exif_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    assert _same(read_picture(_saved(tmp_path / "a.png", _scene(), exif=exif)), _scene())


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_on_white(tmp_path: Path, mode: str) -> None:
    picture = _scene().convert(mode)
    alpha = np.linspace(0, 255, 48 * 32).reshape(32, 48).astype(np.uint8)
    picture.putalpha(Image.fromarray(alpha))
    seen = np.asarray(read_picture(_saved(tmp_path / "a.png", picture)), float)
    share = alpha[..., None] / 255
    expected = np.asarray(picture.convert("RGB"), float) * share + 255 * (1 - share)
    assert np.abs(seen - expected).max() <= 1
    assert (seen[0, 0] == 255).all()


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_a_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.putdata([0, 1, 2])
    seen = read_picture(_saved(tmp_path / "a.png", picture, transparency=transparency))
    assert [seen.getpixel((x, 0)) for x in range(3)] == [(255, 0, 0), (255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_gray_and_palette(tmp_path: Path, mode: str) -> None:
    picture = _scene().convert(mode)
    assert _same(read_picture(_saved(tmp_path / "a.png", picture)), picture.convert("RGB"))


def test_16_bit_gray_is_scaled(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    expected = np.rint(values / 257)
    for name in ("a.png", "a.tiff"):
        seen = np.asarray(read_picture(_saved(tmp_path / name, Image.fromarray(values))))
        assert (seen == expected[..., None]).all()
    assert len(np.unique(expected)) > 50


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8, 3))
    (tmp_path / "a.png").write_bytes(_png_of(values, 2))
    seen = np.asarray(read_picture(tmp_path / "a.png"), float)
    assert np.abs(seen - values / 257).max() <= 1


def test_16_bit_keys_are_transparent(tmp_path: Path) -> None:
    colour = np.array([[[1000, 2000, 65000], [60000, 100, 300]]])
    (tmp_path / "rgb.png").write_bytes(_png_of(colour, 2, _chunk(b"tRNS", struct.pack(">HHH", 1000, 2000, 65000))))
    seen = read_picture(tmp_path / "rgb.png")
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((1, 0)) == (234, 0, 1)
    gray = np.array([[[1000], [30000]]])
    (tmp_path / "gray.png").write_bytes(_png_of(gray, 0, _chunk(b"tRNS", struct.pack(">H", 1000))))
    seen = read_picture(tmp_path / "gray.png")
    assert [seen.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (117, 117, 117)]


def test_16_bit_tiff_with_white_as_zero(tmp_path: Path) -> None:
    values = Image.fromarray(np.array([[0, 65535]], np.uint16))
    seen = read_picture(_saved(tmp_path / "a.tiff", values, tiffinfo={262: 0}))
    assert [seen.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 0, 0)]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_pixels_without_a_range_are_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(OptionError, match=r"a\.tiff cannot be decoded.* unusual kind; save it again"):
        read_picture(_saved(tmp_path / "a.tiff", Image.new(mode, (4, 4))))


@pytest.mark.parametrize("name", ["a.tiff", "a.jpg"])
def test_cmyk_is_not_inverted(tmp_path: Path, name: str) -> None:
    path = _saved(tmp_path / name, Image.new("CMYK", (16, 16), (0, 255, 255, 0)))
    assert name == "a.tiff" or b"Adobe" in path.read_bytes()  # which stores the complement
    red, green, blue = read_picture(path).getpixel((8, 8))  # type: ignore[misc]
    assert red > 240
    assert max(green, blue) < 15


@pytest.fixture(scope="module")
def swapped_profile() -> bytes:
    """sRGB's, with the primaries of red and green exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = profile[green : green + 4], profile[red : red + 4]
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff", "a.webp"])
def test_colours_follow_the_profile(tmp_path: Path, name: str, swapped_profile: bytes) -> None:
    path = _saved(tmp_path / name, Image.new("RGB", (16, 16), (250, 10, 10)), icc_profile=swapped_profile)
    red, green, blue = read_picture(path).getpixel((8, 8))  # type: ignore[misc]
    assert green > 240
    assert max(red, blue) < 20


def test_alpha_and_profile_go_together(tmp_path: Path, swapped_profile: bytes) -> None:
    picture = Image.new("RGBA", (2, 1), (250, 10, 10, 255))
    picture.putpixel((1, 0), (250, 10, 10, 0))
    seen = read_picture(_saved(tmp_path / "a.png", picture, icc_profile=swapped_profile))
    assert seen.getpixel((0, 0))[1] > 240  # type: ignore[index]
    assert seen.getpixel((1, 0)) == (255, 255, 255)


def test_srgb_and_unfit_profiles_change_nothing(tmp_path: Path, swapped_profile: bytes) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"not a profile", swapped_profile[:200]):
        assert _same(read_picture(_saved(tmp_path / "a.png", _scene(), icc_profile=profile)), _scene())
    gray = _scene().convert("L")
    assert _same(read_picture(_saved(tmp_path / "a.png", gray, icc_profile=swapped_profile)), gray.convert("RGB"))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff", "a.avif"])
def test_of_several_pictures_the_first_is_used(tmp_path: Path, name: str) -> None:
    others = [Image.new("RGB", (48, 32), "blue"), Image.new("RGB", (48, 32), "green")]
    options = {"lossless": True} if name == "a.webp" else {}
    path = _saved(
        tmp_path / name, Image.new("RGB", (48, 32), "red"), save_all=True, append_images=others, duration=50, **options
    )
    with pytest.warns(IgnoredInputWarning, match=rf"{name} holds more than one picture; the first is used") as caught:
        seen = read_picture(path)
    assert len(caught) == 1
    assert image_psnr(seen, Image.new("RGB", (48, 32), "red")) > 45


def test_a_second_view_in_a_jpeg_is_no_animation(tmp_path: Path) -> None:
    path = _saved(tmp_path / "a.jpg", _scene(), format="MPO", save_all=True, append_images=[_scene()], quality=95)
    assert image_psnr(read_picture(path), _scene()) > 30


# --- what cannot be read


def _jpeg_with_many_scans() -> bytes:
    data = io.BytesIO()
    _scene().save(data, "JPEG", progressive=True)
    start = data.getvalue().rfind(b"\xff\xda")
    return data.getvalue()[:start] + data.getvalue()[start:-2] * 40 + b"\xff\xd9"


def _tiff_with_many_tiles() -> bytes:
    count, entries = 2**17, [(256, 1024), (257, 1024), (258, 8), (259, 1), (262, 1), (277, 1), (322, 1), (323, 1)]
    offset = 8 + 2 + 12 * (len(entries) + 2) + 4
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    tags += b"".join(struct.pack("<HHII", tag, 4, count, offset) for tag in (324, 325))
    return b"II*\0" + struct.pack("<IH", 8, len(entries) + 2) + tags + bytes(4 + 8 * count)


def _exif_that_overlaps() -> bytes:
    """A TIFF with entries that each claim all of it."""
    count = 2000
    tags = b"".join(struct.pack("<HHII", tag, 7, 20000, 8) for tag in range(1000, 1000 + count))
    return b"II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4)


ROWS = bytes(31 * 10)
HOSTILE = {
    "text.png": (b"hello" * 100, "is not a picture"),
    "zero.png": (_png(0, 10, 8, 2, b""), "is not a picture"),
    "zero.gif": (b"GIF89a" + bytes(7), "is not a picture"),
    "empty.png": (b"", "is empty"),
    "bomb.png": (_png(50000, 50000, 8, 2, b""), "more pixels than can be read; make it smaller"),
    "large.png": (_png(8192, 8193, 8, 2, b""), "is 8192 x 8193 pixels; make it smaller: .* 64 megapixels"),
    "long.png": (_png(16385, 1, 8, 2, b""), "is 16385 x 1 pixels; make it smaller: sides of at most 16384"),
    "text-bomb.png": (
        _png(10, 10, 8, 2, ROWS, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))), "cannot be decoded"
    ),
    "late-text-bomb.png": (
        _png(10, 10, 8, 2, ROWS, after=_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))), "cannot be decoded"
    ),
    "profile-bomb.png": (
        _png(10, 10, 8, 2, ROWS, _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))), "cannot be decoded"
    ),
    "chunks.png": (_png(10, 10, 8, 2, ROWS, _chunk(b"tEXt", b"a\0b") * 70000), "cannot be decoded"),
    "scans.jpg": (_jpeg_with_many_scans(), "cannot be decoded"),
    "tiles.tiff": (_tiff_with_many_tiles(), "cannot be decoded"),
    "exif.tiff": (_exif_that_overlaps(), "cannot be decoded"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, name: str) -> None:
    data, message = HOSTILE[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(OptionError, match=message) as caught:
        read_picture(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_guards_pass_what_encoders_write(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8))
    for name, options in {
        "a.jpg": {"progressive": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
        "b.jpg": {"restart_marker_blocks": 1, "quality": 100},
        "c.tiff": {"compression": "jpeg"},
        "d.tiff": {"big_tiff": True},
    }.items():
        assert image_psnr(read_picture(_saved(tmp_path / name, noise, **options)), noise) > 10


def test_a_file_of_too_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _saved(tmp_path / "a.bmp", _scene())
    monkeypatch.setattr(reader, "MAX_BYTES", 2**10)
    with pytest.raises(OptionError, match=r"a\.bmp has .* MiB, at most .* are read; make it smaller"):
        read_picture(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.gif", "a.tiff", "a.bmp", "a.avif"])
def test_cut_off_files_are_refused(tmp_path: Path, name: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    path = _saved(tmp_path / name, noise)
    data = path.read_bytes()
    for share in (0.02, 0.3, 0.6):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(OptionError, match=rf"{name} (cannot be decoded|is not a picture)"):
            read_picture(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tiff", ".bmp", ".avif"])
def test_damaged_files_give_a_picture_or_our_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    _scene().save(path, **({} if suffix in (".gif", ".bmp") else {"exif": exif}))
    data = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        damaged = bytearray(data)
        for at in random.integers(0, min(len(data), 400), random.integers(1, 6)):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IgnoredInputWarning)
            try:
                assert read_picture(path).mode == "RGB"
            except OptionError:
                refused += 1
    assert refused


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"none\.png does not exist; give the name of a PNG"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(OptionError, match="is a folder; give the name"):
        read_picture(tmp_path)
    with pytest.raises(OptionError, match="cannot read .*name too long"):
        read_picture(tmp_path / ("a" * 300 + ".png"))
    with pytest.raises(OptionError, match="cannot read .*null"):
        read_picture(Path("a\0.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(OptionError, match=r"pipe\.png is a pipe or a device"):
        read_picture(tmp_path / "pipe.png")
    with pytest.raises(OptionError, match="is a pipe or a device"):
        read_picture(Path("/dev/zero"))


@pytest.fixture
def not_root() -> Iterator[None]:
    """Root may read everything; so be someone else."""
    if os.name != "posix" or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_not_be_read(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    path = _saved(tmp_path / "a.png", _scene())
    path.chmod(0)
    request.getfixturevalue("not_root")
    with pytest.raises(OptionError, match=r"cannot read .*a\.png: permission denied"):
        read_picture(path)


# --- fitting


@pytest.mark.parametrize(("width", "height"), [(64, 32), (32, 64), (16, 16), (300, 200), (1, 1), (48, 32)])
def test_a_fitted_picture_has_the_size(width: int, height: int) -> None:
    assert fit_picture(_scene(), width, height).size == (width, height)


def test_the_same_size_changes_nothing() -> None:
    assert _same(fit_picture(_scene(), 48, 32), _scene())


def test_the_middle_stays_and_nothing_is_distorted() -> None:
    picture = Image.new("RGB", (600, 200), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 199, 199), fill="red")
    draw.rectangle((400, 0, 599, 199), fill="blue")
    draw.ellipse((250, 50, 350, 150), fill="black")
    fitted = np.asarray(fit_picture(picture, 100, 100).convert("L")) < 128
    assert fitted[:, 0].sum() == fitted[:, -1].sum() == 0  # neither red nor blue is left
    rows, columns = np.nonzero(fitted)
    assert np.ptp(rows) == pytest.approx(50, abs=2)
    assert np.ptp(columns) == pytest.approx(50, abs=2)
    assert rows.mean() == pytest.approx(49.5, abs=1)
    assert columns.mean() == pytest.approx(49.5, abs=1)
