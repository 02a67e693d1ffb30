"""Trains an adapter from files to a folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import OptionError
from ...whole import whole_folder
from ..sora.initial import targeted_linears
from .examples import ChatWriter, Example, Pair, example_of, pair_of
from .forward_only import train_forward_only
from .gated import train_gated
from .job import Job, Trained, TrainingStep
from .kinds import KINDS
from .methods import Dpo, Mezo, Offsite, Sft, Sora
from .options import TrainingOptions
from .outer import OUTER, train_outer
from .preferences import train_preferences
from .records import Conversation, Preference, read_conversations, read_preferences
from .run_folder import RunFolder, check_out
from .supervised import train_supervised
from .trainee import Trainee, load_trainee
from .written import write_adapter

_Record = Conversation | Preference
HELD_OUT_EVERY = 10
ENOUGH = 20


@dataclass(frozen=True, kw_only=True)
class TrainingFiles:
    """A transformers folder, data to learn, perhaps data to measure with, and the folder to write.

    Without `held_out`, every tenth example of 20 or more is kept for measuring.
    """

    base: Path
    data: Path
    out: Path
    held_out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What was made. `cut` examples were longer than the tokens that are read of one."""

    out: Path
    steps: int
    examples: int
    held_out: int
    cut: int
    family: str
    bytes: int
    seconds: float
    measures: Mapping[str, float]


def train_adapter(
    files: TrainingFiles,
    options: TrainingOptions,
    *,
    chats: Callable[[Any], ChatWriter],
    resume: bool = False,
    progress: Callable[[TrainingStep], None] | None = None,
) -> TrainingResult:
    """Train, and write `files.out`; while that runs, `OUT.training` beside it has the checkpoints.

    `chats` gives what writes chats for a tokenizer. `resume` goes on from the last checkpoint and ends in the same
    bits as a run that was never interrupted, on one machine with one number of threads.

    Raises:
        TrainingDataError: names file, line and field.
        OptionError, AdapterError: for options, a model or a checkpoint that do not fit.
        OutputError: if `files.out` is there and not empty, or cannot be written.
        MissingExtraError: names the extra.
        KeyboardInterrupt: the last checkpoint stays.
    """
    started = time.monotonic()
    check_out(files.out)
    if resume and not options.kind.resumes:
        raise OptionError("a run of adalora cannot be resumed: its importance scores are in no checkpoint")
    records = _split(files, options)
    trainee = load_trainee(files.base, quantize=options.quantize, device=options.device)
    _check_targets(trainee, options)
    write = chats(trainee.tokenizer)
    learned, held_out = (
        [_tokens(record, write, trainee.tokenizer, options.max_tokens) for record in part] for part in records
    )
    steps = options.steps_for(len(learned))
    run = RunFolder(
        files.out,
        {**options.settings(), "steps": steps, "data": _digest(learned), "base": asdict(trainee.base.fingerprint)},
        resume=resume,
    )
    job = Job(
        trainee=trainee,
        learned=learned,
        held_out=held_out,
        options=options,
        steps=steps,
        run=run,
        report=progress or (lambda _: None),
    )
    try:
        trained = _trained(job)
        family, size = _written(trained, job, files.out)
    except BaseException:
        if run.newest() is None:
            run.remove()
        raise
    run.remove()
    return TrainingResult(
        out=files.out,
        steps=steps,
        examples=len(learned),
        held_out=len(held_out),
        cut=sum(item.cut for item in learned),
        family=family,
        bytes=size,
        seconds=time.monotonic() - started,
        measures=trained.measures,
    )


def _check_targets(trainee: Trainee, options: TrainingOptions) -> None:
    """See that the modules that are asked for are there, are none of the words, and have blocks of the rank for OFT."""
    targets = () if isinstance(options.method, Offsite) else options.targets or options.kind.targets
    for name, linear in targeted_linears(trainee.model, targets).items():
        if linear is trainee.model.get_output_embeddings():
            raise OptionError(f"targets must be modules of the layers, got {name}, which gives the words' scores")
        if options.kind is KINDS["oft"] and linear.in_features % options.rank:
            raise OptionError(f"rank must divide the {linear.in_features} inputs of {name} for oft, got {options.rank}")


def _split(files: TrainingFiles, options: TrainingOptions) -> tuple[Sequence[_Record], Sequence[_Record]]:
    """What is learned, and what is held out."""
    read: Callable[[Path], Sequence[_Record]] = (
        read_preferences if isinstance(options.method, Dpo) else read_conversations
    )
    found = read(files.data)
    if files.held_out is not None:
        return found, read(files.held_out)
    if len(found) < ENOUGH:
        return found, []
    learned = [record for i, record in enumerate(found, start=1) if i % HELD_OUT_EVERY]
    return learned, found[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]


def _tokens(record: _Record, write: ChatWriter, tokenizer: Any, max_tokens: int) -> Example | Pair:
    if isinstance(record, Preference):
        return pair_of(record, write, tokenizer, max_tokens=max_tokens)
    return example_of(record, write, tokenizer, max_tokens=max_tokens)


def _trained(job: Job[Any]) -> Trained:
    method = job.options.method
    if isinstance(method, Sft):
        return train_supervised(job, method)
    if isinstance(method, Dpo):
        return train_preferences(job, method)
    if isinstance(method, Mezo):
        return train_forward_only(job, method)
    if isinstance(method, Sora):
        return train_gated(job, method)
    return train_outer(job, method)


def _written(trained: Trained, job: Job[Any], out: Path) -> tuple[str, int]:
    """The family that was written, and the bytes of its weights."""
    if isinstance(job.options.method, Offsite):
        with whole_folder(out) as unfinished:
            trained.save(unfinished)
        return "outer layers", (out / OUTER).stat().st_size
    info = write_adapter(trained.save, out, base=job.trainee.base, dtype=job.options.dtype)
    return info.family, info.bytes


def _digest(items: Sequence[Example | Pair]) -> str:
    """A hash of all tokens, which another file, template or tokenizer changes."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode())
    return digest.hexdigest()
