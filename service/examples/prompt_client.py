"""Has a language model add to a prompt, asks it something, and draws the expanded prompt. The server needs a prompt
model: SKIPSTEP_PROMPT_ENGINE=gguf skipstep serve

python prompt_client.py "a red apple" --preset photo
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import httpx
import openai


def expand(client: httpx.Client, prompt: str, preset: str, seed: int) -> dict[str, Any]:
    """The expansion; what the model writes is printed as it comes."""
    body = {"prompt": prompt, "preset": preset, "seed": seed, "stream": True}
    made: dict[str, Any] = {}
    with client.stream("POST", "/v1/prompt/expand", json=body) as answer:
        if answer.is_error:
            raise SystemExit(f"error: {json.loads(answer.read())['error']['message']}")
        kind = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind == "text":
                print(json.loads(value)["text"], end="", flush=True)
            elif name == "data" and kind == "expansion":
                made = json.loads(value)
    print()
    return made


def draw(client: httpx.Client, prompt: str, preset: str, seed: int, folder: Path) -> dict[str, Any]:
    """A picture of the expanded prompt: the job has it expanded, and keeps both prompts."""
    body = {"kind": "image", "prompt": prompt, "seed": seed, "expand": {"preset": preset}}
    answer = client.post("/v1/jobs", json=body)
    if answer.is_error:
        raise SystemExit(f"error: {answer.json()['error']['message']}")
    job: dict[str, Any] = answer.json()
    with client.stream("GET", job["links"]["events"]) as events:
        for _ in events.iter_lines():  # up to the job's end
            pass
    job = client.get(job["links"]["self"]).json()
    for output in job["outputs"]:
        path = folder / f"{job['id']}-{output['name']}"
        path.write_bytes(client.get(output["url"]).content)
        print(f"wrote      {path}")
    return job


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("prompt")
    parser.add_argument("--preset", default="photo")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    key = os.environ.get("SKIPSTEP_KEY", "none")
    with httpx.Client(base_url=given.url, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
        made = expand(client, given.prompt, given.preset, given.seed)
        print(f"prompt     {made['prompt']}" + (f" ({made['reason']})" if made["reason"] else ""))
        job = draw(client, given.prompt, given.preset, given.seed, given.out)
        print(f"drawn      {job['expansion']['prompt']}")
    with openai.OpenAI(base_url=f"{given.url}/v1", api_key=key) as ai:
        question: Any = [{"role": "user", "content": f"Name one colour of {given.prompt}."}]
        answer = ai.chat.completions.create(model="auto", messages=question, max_tokens=32, seed=given.seed)
        print(f"answer     {answer.choices[0].message.content}")


if __name__ == "__main__":
    main()
