"""Pictures that are damaged, that lie about themselves, or that are much larger than they look."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
_SIZES = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutated(count: int, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many pictures, each with what was done to it."""
    chance = random.Random(seed)
    base = Image.effect_noise((61, 47), 60).convert("RGB")
    files = {form: _saved(base, form) for form in FORMATS}
    ways = (_flipped, _cut, _lengths, _sizes, _spliced)
    for number in range(count):
        form, way = FORMATS[number % len(FORMATS)], ways[number // len(FORMATS) % len(ways)]
        yield f"{number} {form} {way.__name__[1:]}", way(bytearray(files[form]), form, chance)


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def _flipped(data: bytearray, _: str, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _cut(data: bytearray, _: str, chance: random.Random) -> bytes:
    return bytes(data[: chance.randrange(1, len(data))])


def _lengths(data: bytearray, form: str, chance: random.Random) -> bytes:
    """The length of a chunk, segment or block is another."""
    at, form_of = {
        "PNG": (data.find(b"IDAT") - 4, ">I"),
        "JPEG": (data.find(b"\xff\xda") + 2, ">H"),
        "WEBP": (data.find(b"VP8 ") + 4, "<I"),
        "GIF": (data.find(b",") + 10, "<B"),
    }[form]
    struct.pack_into(form_of, data, at, chance.choice(_SIZES) & (2 ** (8 * struct.calcsize(form_of)) - 1))
    return bytes(data)


def _sizes(data: bytearray, form: str, chance: random.Random) -> bytes:
    """The header tells of another size; a PNG's checksum is right all the same."""
    width, height = chance.choice(_SIZES), chance.choice(_SIZES)
    if form == "PNG":
        struct.pack_into(">II", data, 16, width, height)
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    elif form == "JPEG":
        struct.pack_into(">HH", data, data.find(b"\xff\xc0") + 5, height & 0xFFFF, width & 0xFFFF)
    elif form == "WEBP":
        struct.pack_into("<HH", data, data.find(b"\x9d\x01\x2a") + 3, width & 0xFFFF, height & 0xFFFF)
    else:
        struct.pack_into("<HH", data, 6, width & 0xFFFF, height & 0xFFFF)
    return bytes(data)


def _spliced(data: bytearray, _: str, chance: random.Random) -> bytes:
    """A part of it stands where another was."""
    start, size = chance.randrange(len(data)), chance.randint(1, 400)
    at = chance.randrange(8, len(data))
    return bytes(data[:at] + data[start : start + size] + data[at:])


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *more: bytes, bits: int = 8, colour: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IEND", b"")


def _tag(number: int) -> bytes:
    """Of a TIFF: a side."""
    return struct.pack("<HHII", number, 4, 1, 2**31 - 1)


def bombs() -> dict[str, bytes]:
    """Small files that are large pictures, or pretend to be; none of them may be read."""
    some = b"x" * 200_000_000
    return {
        "a PNG of 144 megapixels in one bit": _saved(Image.new("1", (12000, 12000)), "PNG"),
        "a PNG of 16385 x 1": _saved(Image.new("1", (16385, 1)), "PNG"),
        "a PNG of 2^31 - 1 x 2^31 - 1": _png(2**31 - 1, 2**31 - 1, chunk(b"IDAT", zlib.compress(b""))),
        "a PNG of 2^31 x 2^31": _png(2**31, 2**31, chunk(b"IDAT", zlib.compress(b""))),
        "a PNG with zTXt of 200 MB": _png(64, 64, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(some))),
        "a PNG with iTXt of 200 MB": _png(64, 64, chunk(b"iTXt", b"C\0\1\0\0\0" + zlib.compress(some))),
        "a PNG with iCCP of 200 MB": _png(64, 64, chunk(b"iCCP", b"p\0\0" + zlib.compress(some))),
        "a PNG without data": _png(64, 64),
        "a GIF with a canvas of 65535 x 65535": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0;",
        "a TIFF of 2^31 - 1 pixels a side": b"II*\0" + struct.pack("<IH", 8, 2) + _tag(256) + _tag(257) + bytes(4),
        "a BMP of 2^31 pixels a side": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "a PostScript file": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9999 9999\n(/etc/passwd) (r) file",
        "a pickle": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    }


def harmless() -> dict[str, bytes]:
    """Odd, and small enough to be read."""
    frames = [Image.new("RGB", (16, 16), (index % 256, index // 256, 0)) for index in range(2000)]
    return {
        "a WebP of 2,000 frames": _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "an animated PNG": _saved(frames[0], "PNG", save_all=True, append_images=frames[1:100]),
        "a GIF of 300 frames": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:300]),
        "one pixel": _saved(Image.new("RGB", (1, 1)), "PNG"),
    }
