"""The bytes that a run tells against those that are allocated, and how long features are held."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import sdxl_pipeline, tiny_unet
from runs import sample
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skipstep import DeepCache, speed_up
from skipstep.deepcache import (
    AdaptiveSchedule,
    CalibratedForecast,
    DeepCacheSession,
    DiffusersUNetSplit,
    FeatureStore,
    Forecast,
    LinearForecast,
    PlannedSchedule,
    PlannedSlopes,
    Responses,
    ResponseSession,
    UniformSchedule,
    VerbatimForecast,
)

STORES = [
    FeatureStore(),
    FeatureStore("bfloat16"),
    FeatureStore("float16"),
    FeatureStore(device="cpu"),
    FeatureStore(device="cpu", prefetch=False),
    FeatureStore("float16", "cpu"),
]
FORECASTS: list[Forecast] = [
    VerbatimForecast(),
    LinearForecast(),
    CalibratedForecast(PlannedSlopes({(1, 0, 3, 4): 0.3, (1, 0, 3, 5): 0.7})),
]
MIXED = (None, 0, 4, None, 4, 0, None, 0, None)


class Allocated(TorchDispatchMode):
    """Storages of all tensors that operations make, as long as they live; `traced`, the most of them at once too."""

    def __init__(self, *, traced: bool = False) -> None:
        super().__init__()
        self.peak, self._is_traced = 0, traced
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {storage._cdata for storage in _storages((args, kwargs))}  # of weights, seen through a view
        made = function(*args, **(kwargs or {}))
        for storage in _storages(made):
            if storage._cdata not in given:
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        if self._is_traced:
            self.peak = max(self.peak, self.live())
        return made

    def live(self) -> int:
        """Bytes of those that are alive."""
        self._made = {key: entry for key, entry in self._made.items() if not entry[0].expired()}
        return sum(nbytes for _, nbytes in self._made.values())


def _storages(values: Any) -> list[Any]:
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class Large:
    """Deep features that are all there is, of 40 kB."""

    def __init__(self) -> None:
        self.during: list[tuple[int, int]] = []
        self.session: Any = None

    def note(self) -> None:
        self.during.append((self.session.cache_bytes // 40_000, self.session.host_bytes // 40_000))

    def full(self, sample: Tensor) -> tuple[tuple[Tensor], Tensor]:
        self.note()
        return (sample,), torch.full((10_000,), float(sample))

    def reuse(self, features: Tensor, sample: Tensor) -> tuple[Tensor]:
        self.note()
        return (sample + features[0],)


class Two:
    """The same at two branches, the other's features being smaller."""

    def __init__(self) -> None:
        self.cut = Large()

    def full(self, sample: Tensor) -> tuple[Any, dict[int, Tensor]]:
        output, features = self.cut.full(sample)
        return output, {0: features, 4: features[:3000] + 1}

    def at(self, branch: int) -> Large:
        return self.cut


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("forecast", FORECASTS)
@pytest.mark.parametrize("schedule", [UniformSchedule(3), PlannedSchedule(MIXED), AdaptiveSchedule(0.1, 8)])
def test_after_every_pass_the_bytes_told_are_alive_and_no_others(
    schedule: Any, forecast: Forecast, store: FeatureStore
) -> None:
    split: Any = Two() if isinstance(schedule, PlannedSchedule) else Large()
    session = DeepCacheSession(split, schedule, forecast, store=store, evaluations=8)
    getattr(split, "cut", split).session = session
    allocated = Allocated()
    told: list[tuple[int, int]] = []
    for number in range(8):
        for key in ("one", "other"):
            sample = torch.tensor(float(number))
            with allocated:
                session(key, sample)
            told.append((session.cache_bytes, session.host_bytes))
            errors = 100 * isinstance(schedule, AdaptiveSchedule)  # which it has not read yet
            assert 0 <= allocated.live() - sum(told[-1]) <= errors
    assert told[-1] == (0, 0)  # nothing comes after the last
    log = session.log
    assert (log.cache_bytes, log.host_bytes) == tuple(max(place) for place in zip(*told, strict=True))
    assert log.cache_bytes + log.host_bytes > 0


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("name", ["sdxl", "svd"])
@torch.no_grad()
def test_so_they_are_on_a_unet(name: str, store: FeatureStore) -> None:
    tiny = tiny_unet(name)
    session = DeepCacheSession(DiffusersUNetSplit(tiny.unet, 1), UniformSchedule(2), LinearForecast(), store=store)
    allocated = Allocated()
    for seed in range(4):
        args, kwargs = tiny.inputs(seed)
        with allocated:
            session("key", *args, **kwargs)
        assert allocated.live() == session.cache_bytes + session.host_bytes
    assert session.log.cache_bytes + session.log.host_bytes > 10_000


def held_during(session: Any, split: Large, calls: int) -> list[tuple[int, int]]:
    """Tensors on the device and in host memory while each pass runs."""
    split.session = session
    for number in range(calls):
        session("key", torch.tensor(float(number)))
    return split.during


@pytest.mark.parametrize("forecast", FORECASTS)
def test_old_features_are_not_held_beside_those_that_take_their_place(forecast: Forecast) -> None:
    split = Large()
    session: Any = DeepCacheSession(split, UniformSchedule(1), forecast)
    kept = forecast.history_size
    with Allocated(traced=True) as allocated:
        during = held_during(session, split, 5)
    assert [device for device, _ in during] == [min(number, kept - 1) for number in range(5)]
    assert 0 <= allocated.peak - session.log.cache_bytes <= 100  # numbers
    assert session.log.cache_bytes == kept * 40_000


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        # FrrFrrF: both of a line from the full pass that it goes on from to the last of its reuse passes
        (FeatureStore(), [(0, 0), (1, 0), (1, 0), (1, 0), (2, 0), (2, 0), (0, 0)]),
        (FeatureStore(device="cpu"), [(0, 0), (1, 1), (0, 1), (0, 1), (2, 2), (0, 2), (0, 0)]),
        (FeatureStore(device="cpu", prefetch=False), [(0, 0), (0, 1), (0, 1), (0, 1), (0, 2), (0, 2), (0, 0)]),
    ],
)
def test_from_host_memory_features_are_near_only_ahead_of_reuse(
    store: FeatureStore, expected: list[tuple[int, int]]
) -> None:
    split = Large()
    session = DeepCacheSession(split, UniformSchedule(3), LinearForecast(), store=store, evaluations=7)
    assert held_during(session, split, 7) == expected


def test_of_several_branches_only_the_next_ones_features_are_near() -> None:
    split = Two()
    plan = PlannedSchedule((None, None, 0, 0, 4, None, 4))
    session = DeepCacheSession(split, plan, LinearForecast(), store=FeatureStore(device="cpu"))
    split.cut.session = session
    near: list[list[int]] = []
    for number in range(7):
        session("key", torch.tensor(float(number)))
        histories = session._streams["key"].histories
        near.append([branch for branch, history in histories.items() if history.device_bytes])
    assert near == [[], [0], [0], [4], [], [4], []]
    assert session.log.cache_bytes == 2 * 40_000
    assert 0 <= session.log.host_bytes - 2 * (40_000 + 12_000) <= 2 * 52_000 / 32


def test_a_schedule_that_compares_keeps_what_it_compares_with() -> None:
    split = Large()
    store = FeatureStore(device="cpu")
    session = DeepCacheSession(split, AdaptiveSchedule(1e9, 9), LinearForecast(), store=store, evaluations=9)
    during = held_during(session, split, 9)
    kinds = session.log.kinds
    assert kinds[-1] == "F"
    assert [device for (device, _), kind in zip(during[3:], kinds[3:], strict=True)] == [2] * 6
    assert session.cache_bytes == session.host_bytes == 0


@pytest.mark.parametrize("forecast", FORECASTS)
def test_a_full_pass_that_fails_leaves_a_session_that_goes_on(forecast: Forecast) -> None:
    class Once:
        """Asks for a full pass at evaluation 2, but only once."""

        asked = 0

        def is_full(self, evaluation: int) -> bool:
            self.asked += evaluation == 2
            return evaluation == 1 or (evaluation == 2 and self.asked == 1)

    class Failing(Large):
        def full(self, sample: Tensor) -> tuple[tuple[Tensor], Tensor]:
            if sample == 2:
                raise MemoryError
            return super().full(sample)

    split = Failing()
    session = DeepCacheSession(split, Once(), forecast)
    held_during(session, split, 2)
    with pytest.raises(MemoryError):
        session("key", torch.tensor(2.0))
    session("key", torch.tensor(3.0))
    assert session.log.kinds == ("FFF" if forecast.history_size == 1 else "FFr")


def test_more_evaluations_than_were_told_begin_anew() -> None:
    split = Large()
    session = DeepCacheSession(split, UniformSchedule(4), evaluations=3)
    held_during(session, split, 7)
    assert session.log.kinds == "FrrFFrr"
    assert session.cache_bytes == 40_000


@pytest.mark.parametrize("store", STORES)
def test_a_calibrating_run_tells_its_bytes_too(store: FeatureStore) -> None:
    allocated = Allocated()
    told: list[tuple[int, int]] = []

    class Telling(Large):
        def note(self) -> None:
            told.append((session.cache_bytes, session.host_bytes))

    session = ResponseSession(Telling(), Responses(0, None), window=3, store=store, evaluations=7)
    for number in range(7):
        sample = torch.tensor(float(number))
        with allocated:
            session("key", sample)
        told.append((session.cache_bytes, session.host_bytes))
        assert 0 <= allocated.live() - sum(told[-1]) <= 300  # what is measured
    assert told[-1] == (0, 0)
    log = session.log
    assert (log.cache_bytes, log.host_bytes) == tuple(max(place) for place in zip(*told, strict=True))


def test_a_calibrating_run_tries_features_one_by_one() -> None:
    for prefetch, near in ((True, 2), (False, 0)):
        split = Large()
        store = FeatureStore(device="cpu", prefetch=prefetch)
        session = ResponseSession(split, Responses(0, None), window=3, store=store)
        during = held_during(session, split, 6)
        assert max(device for device, _ in during) == near
        assert max(host for _, host in during) == 4  # the window, and those of the pass itself
        assert session.log.cache_bytes == near * 40_000
        assert session.host_bytes // 40_000 == 3


@pytest.mark.parametrize("where", [{}, {"feature_device": "cpu"}, {"feature_dtype": "float16"}])
def test_a_pipeline_decodes_with_no_features_held(where: dict[str, Any]) -> None:
    pipe = sdxl_pipeline()
    held: list[int] = []
    decode = pipe.vae.decode

    def noting(*args: Any, **kwargs: Any) -> Any:
        assert run._session is not None
        held.append(run._session.cache_bytes + run._session.host_bytes)
        return decode(*args, **kwargs)

    pipe.vae.decode = noting
    with speed_up(pipe, DeepCache(**where)) as run:
        sample(pipe, steps=10, output_type="pt")
    assert held == [0]
    log, _ = run._finished[-1]
    assert log.cache_bytes > 0
    assert (log.host_bytes > 0) is ("feature_device" in where)
