"""Copies on a stream of their own, on a toy of CUDA whose side stream lags behind as far as it may."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from models import TinyUNet
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from skipstep.deepcache import DeepCacheSession, DiffusersUNetSplit, FeatureStore, LinearForecast, UniformSchedule
from skipstep.deepcache._host import CopiesBeside, CopiesInTurn

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Stream:
    """Copies that were queued and not yet done, and what they wait for."""

    def __init__(self, *_: Any) -> None:
        self.queue: list[Callable[[], object]] = []
        self.waits: list[Stream] = []

    def wait_stream(self, other: Stream) -> None:
        self.waits.append(other)

    def wait_event(self, event: Event) -> None:
        while event.stream.done < event.at:
            event.stream.queue[event.stream.done]()
            event.stream.done += 1

    done = 0


class Event:
    """A place in a stream's queue."""

    def record(self, stream: Stream) -> None:
        self.stream, self.at = stream, len(stream.queue)


class Toy(TorchDispatchMode):
    """CUDA whose copies on a side stream are done only when somebody waits for them; the rest is done at once."""

    def __init__(self) -> None:
        super().__init__()
        self.compute = self.current = Stream()
        self.recorded: list[tuple[int, Stream]] = []
        self.pinned: list[bool] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.copy_.default and self.current is not self.compute:
            assert self.current.waits[-1] is self.compute  # what is read was computed on that
            assert True in (*args[2:], *(kwargs or {}).values())  # it does not block the host
            self.current.queue.append(lambda: function(*args[:2]))
            return args[0]
        made = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.empty_strided.default and made.is_floating_point():
            made.fill_(torch.nan)  # what is read too early is seen
        return made

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self.current = stream
        yield
        self.current = self.compute


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    toy, empty = Toy(), torch.empty

    def pinned_or_not(*shape: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        toy.pinned.append(pin_memory)
        return empty(*shape, **options)

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: toy.compute)
    monkeypatch.setattr(torch.cuda, "stream", toy.stream)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: toy.recorded.append((self.data_ptr(), stream)))
    monkeypatch.setattr(torch, "empty", pinned_or_not)
    with toy:
        yield toy


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    store = FeatureStore(device="cpu")
    copies: list[CopiesBeside] = []

    def beside(_: torch.device) -> CopiesBeside:
        if not copies:
            copies.append(CopiesBeside(CPU))
        return copies[0]

    monkeypatch.setattr(store, "_copies_of", beside)
    return store


def test_a_tensor_is_read_only_when_it_is_there(cuda: Toy, store: FeatureStore) -> None:
    tensor = torch.arange(12.0).reshape(3, 4)
    place: Any = store.put(tensor)
    side: Any = place._copies._stream
    assert len(side.queue) == len(place._pieces) > 0
    assert side.done == 0  # the host did not wait
    assert cuda.recorded == [(tensor.data_ptr(), side)]
    assert all(cuda.pinned)
    assert place.get().data_ptr() == tensor.data_ptr()  # near still
    place.release()
    place.bring()
    assert side.done == 0
    assert place._near.isnan().all()  # on its way
    assert cuda.recorded[1:] == [(place._near.data_ptr(), side)]
    assert torch.equal(place.get(), tensor)
    assert side.done == len(side.queue)
    place.release()
    assert torch.equal(place.get(), tensor)  # without having been brought


@pytest.mark.usefixtures("cuda")
def test_the_next_tensor_does_not_hold_up_the_one_before(store: FeatureStore) -> None:
    places: list[Any] = [store.put(torch.full((4,), value)) for value in (1.0, 2.0)]
    for place in places:
        place.release()
        place.bring()
    assert torch.equal(places[0].get(), torch.full((4,), 1.0))
    assert places[1]._near.isnan().all()


@pytest.mark.usefixtures("cuda", "no_grad")
def test_a_run_is_that_of_features_that_stay(store: FeatureStore, tiny_sdxl: TinyUNet) -> None:
    staying, moving = (
        DeepCacheSession(DiffusersUNetSplit(tiny_sdxl.unet, 1), UniformSchedule(3), LinearForecast(), store=kept)
        for kept in (FeatureStore(), store)
    )
    for seed in range(8):
        args, kwargs = tiny_sdxl.inputs(seed)
        assert torch.equal(moving("key", *args, **kwargs)[0], staying("key", *args, **kwargs)[0])
    assert moving.log.kinds == "FrrFrrFr"


@pytest.mark.usefixtures("cuda")
def test_copies_are_beside_the_computation_only_on_cuda_and_with_prefetch() -> None:
    kinds = {
        (device.type, prefetch): type(FeatureStore(device="cpu", prefetch=prefetch)._copies_of(device))
        for device in (CPU, CUDA)
        for prefetch in (True, False)
    }
    assert kinds.pop(("cuda", True)) is CopiesBeside
    assert set(kinds.values()) == {CopiesInTurn}
