"""How a single tensor is kept: exact or rounded, on its device or in host memory, and how many bytes that takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skipstep.deepcache import FeatureStore
from skipstep.deepcache._host import LARGEST_WASTE, CopiesInTurn, piece_sizes
from skipstep.deepcache.storage import in_turn
from skipstep.errors import OptionError

HALF, BRAIN = torch.float16, torch.bfloat16
KEPT = [FeatureStore(), FeatureStore(device="cpu"), FeatureStore(device="cpu", prefetch=False)]


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


SHAPES: list[Tensor] = [
    noise(2, 3, 5, 7),
    noise(2, 4, 4, 4).to(memory_format=torch.channels_last),
    noise(3, 5, 7, dtype=HALF),
    noise(6, 4).t(),
    noise(4, 8, 6)[1:, ::2],  # a view with gaps
    noise(3, 1).expand(3, 5),
    noise(1),
    noise(0, 4),
]


@pytest.mark.parametrize("store", KEPT)
@pytest.mark.parametrize("tensor", SHAPES)
def test_what_is_not_rounded_comes_back_bit_for_bit(store: FeatureStore, tensor: Tensor) -> None:
    place = store.put(tensor)
    for _ in range(2):
        taken = place.get()
        assert torch.equal(taken, tensor)
        assert (taken.dtype, taken.device, taken.shape) == (tensor.dtype, tensor.device, tensor.shape)
        assert taken.stride() == tensor.clone().stride()  # compiled graphs are made for strides
        place.release()
        place.bring()


def test_by_default_the_tensor_itself_is_kept() -> None:
    tensor = noise(4, 4)
    place = FeatureStore().put(tensor)
    place.release()
    assert place.get() is tensor
    assert (place.device_bytes, place.host_bytes) == (64, 0)


def test_a_view_does_not_keep_the_whole_alive() -> None:
    whole = noise(100, 4)
    place = FeatureStore().put(whole[:2])
    assert place.get().untyped_storage().nbytes() == place.device_bytes == 32


@pytest.mark.parametrize("prefetch", [True, False])
def test_bytes_are_told_by_place(prefetch: bool) -> None:
    tensor = noise(64, 17)
    place: Any = FeatureStore(device="cpu", prefetch=prefetch).put(tensor)
    near = tensor.nbytes if prefetch else 0
    held = sum(piece.untyped_storage().nbytes() for piece in place._pieces)
    assert tensor.nbytes <= held <= tensor.nbytes * (1 + 1 / LARGEST_WASTE)
    assert (place.device_bytes, place.host_bytes) == (near, held)  # near from the beginning
    place.release()
    assert (place.device_bytes, place.host_bytes) == (0, held)
    place.get()
    assert place.device_bytes == 0  # taken, not kept
    place.bring()
    assert place.device_bytes == near
    if prefetch:
        assert place.get() is place.get() is not tensor
    else:
        assert place.get() is not place.get()


def test_what_was_put_may_be_dropped() -> None:
    tensor = noise(10, 10)
    expected = tensor.clone()
    place = FeatureStore(device="cpu").put(tensor)
    place.release()
    tensor.zero_()
    assert torch.equal(place.get(), expected)


@pytest.mark.parametrize(("name", "unit"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
@pytest.mark.parametrize("device", ["same", "cpu"])
def test_rounding_is_that_of_the_type_and_halves_the_bytes(name: str, unit: float, device: str) -> None:
    tensor = noise(2, 8, 16, 16).to(memory_format=torch.channels_last)
    place = FeatureStore(name, device).put(tensor)
    taken = place.get()
    assert (taken.dtype, taken.stride()) == (torch.float32, tensor.stride())
    assert torch.equal(taken, tensor.to(getattr(torch, name)).float())
    assert not torch.equal(taken, tensor)
    error = ((taken - tensor).abs() / tensor.abs().clamp_min(2.0**-14)).max()  # below that float16 is subnormal
    assert unit / 2 < error <= unit
    place.release()
    held = place.device_bytes + place.host_bytes
    assert tensor.nbytes // 2 <= held <= tensor.nbytes // 2 + 4  # float16's factor
    place.bring()
    assert torch.equal(place.get(), taken)


@pytest.mark.parametrize("largest", [1.0, 32767.9, 32768.0, 65504.0, 65520.0, 1e6, 3.4e38])
def test_float16_does_not_overflow(largest: float) -> None:
    tensor = noise(4, 100)
    tensor *= largest / tensor.abs().max()
    assert tensor.half().isinf().any() == (largest > 65504)
    taken = FeatureStore("float16").put(tensor).get()
    if largest < 32768:
        assert torch.equal(taken, tensor.half().float())
    assert torch.isfinite(taken).all()
    assert (taken - tensor).abs().max() <= 2.0**-11 * tensor.abs().max()


@pytest.mark.parametrize("broken", [math.inf, -math.inf, math.nan])
def test_what_the_unet_broke_stays_broken(broken: float) -> None:
    tensor = noise(5)
    tensor[2] = broken
    taken = FeatureStore("float16").put(tensor).get()
    assert torch.allclose(taken, tensor.half().float(), rtol=0, atol=0, equal_nan=True)
    zeros = FeatureStore("float16").put(torch.zeros(3)).get()
    assert torch.equal(zeros, torch.zeros(3))


@pytest.mark.parametrize(("name", "dtype"), [("float16", HALF), ("bfloat16", BRAIN)])
def test_a_unet_of_that_type_is_kept_as_it_is(name: str, dtype: torch.dtype) -> None:
    tensor = noise(4, dtype=dtype)
    assert FeatureStore(name).put(tensor).get() is tensor


@pytest.mark.parametrize(("name", "dtype"), [("float16", BRAIN), ("bfloat16", HALF)])
def test_rounding_that_saves_nothing_is_refused(name: str, dtype: torch.dtype) -> None:
    own = str(dtype).removeprefix("torch.")
    message = f"feature_dtype {name} would round this UNet's features and save nothing: they are {own}; use 'same'"
    with pytest.raises(OptionError, match=message):
        FeatureStore(name).put(noise(4, dtype=dtype))


@pytest.mark.parametrize("store", [*KEPT, FeatureStore("bfloat16"), FeatureStore("float16", "cpu")])
def test_no_gradient_is_kept_in_copies(store: FeatureStore) -> None:
    tensor = noise(3).requires_grad_()
    taken = store.put(tensor).get()
    assert taken is tensor or not taken.requires_grad


@pytest.mark.parametrize("nbytes", [0, 1, 2, 3, 31, 32, 33, 4095, 4097, 294_912_000, 2**31 - 1, 2**31 + 1])
def test_pieces_are_powers_of_two_and_little_more_than_asked_for(nbytes: int) -> None:
    sizes = piece_sizes(nbytes)
    assert all(size == 1 << (size.bit_length() - 1) for size in sizes)
    assert nbytes <= sum(sizes) <= nbytes * (1 + 1 / LARGEST_WASTE)
    assert len(sizes) <= 8
    assert sum(sizes[:-1]) < nbytes or nbytes == 0


def test_only_the_tensor_in_use_and_the_next_are_near() -> None:
    store = FeatureStore(device="cpu")
    tensors = [noise(8) + index for index in range(5)]
    places = [store.put(tensor) for tensor in tensors]
    for place in places:
        place.release()
    near: list[list[int]] = []

    def use(tensor: Tensor) -> float:
        near.append([index for index, place in enumerate(places) if place.device_bytes])
        return float(tensor.sum())

    assert in_turn(places, use) == [float(tensor.sum()) for tensor in tensors]
    assert near == [[0, 1], [1, 2], [2, 3], [3, 4], [4]]
    assert sum(place.device_bytes for place in places) == 0
    assert in_turn([], use) == []


def test_memory_for_cuda_is_page_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    empty = torch.empty

    def noted(*shape: int, pin_memory: bool = False, **options: Any) -> Tensor:
        asked.append(pin_memory)
        return empty(*shape, **options)

    monkeypatch.setattr(torch, "empty", noted)
    for device in ("cpu", "cuda"):
        assert CopiesInTurn(torch.device(device)).host(7).shape == (7,)
    assert asked == [False, True]
