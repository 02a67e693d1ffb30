"""A benchmark case: one model and one setting, and the rows that are compared on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..compile import BACKENDS, CompileOptions
from ..deepcache import DeepCache
from ..deepcache.options import check_whole
from ..engine import ImageRequest
from ..errors import OptionError
from .random_unets import UNETS

AUTO = "auto"  # backend: the fastest that the device has
PEERS = ("deepcache", "torch.compile", "deepcache+torch.compile")
VIDEO_SIDE = 64  # pixels; the SVD UNet halves its latents three times and adds no rows to make them fit
_OF_THE_UNET = ("attention", "channels_last", "fused_qkv")  # options of `CompileOptions` that change the UNet itself


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One way of running the case. The first row of a case is what the others are measured against.

    `cache` is a preset or a plan file, `reuse` the options of `DeepCache` instead, `steps` another number of steps.
    `peer` runs another library: PyPI DeepCache, torch.compile on the UNet, or both.

    Raises:
        OptionError: if the options contradict each other, naming them.
    """

    name: str
    backend: str = "eager"
    compile: CompileOptions = field(default_factory=CompileOptions)
    cache: str | None = None
    reuse: DeepCache | None = None
    steps: int | None = None
    peer: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise OptionError(f"every row needs a name of one line, got {self.name!r}")
        row = f"row {self.name!r}"
        if self.backend not in (*BACKENDS, AUTO):
            raise OptionError(f"{row}: backend must be {AUTO} or one of {', '.join(BACKENDS)}, got {self.backend!r}")
        if self.cache is not None and not isinstance(self.cache, str):
            raise OptionError(f"{row}: cache must be the name of a preset or of a plan file, got {self.cache!r}")
        if self.cache is not None and self.reuse is not None:
            raise OptionError(f"{row}: give cache or reuse, not both")
        if self.steps is not None:
            _check_count(f"{row}: steps", self.steps)
        if self.peer is not None:
            self._check_peer(row, self.peer)

    def _check_peer(self, row: str, peer: str) -> None:
        """Refuse what another library would not do."""
        if peer not in PEERS:
            raise OptionError(f"{row}: peer must be one of {', '.join(PEERS)}, got {peer!r}")
        if self.cache is not None or self.backend != "eager" or self.compile != CompileOptions():
            raise OptionError(f"{row}: {peer} is another library; leave cache, backend and compile out")
        if self.reuse is None:
            return
        if not peer.startswith("deepcache"):
            raise OptionError(f"{row}: {peer} reuses nothing; leave reuse out")
        if self.reuse != DeepCache(interval=self.reuse.interval, branch=self.reuse.branch, forecast="verbatim"):
            raise OptionError(f'{row}: {peer} knows interval and branch only; give these and forecast = "verbatim"')


@dataclass(frozen=True, kw_only=True)
class BenchCase:
    """What is measured. Sizes are pixels.

    `model` is a model of `skipstep image`, whose pictures are compared, or with `frames` one of `skipstep video`, whose
    clips are, or with `random_weights` one of the UNets in `random_unets.UNETS`, of which only the loop is run.

    Raises:
        OptionError: if a value is out of range.
    """

    title: str
    model: str = "demo"
    random_weights: bool = False
    width: int = 128
    height: int = 128
    frames: int | None = None
    steps: int = 30
    sampler: str = "euler"
    guidance: float | None = None
    prompts: tuple[str, ...] = ()
    seed: int = 0
    rounds: int = 3
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    rows: tuple[BenchRow, ...]

    def __post_init__(self) -> None:
        for name in ("title", "model", "device", "dtype"):
            if not isinstance(getattr(self, name), str):
                raise OptionError(f"{name} must be text, got {getattr(self, name)!r}")
        for name in ("width", "height", "steps", "rounds", "frames", "threads"):
            value = getattr(self, name)
            if value is not None or name not in ("frames", "threads"):
                _check_count(name, value)
        if not isinstance(self.random_weights, bool):
            raise OptionError(f"random_weights must be true or false, got {self.random_weights!r}")
        self._check_requests()
        self._check_rows()
        self._check_model()

    def _check_requests(self) -> None:
        """Refuse what no picture can be asked for with."""
        if self.guidance is not None and (
            isinstance(self.guidance, bool) or not isinstance(self.guidance, (int, float))
        ):
            raise OptionError(f"guidance must be a number, got {self.guidance!r}")
        if self.seed is None:
            raise OptionError("seed must be a whole number, got None")
        for index, prompt in enumerate(self.prompts or ("",)):
            ImageRequest(
                prompt=prompt,
                seed=self.seed if index == 0 else self.seed + index,
                width=self.width,
                height=self.height,
                steps=self.steps,
                guidance_scale=self.guidance,
                sampler=self.sampler,
            )

    def _check_rows(self) -> None:
        if len(self.rows) < 2:
            raise OptionError(f"a case needs two rows or more, the first being the baseline; got {len(self.rows)}")
        names = [row.name for row in self.rows]
        double = {name for name in names if names.count(name) > 1}
        if double:
            raise OptionError(f"rows must have names of their own, got {', '.join(sorted(double))} twice")
        for option in _OF_THE_UNET:
            given = {getattr(row.compile, option) for row in self.rows}
            if len(given) > 1:
                raise OptionError(
                    f"{option} changes the UNet that all rows share, and rows differ in it: "
                    f"{', '.join(sorted(map(str, given)))}; give all rows the same, the baseline included"
                )

    def _check_model(self) -> None:
        if not self.random_weights:
            if self.frames is not None and (self.prompts or self.sampler != "euler"):
                raise OptionError("prompts and sampler are for pictures, and a case with frames makes clips")
            return
        if self.model not in UNETS:
            raise OptionError(f"with random weights, model must be one of {', '.join(UNETS)}, got {self.model!r}")
        if any(row.cache is not None for row in self.rows):
            raise OptionError("cache is for models with weights; give rows of random UNets `reuse`")
        if self.prompts or self.sampler != "euler":
            raise OptionError("prompts and sampler are for models with weights; the loop of a random UNet is Euler's")
        if UNETS[self.model].video:
            for name, side in (("width", self.width), ("height", self.height)):
                if side % VIDEO_SIDE:
                    raise OptionError(f"{name} of a video must be a multiple of {VIDEO_SIDE} pixels, got {side}")
        elif self.frames is not None:
            raise OptionError(f"frames is for UNets of videos, got {self.frames} for {self.model!r}; leave it out")


def _check_count(name: str, value: object) -> None:
    check_whole(name, value)
    if not isinstance(value, int) or value < 1:
        raise OptionError(f"{name} must be 1 or more, got {value!r}")
