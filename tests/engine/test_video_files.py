from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageFilter

from skipstep.engine import sheets
from skipstep.engine.metrics import image_psnr
from skipstep.engine.video_files import (
    VIDEO_FORMATS,
    check_video_output,
    read_texts,
    side_by_side_frames,
    write_video,
)
from skipstep.errors import MissingExtraError, OptionError, OutputError

SUFFIXES = tuple(VIDEO_FORMATS)
CODECS = {".mp4": "h264", ".webm": "vp9"}
TEXTS = {"parameters": "Schöne Grüße ☃\nSteps: 25", "skipstep": json.dumps({"seed": 1, "quote": '"'})}
NOBODY = 65534
Frames = list[Image.Image]


def _clip(count: int = 8, width: int = 96, height: int = 64) -> Frames:
    """A soft ball that crosses a gradient."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    frames = []
    for index in range(count):
        place = width * (0.2 + 0.6 * index / count)
        ball = np.exp(-((x - place) ** 2 + (y - height / 2) ** 2) / 200)[..., None]
        ground = np.stack([40 + x * 1.5, 200 - y * 1.5, 80 + (x + y) / 2], axis=2)
        pixels = ground * (1 - ball) + np.array([230, 60, 40]) * ball
        frames.append(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return frames


def _decoded(path: Path) -> Frames:
    """The frames of an MP4 or WebM file, by the matrix of BT.709."""
    with av.open(str(path)) as file:
        return [
            frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG", dst_color_range="JPEG")
            .to_image()
            .crop((0, 0, frame.width, frame.height))
            for frame in file.decode(video=0)
        ]


def _animated(path: Path) -> tuple[Frames, list[int]]:
    with Image.open(path) as image:
        frames, times = [], []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(image.convert("RGB"))
            times.append(image.info.get("duration", 0))
    return frames, times


def _pngs(path: Path) -> Frames:
    frames = []
    for file in sorted(path.iterdir()):
        with Image.open(file) as image:
            frames.append(image.convert("RGB"))
    return frames


def _read(path: Path) -> Frames:
    if path.is_dir():
        return _pngs(path)
    return _decoded(path) if path.suffix in CODECS else _animated(path)[0]


def _psnr(ours: Sequence[Image.Image], theirs: Sequence[Image.Image]) -> float:
    assert len(ours) == len(theirs)
    return min(image_psnr(one, other) for one, other in zip(ours, theirs, strict=True))


# --- what is in the files


@pytest.mark.parametrize("suffix", CODECS)
def test_a_video_is_what_was_asked_for(tmp_path: Path, suffix: str) -> None:
    frames = _clip()
    write_video(tmp_path / f"a{suffix}", frames, fps=7, texts=TEXTS)
    with av.open(str(tmp_path / f"a{suffix}")) as file:
        (stream,) = file.streams
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        assert (context.name, context.pix_fmt) == (CODECS[suffix], "yuv420p")
        assert (context.width, context.height) == frames[0].size
        assert (context.color_range, context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1, 1)
        assert stream.average_rate == 7
        assert file.duration == pytest.approx(8 / 7 * 1e6, abs=1000)
        times = [frame.time for frame in file.decode(stream)]
    assert times == pytest.approx([index / 7 for index in range(8)], abs=1e-3)
    decoded = _decoded(tmp_path / f"a{suffix}")
    assert _psnr(decoded, frames) > 38
    assert _psnr(decoded, frames[1:] + frames[:1]) < 30  # a frame off would show


@pytest.mark.parametrize("suffix", CODECS)
def test_colours_are_those_of_bt709(tmp_path: Path, suffix: str) -> None:
    for colour in ((200, 60, 30), (20, 160, 40), (255, 255, 255), (0, 0, 0), (30, 60, 200)):
        write_video(tmp_path / f"a{suffix}", [Image.new("RGB", (32, 32), colour)] * 2, fps=7, texts={})
        decoded = np.asarray(_decoded(tmp_path / f"a{suffix}")[1], int)
        assert np.abs(decoded - colour).max() <= 3
    with av.open(str(tmp_path / f"a{suffix}")) as file:
        luma = next(file.decode(video=0)).to_ndarray()[0, 0]
    assert luma == pytest.approx(16 + 219 * (0.2126 * 30 + 0.7152 * 60 + 0.0722 * 200) / 255, abs=1)


def test_an_mp4_can_be_played_while_it_loads(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", _clip(), fps=7, texts={})
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25, 2), Fraction(1), Fraction(120)])
def test_the_rate_is_exact(tmp_path: Path, suffix: str, rate: Fraction) -> None:
    write_video(tmp_path / f"a{suffix}", _clip(3), fps=float(rate), texts={})
    with av.open(str(tmp_path / f"a{suffix}")) as file:
        assert file.streams.video[0].average_rate == rate


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("size", [(65, 33), (64, 33), (65, 32), (1, 1)])
def test_odd_sizes(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    frames = _clip(3, *size) if max(size) > 1 else [Image.new("RGB", size, colour) for colour in ("red", "tan", "navy")]
    write_video(tmp_path / f"a{suffix}", frames, fps=7, texts={})
    seen = _read(tmp_path / f"a{suffix}")
    if suffix in CODECS:
        assert seen[0].size == tuple(side + side % 2 for side in size)
        if size[0] == 65:
            columns = np.asarray(seen[0], int)[: size[1], 64:]
            assert np.abs(columns[:, 0] - columns[:, 1]).max() <= 8  # the edge again, not black
        seen = [frame.crop((0, 0, *size)) for frame in seen]
    assert _psnr(seen, frames) > (25 if suffix == ".gif" else 35)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_frame(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", _clip(1), fps=7, texts=TEXTS)
    assert _psnr(_read(tmp_path / f"a{suffix}"), _clip(1)) > (28 if suffix == ".gif" else 35)
    assert read_texts(tmp_path / f"a{suffix}") == TEXTS


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix])
def test_the_same_clip_gives_the_same_file(tmp_path: Path, suffix: str) -> None:
    files = []
    for index, clip in enumerate([_clip(5, 48, 32)] * 4 + [_clip(6, 48, 32)]):
        write_video(tmp_path / f"{index}{suffix}", clip, fps=7, texts=TEXTS)
        files.append((tmp_path / f"{index}{suffix}").read_bytes())
    assert files[1:4] == files[:1] * 3
    assert files[4] != files[0]


def test_a_webp_is_lossless_and_in_time(tmp_path: Path) -> None:
    write_video(tmp_path / "a.webp", _clip(7), fps=7, texts={})
    seen, times = _animated(tmp_path / "a.webp")
    assert _psnr(seen, _clip(7)) == float("inf")
    assert sum(times) == 1000
    assert set(times) <= {142, 143}


def test_a_gif_is_like_it_and_in_time(tmp_path: Path) -> None:
    write_video(tmp_path / "a.gif", _clip(7), fps=7, texts={})
    seen, times = _animated(tmp_path / "a.gif")
    assert _psnr(seen, _clip(7)) > 28

    def from_afar(frames: Frames) -> Frames:  # where the dots of dithering blend
        return [frame.filter(ImageFilter.BoxBlur(2)) for frame in frames]

    assert _psnr(from_afar(seen), from_afar(_clip(7))) > 38
    assert sum(times) == 1000
    assert set(times) <= {140, 150}
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["loop"] == 0


def test_a_gif_has_no_bands(tmp_path: Path) -> None:
    y, x = np.mgrid[0:96, 0:128]
    many = np.stack([x * 2, y * 2.6, 127 + 120 * np.sin((x + y) / 20)], axis=2).clip(0, 255)
    write_video(tmp_path / "a.gif", [Image.fromarray(many.astype(np.uint8))], fps=7, texts={})
    seen = np.asarray(_read(tmp_path / "a.gif")[0])
    assert (seen[:, 1:] == seen[:, :-1]).all(axis=2).mean() < 0.6  # 0.41; without dithering 0.80


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_still_parts_of_an_animation_keep_their_time(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "red", "blue", "blue")]
    write_video(tmp_path / f"a{suffix}", frames, fps=10, texts={})
    seen, times = _animated(tmp_path / f"a{suffix}")
    assert _psnr(seen, frames[::2]) == float("inf")
    assert times == [200, 200]


@pytest.mark.parametrize("name", ["frames", "frames.v2/", "new/", "ünï ☃"])
def test_a_folder_of_pngs_is_exact(tmp_path: Path, name: str) -> None:
    write_video(f"{tmp_path}/{name}", _clip(3), fps=7, texts=TEXTS)
    folder = tmp_path / name
    assert sorted(file.name for file in folder.iterdir()) == ["frame-001.png", "frame-002.png", "frame-003.png"]
    assert _psnr(_pngs(folder), _clip(3)) == float("inf")
    assert read_texts(folder / "frame-003.png") == TEXTS
    assert folder.stat().st_mode & 0o777 == 0o777 & ~_umask()


def test_a_thousand_frames_sort_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    write_video(tmp_path / "a", [Image.new("RGB", (1, 1))] * 1000, fps=7, texts={})
    names = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert (names[0], names[-1]) == ("frame-0001.png", "frame-1000.png")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("texts", [{}, TEXTS, {"long": "ä" * 100_000}])
def test_texts_come_back(tmp_path: Path, suffix: str, texts: dict[str, str]) -> None:
    path = tmp_path / f"ünï ☃ %d{suffix}"
    write_video(path, _clip(2, 16, 16), fps=7, texts=texts)
    assert read_texts(path) == texts
    assert read_texts(str(path)) == texts


def test_comments_of_others_are_not_ours(tmp_path: Path) -> None:
    for comment in (b"hello", b"[1]", b'{"a": 1}', b"\xff"):
        _clip(1)[0].save(tmp_path / "a.gif", comment=comment)
        assert read_texts(tmp_path / "a.gif") == {}


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".webp", ".gif", ".png", ""])
def test_texts_of_what_is_no_clip(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(OptionError, match=f"cannot read .*a{suffix}; give a clip"):
        read_texts(path)
    path.mkdir() if not suffix else path.write_bytes(b"hello" * 100)
    with pytest.raises(OptionError, match=f"cannot read .*a{suffix}; give a clip"):
        read_texts(path)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("suffix", CODECS)
def test_ffprobe_agrees(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"a{suffix}", _clip(), fps=7, texts=TEXTS)
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"]
    run = subprocess.run([*command, str(tmp_path / f"a{suffix}")], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    (stream,) = json.loads(run.stdout)["streams"]
    assert stream["codec_name"] == CODECS[suffix]
    assert (stream["width"], stream["height"], stream["pix_fmt"]) == (96, 64, "yuv420p")
    assert (stream["color_range"], stream["color_space"]) == ("tv", "bt709")
    assert (stream["avg_frame_rate"], int(stream["nb_read_frames"])) == ("7/1", 8)
    tags = {key.lower(): text for key, text in json.loads(run.stdout)["format"]["tags"].items()}
    assert json.loads(tags["comment"]) == TEXTS


# --- whole or not at all


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _with_old(folder: Path, suffix: str) -> tuple[Path, Callable[[], None]]:
    """A clip that is there already, and a check that nothing else is, and that it is as it was."""
    path = folder / f"a{suffix}"
    write_video(path, _clip(2, 16, 16), fps=5, texts={"old": "yes"})

    def assert_untouched() -> None:
        assert list(folder.iterdir()) == [path]
        assert read_texts(path) == {"old": "yes"}
        assert len(_read(path)) == 2

    return path, assert_untouched


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_clip_replaces_the_old_one(tmp_path: Path, suffix: str) -> None:
    path, _ = _with_old(tmp_path, suffix)
    check_video_output(path)
    write_video(path, _clip(1, 32, 16), fps=7, texts=TEXTS)
    assert list(tmp_path.iterdir()) == [path]
    assert [frame.size for frame in _read(path)] == [(32, 16)]
    assert read_texts(path) == TEXTS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_clip(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, assert_untouched = _with_old(tmp_path, suffix)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=rf"a{suffix}: no space left on the device; choose another place"):
        write_video(path, _clip(), fps=7, texts={})
    assert_untouched()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_write_that_stops_anywhere_leaves_the_old_clip(tmp_path: Path, suffix: str) -> None:
    """The system itself refuses to write on, at every fifth of the file."""
    resource = pytest.importorskip("resource")
    write_video(tmp_path / f"whole{suffix}", _clip(4, 48, 32), fps=7, texts={})
    whole = tmp_path / f"whole{suffix}"
    size = min(file.stat().st_size for file in whole.iterdir()) if not suffix else whole.stat().st_size
    (tmp_path / "out").mkdir()
    path, assert_untouched = _with_old(tmp_path / "out", suffix)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in [*range(0, size, max(1, size // 5)), size - 1]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OutputError, match=rf"cannot write .*a{suffix}: file too large"):
                write_video(path, _clip(4, 48, 32), fps=7, texts={})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert_untouched()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_interrupt_leaves_the_old_clip(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, assert_untouched = _with_old(tmp_path, suffix)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    frames = _clip()
    monkeypatch.setattr(frames[5], "convert", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_video(path, frames, fps=7, texts={})
    assert_untouched()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_video(path, _clip(), fps=7, texts={})
    assert_untouched()


@pytest.mark.parametrize("suffix", CODECS)
def test_an_encoder_that_fails_says_so(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise av.error.ExternalError(-0x20545845, "Generic error in an external library")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", fail)
    with pytest.raises(OutputError, match=r"cannot write .*: lib.* failed: generic error"):
        write_video(tmp_path / f"a{suffix}", _clip(), fps=7, texts={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_stays_a_link(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / f"a{suffix}", tmp_path / f"link{suffix}"
    link.symlink_to(real)
    if not suffix:
        real.mkdir()
    check_video_output(link)
    write_video(link, _clip(2, 16, 16), fps=7, texts=TEXTS)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert read_texts(real) == TEXTS
    assert list(real.parent.iterdir()) == [real]


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A folder that we may not write to; root may everywhere, so be someone else."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o555)
        root = os.name == "posix" and os.geteuid() == 0
        if root:
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            Path(name).chmod(0o755)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such permissions")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_read_only_folder_is_refused(read_only: Path, suffix: str) -> None:
    for attempt in (
        lambda: check_video_output(read_only / f"a{suffix}"),
        lambda: write_video(read_only / f"a{suffix}", _clip(2), fps=7, texts={}),
    ):
        with pytest.raises(OutputError, match=rf"cannot write .*a{suffix}: permission denied; choose another place"):
            attempt()


# --- folders of frames


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for name, data in {"notes.txt": b"mine", "frame-001.png": b"\x89PNG of someone else's", ".DS_Store": b""}.items():
        shutil.rmtree(folder, ignore_errors=True)
        write_video(folder, _clip(2), fps=7, texts={})
        (folder / name).write_bytes(data)
        for attempt in (
            lambda: check_video_output(folder),
            lambda: write_video(folder, _clip(3), fps=7, texts={}),
        ):
            with pytest.raises(OutputError, match="a holds other files than frames of skipstep; give the name of a"):
                attempt()
        assert (folder / name).read_bytes() == data
        assert (folder / "frame-002.png").exists()
        assert list(tmp_path.iterdir()) == [folder]


def test_pictures_of_other_programs_are_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _clip(1)[0].save(tmp_path / "a" / "frame-001.png")
    with pytest.raises(OutputError, match="holds other files"):
        check_video_output(tmp_path / "a")


def test_files_that_came_meanwhile_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = _with_old(tmp_path, "")
    frames = _clip(2)

    def convert(*_: Any) -> Image.Image:
        (path / "mine.txt").write_text("new")
        return _clip(1)[0]

    monkeypatch.setattr(frames[1], "convert", convert)
    with pytest.raises(OutputError, match="a has got other files meanwhile"):
        write_video(path, frames, fps=7, texts={})
    assert list(tmp_path.iterdir()) == [path]
    assert sorted(file.name for file in path.iterdir()) == ["frame-001.png", "frame-002.png", "mine.txt"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.v2").mkdir()
    check_video_output(tmp_path / "a.v2")
    write_video(tmp_path / "a.v2", _clip(2), fps=7, texts={})
    assert len(_pngs(tmp_path / "a.v2")) == 2


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=r"\. is the current folder"):
        check_video_output(Path("."))


# --- what is refused before any work


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_check_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    check_video_output(tmp_path / f"a{suffix}", fps=7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("missing/a.mp4", OutputError, "no such file or directory"),
        ("missing/a", OutputError, "no such file or directory"),
        ("a.mov", OptionError, r"must end in \.mp4, \.webm, \.webp or \.gif, or be a folder .*a\.mov"),
        ("a.png", OptionError, "must end in"),
        ("folder.mp4", OutputError, "is a folder; give the name of a file"),
        ("file", OutputError, "is a file; give the name of a folder"),
        ("file/", OutputError, "is a file; give the name of a folder"),
    ],
)
def test_bad_places_are_refused(tmp_path: Path, name: str, error: type[Exception], message: str) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message):
        check_video_output(f"{tmp_path}/{name}")
    with pytest.raises(error, match=message):
        write_video(f"{tmp_path}/{name}", _clip(1), fps=7, texts={})


def test_capital_letters_are_fine(tmp_path: Path) -> None:
    write_video(tmp_path / "A.MP4", _clip(2), fps=7, texts=TEXTS)
    assert read_texts(tmp_path / "A.MP4") == TEXTS


@pytest.mark.parametrize(
    ("name", "fps"), [("a.gif", 51), ("a.webp", 61), ("a.mp4", 121), ("a", 0), ("a.webm", float("nan"))]
)
def test_bad_rates_are_refused(tmp_path: Path, name: str, fps: float) -> None:
    with pytest.raises(OptionError, match=f"fps must be 1 to .* got {fps:g}"):
        check_video_output(tmp_path / name, fps=fps)
    with pytest.raises(OptionError, match="fps must be"):
        write_video(tmp_path / name, _clip(1), fps=fps, texts={})


@pytest.mark.parametrize("frames", [[], [*_clip(1), *_clip(1, 32, 16)], [Image.new("RGB", (16384, 1))]])
def test_bad_frames_are_refused(tmp_path: Path, frames: Frames) -> None:
    with pytest.raises(OptionError, match="needs frames of one size, 16383 pixels a side at most"):
        write_video(tmp_path / "a.mp4", frames, fps=7, texts={})


def test_without_pyav_pictures_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for suffix in SUFFIXES:
        path = tmp_path / f"a{suffix}"
        if suffix not in CODECS:
            write_video(path, _clip(2), fps=7, texts=TEXTS)
            assert read_texts(path) == TEXTS
            continue
        for attempt in (
            lambda path=path: check_video_output(path),
            lambda path=path: write_video(path, _clip(2), fps=7, texts={}),
            lambda path=path: read_texts(path),
        ):
            with pytest.raises(MissingExtraError, match=r"need PyAV: pip install 'skipstep\[video\]'"):
                attempt()


def test_a_pyav_without_the_codec_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    with pytest.raises(MissingExtraError, match="built without libx264"):
        check_video_output(tmp_path / "a.mp4")
    check_video_output(tmp_path / "a.webm")


# --- side by side


def test_clips_side_by_side_share_one_gain() -> None:
    one = _clip(3, 24, 16)
    other = [frame.copy() for frame in one]
    other[1].putpixel((3, 2), tuple(value + 10 for value in one[1].getpixel((3, 2))))  # type: ignore[union-attr]
    other[2].putpixel((3, 2), tuple(value + 40 for value in one[2].getpixel((3, 2))))  # type: ignore[union-attr]
    pairs = side_by_side_frames(one, other, ("uncached", "cached"))
    assert pairs[2] == sheets.side_by_side(one[2], other[2], ("uncached", "cached"))  # the largest difference
    panels = [pair.crop((2 * pair.width // 3, sheets.CAPTION, pair.width, pair.height)) for pair in pairs]
    levels = [int(np.asarray(panel).max()) for panel in panels]
    assert levels == [0, 63, 255]
    notes = [np.asarray(pair.crop((2 * pair.width // 3, 0, pair.width, sheets.CAPTION))) for pair in pairs]
    assert all(np.array_equal(note, notes[0]) for note in notes)


def test_equal_clips_side_by_side() -> None:
    pair = side_by_side_frames(_clip(1), _clip(1), ("a", "b"))[0]
    assert pair == sheets.side_by_side(_clip(1)[0], _clip(1)[0], ("a", "b"))


@pytest.mark.parametrize("size", [(301, 299), (300, 299), (301, 300)])
def test_clips_side_by_side_have_even_sides(size: tuple[int, int]) -> None:
    frames = _clip(2, *size)
    pairs = side_by_side_frames(frames, frames, ("a", "b"))
    plain = sheets.side_by_side(frames[0], frames[0], ("a", "b"))
    for pair in pairs:
        assert pair.width % 2 == pair.height % 2 == 0
        assert pair.crop((0, 0, *plain.size)).size == plain.size
    assert np.array_equal(np.asarray(pairs[0].crop((0, 0, *plain.size))), np.asarray(plain))


def test_clips_of_different_lengths_do_not_go_side_by_side() -> None:
    with pytest.raises(ValueError, match="shorter"):
        side_by_side_frames(_clip(2), _clip(1), ("a", "b"))
