"""Bodies, pictures and names that nobody should send: refused in one form, without harm."""

from __future__ import annotations

import base64
import io
import json
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image
from served import IMAGE, Client

pytestmark = pytest.mark.timeout(120)


def posted(client: Client, body: bytes, **headers: str) -> Any:
    return client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json", **headers})


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "no UTF-8": b'{"kind": "image", "prompt": "\xff\xfe"}',
    "Latin-1": '{"kind": "image", "prompt": "é"}'.encode("latin-1"),
    "a lone surrogate": b'{"kind": "image", "prompt": "\\ud800"}',
    "a lone surrogate as a name": b'{"kind": "image", "prompt": "x", "\\udfff": 1}',
    "NaN": b'{"kind": "image", "prompt": "x", "guidance_scale": NaN}',
    "infinity": b'{"kind": "image", "prompt": "x", "guidance_scale": Infinity}',
    "a number beyond floats": b'{"kind": "image", "prompt": "x", "guidance_scale": 1e999}',
    "minus infinity": b'{"kind": "image", "prompt": "x", "timeout_s": -Infinity}',
    "a number of 5,000 digits": b'{"kind": "image", "prompt": "x", "seed": ' + b"9" * 5000 + b"}",
    "true for a number": b'{"kind": "image", "prompt": "x", "steps": true}',
    "text for a number": b'{"kind": "image", "prompt": "x", "steps": "many"}',
    "depth": b'{"kind": "image", "prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "depth of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "13 MB of text": b'{"kind": "image", "prompt": "' + b"x" * 13_000_000 + b'"}',
    "no kind": b'{"prompt": "x"}',
    "another kind": b'{"kind": "../../etc", "prompt": "x"}',
    "a field that is not known": b'{"kind": "image", "prompt": "x", "url": "http://127.0.0.1"}',
    "too long a prompt": json.dumps({"kind": "image", "prompt": "x" * 4001}).encode(),
    "too many pictures": b'{"kind": "image", "prompt": "x", "n": 9}',
    "a side of 7": b'{"kind": "image", "prompt": "x", "width": 7}',
    "a side that is no multiple": b'{"kind": "image", "prompt": "x", "width": 65}',
    "a deadline in the past": b'{"kind": "image", "prompt": "x", "timeout_s": -1}',
    "a model that is a path": b'{"kind": "image", "prompt": "x", "model": "../../etc/passwd"}',
    "a plan that is a path": b'{"kind": "image", "prompt": "x", "acceleration": {"plan": "../x"}}',
    "a LoRA that is a path": b'{"kind": "image", "prompt": "x", "loras": [{"name": "/etc/passwd"}]}',
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_that_are_refused(client: Client, name: str) -> None:
    answer = posted(client, BODIES[name])
    assert 400 <= answer.status_code < 500, answer.text
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["message"]
    assert len(answer.content) < 5000  # nothing is repeated
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(IMAGE).encode("utf-16"),
        b'{"kind": "image", "prompt": "\\u0000"}',
        json.dumps({"kind": "image", "prompt": "\U0001f34e" * 4000}).encode(),
        json.dumps({"kind": "image", "prompt": "'; drop table jobs; --"}).encode(),
        b'{"kind": "image", "prompt": "first", "prompt": "x"}',
        b'{"kind": "image", "prompt": "", "steps": 1}',
    ],
)
def test_bodies_that_are_odd_and_allowed(client: Client, body: bytes) -> None:
    answer = posted(client, body)
    assert answer.status_code == 202, answer.text
    assert client.until_done(answer.json()["id"])["status"] == "succeeded"


def test_too_large_a_body_is_not_read(client: Client) -> None:
    assert posted(client, b"x" * 30_000_000).status_code == 413
    assert client.get("/readyz").status_code == 200


def test_other_content_types(client: Client) -> None:
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", ""):
        answer = client.post("/v1/jobs", content=json.dumps(IMAGE).encode(), headers={"Content-Type": kind})
        assert 400 <= answer.status_code < 500


def test_header_values(client: Client) -> None:
    for key in ("x" * 256, "", "\x7f" * 300):
        answer = client.post("/v1/jobs", json=IMAGE, headers={"Idempotency-Key": key})
        assert answer.status_code in (400, 422)  # uvicorn's own, of what is no header
    for last in ("-", "1", "1-2-3", "a-b", "9" * 400 + "-1", "1-" + "9" * 400, "-1--1"):
        job = client.job()["id"]
        client.until_done(job)
        assert list(client.events(job, after=last))


UPWARDS = (
    *(
        "",
        "../",
        "..%2f",
        "%2e%2e/",
        "....//",
        "/",
        "//",
        "%2f",
        "..\\",
        "..%5c",
        ".%2e/",
        "%252e%252e%252f",
        "./",
        "~",
    ),
    *("file:", "a/../../", "\u2024\u2024/", "..;/", "%c0%ae%c0%ae/", "..%00/"),
)
FILES = (
    *("etc/passwd", "jobs.db", "input.png", "%00", "..", "C:\\windows", "\\\\host\\share", "\uff0e\uff0e\uff0f"),
    *(".png", "0.png/"),
)
NAMES = [f"{up}{name}" for name in FILES for up in UPWARDS]


def test_names_that_are_paths(client: Client) -> None:
    job = client.until_done(client.job()["id"])["id"]
    assert len(NAMES) == 200
    for name in NAMES:
        for address in (f"/v1/jobs/{job}/outputs/{name}", f"/v1/jobs/{name}", f"/v1/jobs/{name}/outputs/0.png"):
            answer = client.get(address)
            allowed = address.endswith(f"/v1/jobs/{job}/outputs/0.png")
            assert 400 <= answer.status_code < 500 or allowed or answer.status_code in (200, 307), address
            if answer.status_code == 200:
                assert "root:" not in answer.text
                assert not answer.content.startswith(b"SQLite")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def bombs() -> dict[str, bytes]:
    """Small files that are large pictures, or pretend to be."""
    buffer = io.BytesIO()
    Image.new("1", (12000, 12000)).save(buffer, "PNG")
    frames = io.BytesIO()
    pictures = [Image.new("RGB", (16, 16), (index % 256, 0, 0)) for index in range(2000)]
    pictures[0].save(frames, "WEBP", save_all=True, append_images=pictures[1:])

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    text = b"Comment\0\0" + zlib.compress(b"x" * 200_000_000)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
    return {
        "144 megapixels in 17 kB": buffer.getvalue(),
        "text that unpacks to 200 MB": start + chunk(b"zTXt", text) + chunk(b"IEND", b""),
        "a size of 2 ** 62": huge + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""),
        "no data": start + chunk(b"IEND", b""),
    }


def test_bombs_are_refused(client: Client) -> None:
    for name, data in bombs().items():
        answer = client.post("/v1/jobs", json={**IMAGE, "image": encoded(data)})
        assert answer.status_code == 422, name
        assert answer.elapsed.total_seconds() < 2, name


def test_mutated_pictures_are_refused_or_read(client: Client) -> None:
    chance = random.Random(0)
    base = Image.effect_noise((40, 30), 50).convert("RGB")
    seen = set()
    for number in range(120):
        buffer = io.BytesIO()
        base.save(buffer, ("PNG", "JPEG", "WEBP", "GIF")[number % 4])
        data = bytearray(buffer.getvalue())
        for _ in range(chance.randint(1, 30)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        answer = client.post("/v1/jobs", json={**IMAGE, "image": encoded(bytes(data)), "steps": 4})
        seen.add(answer.status_code)
        assert answer.status_code in (202, 422), answer.text
        assert answer.elapsed.total_seconds() < 2
        while answer.status_code == 202 and client.look(answer.json()["id"])["status"] != "succeeded":
            pass
    assert seen == {202, 422}
