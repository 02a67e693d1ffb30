"""Training asks nothing of the network: TRL's telemetry is not sent, and no socket is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import base, chats, preferences

__all__ = ["base"]
PROGRAM = """
import sys
from pathlib import Path
from skipstep.adapters.training import Dpo, Sft, TrainingFiles, TrainingOptions, train_adapter
from skipstep.promptllm import training_chats

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        print("NETWORK", event, arguments, file=sys.stderr)

sys.addaudithook(watch)
method = {"sft": Sft, "dpo": Dpo}[sys.argv[1]]()
folder = Path(sys.argv[3])
train_adapter(
    TrainingFiles(base=Path(sys.argv[2]), data=folder / "data.jsonl", out=folder / "adapter"),
    TrainingOptions(method=method, steps=2, batch=2, rank=2, checkpoint_every=1),
    chats=training_chats(),
)
"""


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_no_telemetry_and_no_download(base: Path, tmp_path: Path, method: str) -> None:
    (preferences if method == "dpo" else chats)(tmp_path / "data.jsonl")
    # those would keep the libraries silent by themselves
    quieted = (
        "CI",
        "HF_HUB_OFFLINE",
        "HF_HUB_DISABLE_TELEMETRY",
        "TRANSFORMERS_OFFLINE",
        "DO_NOT_TRACK",
        "DISABLE_TELEMETRY",
    )
    environment = {name: value for name, value in os.environ.items() if name not in quieted}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, method, str(base), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**environment, "HF_HOME": str(tmp_path / "hub")},
    )
    assert run.returncode == 0, run.stderr
    assert "NETWORK" not in run.stderr
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
