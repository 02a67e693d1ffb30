"""`skipstep adapters train`: an adapter of a language model, made from one's own data."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..errors import OptionError
from ._console import console, quiet_transformers, say

if TYPE_CHECKING:
    from ..adapters.training import TrainingOptions, TrainingResult, TrainingStep


class MethodName(str, Enum):
    """How to train."""

    sft = "sft"
    dpo = "dpo"
    mezo = "mezo"
    sora = "sora"
    offsite = "offsite"


class DtypeName(str, Enum):
    """What the weights are written in."""

    float32 = "float32"
    float16 = "float16"


Base = Annotated[Path, typer.Option(metavar="FOLDER", help="A transformers folder of the base model.")]
Data = Annotated[Path, typer.Option(metavar="FILE", help="JSON Lines to learn from: docs/training.md has the forms.")]
Out = Annotated[Path, typer.Option(metavar="FOLDER", help="The folder to write; it must be new or empty.")]
MethodChoice = Annotated[MethodName, typer.Option("--method", help="offsite trains whole outer layers on an emulator.")]
HeldOut = Annotated[Path | None, typer.Option(metavar="FILE", help="Data to measure with; else each tenth example.")]
KindName = Annotated[
    str | None, typer.Option(help="sft, dpo, mezo: lora, rslora, dora, ia3, oft, vera, prompt-tuning...")
]
Chat = Annotated[str, typer.Option(help="chatml, ultralm, llama2, raw, or auto: what the tokenizer's own looks like.")]
Steps = Annotated[int | None, typer.Option(help="Instead of --epochs.")]
Epochs = Annotated[float, typer.Option(help="How often each example is learned from.")]
BatchSize = Annotated[int, typer.Option(help="Examples of one step.")]
Rate = Annotated[float | None, typer.Option("--rate", help="The learning rate; a usual one of the method and kind.")]
WarmUp = Annotated[int, typer.Option("--warm-up", help="Steps in which the rate rises.")]
Seed = Annotated[int, typer.Option(help="0 to 4294967295.")]
MaxTokens = Annotated[int, typer.Option(help="Longer examples are cut.")]
Rank = Annotated[int, typer.Option(help="The rank; for oft the size of a block.")]
Alpha = Annotated[float, typer.Option(help="LoRA's scale is alpha / rank.")]
Dropout = Annotated[float, typer.Option(help="sft and dpo: the share of values that are dropped.")]
Targets = Annotated[
    str | None, typer.Option(help="Modules, with commas: q_proj,v_proj. All of attention and MLP if not.")
]
VirtualTokens = Annotated[int, typer.Option(help="Of prompt-tuning, p-tuning and prefix-tuning.")]
Quantize = Annotated[str | None, typer.Option(help="nf4 (QLoRA) or int8, for the base under sft, dpo and sora.")]
Dtype = Annotated[DtypeName, typer.Option(help="What the weights are written in.")]
Device = Annotated[str, typer.Option(help="cpu, cuda or mps.")]
Threads = Annotated[int, typer.Option(help="Of the CPU; two on a busy machine of two are slower than one.")]
Every = Annotated[int, typer.Option("--checkpoint-every", help="Steps from one checkpoint to the next.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint beside --out.")]
Beta = Annotated[float | None, typer.Option(help="dpo: how close to the base model to stay; 0.1.")]
Epsilon = Annotated[float | None, typer.Option(help="mezo: the length of the noise; 0.001.")]
Penalty = Annotated[float | None, typer.Option(help="sora: what closes gates; 4.")]
Stages = Annotated[int | None, typer.Option(help="sora: equal steps in which the penalty rises; 4.")]
DenseShare = Annotated[float | None, typer.Option(help="sora: the share of steps before that; 0.25.")]
Selection = Annotated[str | None, typer.Option(help="offsite: influence, uniform or cka.")]
Removed = Annotated[str | None, typer.Option(help="offsite: drop or share.")]
KeepLayers = Annotated[int | None, typer.Option("--keep", help="offsite: middle layers of the emulator; two thirds.")]
Bottom = Annotated[int | None, typer.Option(help="offsite: how many of the lowest layers are trained; 2.")]
Top = Annotated[int | None, typer.Option(help="offsite: how many of the highest layers are trained; 2.")]


def train(
    base: Base,
    data: Data,
    out: Out,
    method: MethodChoice = MethodName.sft,
    held_out: HeldOut = None,
    kind: KindName = None,
    chat: Chat = "auto",
    steps: Steps = None,
    epochs: Epochs = 1.0,
    batch: BatchSize = 4,
    rate: Rate = None,
    warm_up: WarmUp = 0,
    seed: Seed = 0,
    max_tokens: MaxTokens = 512,
    rank: Rank = 8,
    alpha: Alpha = 16.0,
    dropout: Dropout = 0.0,
    targets: Targets = None,
    virtual_tokens: VirtualTokens = 16,
    quantize: Quantize = None,
    dtype: Dtype = DtypeName.float32,
    device: Device = "cpu",
    threads: Threads = 1,
    checkpoint_every: Every = 50,
    resume: Resume = False,
    beta: Beta = None,
    epsilon: Epsilon = None,
    penalty: Penalty = None,
    stages: Stages = None,
    dense_share: DenseShare = None,
    selection: Selection = None,
    removed: Removed = None,
    keep: KeepLayers = None,
    bottom: Bottom = None,
    top: Top = None,
) -> None:
    """Train an adapter, and write a folder that every engine loads; interrupted, --resume goes on."""
    from ..adapters.training import TrainingFiles, TrainingOptions

    own = {"kind": kind, "beta": beta, "epsilon": epsilon, "penalty": penalty, "stages": stages}
    own |= {"dense_share": dense_share, "selection": selection, "removed": removed, "keep": keep}
    own |= {"bottom": bottom, "top": top}
    options = TrainingOptions(
        method=_method(method.value, own),
        steps=steps,
        epochs=epochs,
        batch=batch,
        learning_rate=rate,
        warm_up_steps=warm_up,
        seed=seed,
        max_tokens=max_tokens,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        targets=tuple(name.strip() for name in targets.split(",")) if targets else (),
        virtual_tokens=virtual_tokens,
        quantize=quantize,
        dtype=dtype.value,
        device=device,
        checkpoint_every=checkpoint_every,
    )
    files = TrainingFiles(base=base, data=data, out=out, held_out=held_out)
    _print(_trained(files, options, chat=chat, threads=threads, resume=resume))


def _method(name: str, given: dict[str, Any]) -> Any:
    """The method with those of the options that are its own."""
    from ..adapters.training import METHODS

    method = METHODS[name]
    fields = method.__dataclass_fields__
    wanted = {option: value for option, value in given.items() if value is not None}
    for option in wanted:
        if option not in fields:
            owners = ", ".join(other for other, kind in METHODS.items() if option in kind.__dataclass_fields__)
            raise OptionError(f"--{option.replace('_', '-')} is for {owners}, got {wanted[option]!r} with {name}")
    return method(**wanted)


def _trained(files: Any, options: TrainingOptions, *, chat: str, threads: int, resume: bool) -> TrainingResult:
    from ..adapters.training import train_adapter
    from ..promptllm import training_chats

    if not 1 <= threads <= 256:
        raise OptionError(f"threads must be 1..256, got {threads}")
    import torch

    torch.set_num_threads(threads)
    quiet_transformers()
    try:
        with _bar() as report, _interrupted_for_sure() as check:

            def progress(step: TrainingStep) -> None:
                report(step)
                check()

            return train_adapter(files, options, chats=training_chats(chat), resume=resume, progress=progress)
    except KeyboardInterrupt:
        if files.out.with_name(f"{files.out.name}.training").is_dir():
            say("stopped", f"{files.out}.training has the last checkpoint; the same command with --resume goes on")
        raise


@contextmanager
def _interrupted_for_sure() -> Iterator[Callable[[], None]]:
    """A check that raises an interrupt again which was swallowed, as one that comes while a destructor runs is."""
    is_asked = False

    def on_interrupt(*_: object) -> None:
        nonlocal is_asked
        is_asked = True
        raise KeyboardInterrupt

    def check() -> None:
        if is_asked:
            raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield check  # started in the background of a script, as which it is not to be interrupted; or not ours to set
        return
    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar() -> Iterator[Callable[[TrainingStep], None]]:
    """A bar with the loss on a terminal; nothing elsewhere."""
    columns = (TextColumn("loss {task.fields[loss]}"), BarColumn(bar_width=20), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task("", total=None, loss="-")

        def report(step: TrainingStep) -> None:
            bars.update(task, total=step.steps, completed=step.step + 1, loss=f"{step.loss:.3f}")

        yield report


def _print(made: TrainingResult) -> None:
    say("adapter", f"{made.out} ({made.family}, {made.bytes:,} bytes)")
    say("data", f"{made.examples} examples, {made.held_out} more held out, {made.cut} cut to their first tokens")
    say("steps", f"{made.steps} in {made.seconds:.1f} s")
    for name, value in made.measures.items():
        say("measured", f"{name} {value:.4g}")
