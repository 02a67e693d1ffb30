"""What two processes say to each other: whole messages only, and tensors within the memory that both have."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from socket import socket, socketpair

import numpy as np
import pytest

from skipstep.compile.flow_worker.wire import DTYPES, LONGEST, Memory, WireError, receive, send

Both = tuple[Memory, Memory]


@pytest.fixture
def memories() -> Iterator[Both]:
    """Both sides' views of one file."""
    file = os.memfd_create("test")
    both = Memory(os.dup(file)), Memory(os.dup(file))
    os.close(file)
    yield both
    for memory in both:
        memory.close()


@pytest.fixture
def sockets() -> Iterator[tuple[socket, socket]]:
    """Both ends."""
    one, other = socketpair()
    with one, other:
        yield one, other


def test_a_message_arrives_as_it_was_sent(sockets: tuple[socket, socket]) -> None:
    message = {"do": "build", "nodes": [{"args": [1, 2.5, None, True, float("inf")], "name": "ü" * 70_000}]}
    import threading

    sending = threading.Thread(target=send, args=(sockets[0], message))
    sending.start()
    assert receive(sockets[1]) == message
    sending.join()


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", struct.pack("!Q", 20) + b'{"do": "ru'])
def test_a_message_that_was_cut_short_is_none(sockets: tuple[socket, socket], sent: bytes) -> None:
    sockets[0].sendall(sent)
    sockets[0].close()
    assert receive(sockets[1]) is None


@pytest.mark.parametrize(
    ("body", "length", "told"),
    [
        (b"{no json}", 9, "a message of 9 bytes is not JSON"),
        (b"[1, 2, 3]", 9, "must be a JSON object, got list"),
        (b"", LONGEST + 1, f"may have {LONGEST} bytes, this announces {LONGEST + 1}"),
    ],
)
def test_what_is_no_message_is_refused(sockets: tuple[socket, socket], body: bytes, length: int, told: str) -> None:
    sockets[0].sendall(struct.pack("!Q", length) + body)
    with pytest.raises(WireError, match=told):
        receive(sockets[1])


def test_tensors_of_all_types_and_shapes_arrive_whole(memories: Both) -> None:
    generator = np.random.default_rng(0)
    shapes = [(), (3,), (2, 3, 5), (1, 4, 16, 16), (0, 4)]
    arrays = [np.asarray(generator.random(shape) * 9, dtype) for dtype in DTYPES for shape in shapes]
    described = memories[0].put(arrays)
    for array, read in zip(arrays, memories[1].get(described), strict=True):
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        assert np.array_equal(read, array)


def test_each_side_may_make_the_memory_larger(memories: Both) -> None:
    for size, (giving, taking) in ((10, memories), (100_000, memories[::-1]), (1_000_000, memories)):
        array = np.arange(size, dtype=np.float32)
        (read,) = taking.get(giving.put([array]))
        giving.put([-array])
        assert np.array_equal(read, array)  # a copy, which the next tensors do not touch


def test_what_the_worker_is_at_is_seen_by_the_other_and_is_beside_the_tensors(memories: Both) -> None:
    memories[1].put([np.full((64,), 7, np.int64)])
    assert memories[0].at == 0
    memories[1].at = 812
    assert memories[0].at == 812


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dtype": "object"}, "type must be one of float32, .*, got 'object'"),
        ({"shape": [2, 1000]}, "lies at 64 to 8064 of"),
        ({"shape": [-1]}, "lies at"),
        ({"offset": 0}, "lies at 0 to"),
    ],
)
def test_a_tensor_outside_the_memory_is_refused(memories: Both, changes: dict[str, object], told: str) -> None:
    (described,) = memories[0].put([np.zeros((2, 3), np.float32)])
    with pytest.raises(WireError, match=told):
        memories[1].get([{**described, **changes}])
