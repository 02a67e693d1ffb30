"""Draws a picture, follows it, saves what was made, and prints the report.

python client.py "a red apple" --compare
"""

from __future__ import annotations

import argparse
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ENDS = ("succeeded", "failed", "expired", "canceled")
AGAIN_S = 1.0  # between tries while the server cannot be reached


def submit(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The job, once it is accepted. All tries have one Idempotency-Key, so that there is one job."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    while True:
        try:
            answer = client.post("/v1/jobs", json=body, headers=headers)
        except httpx.TransportError:
            time.sleep(AGAIN_S)
            continue
        if answer.status_code not in (429, 503):
            return _checked(answer)
        time.sleep(float(answer.headers.get("Retry-After", AGAIN_S)))


def follow(client: httpx.Client, job: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and data of the job's events up to its end, each once, over as many connections as it takes."""
    headers: dict[str, str] = {}
    while True:
        try:
            with client.stream("GET", job["links"]["events"], headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                    _checked(answer)
                for event in _events(answer.iter_lines()):
                    headers["Last-Event-ID"] = event["id"]
                    data = json.loads(event["data"])
                    yield event["event"], data
                    if event["event"] == "status" and data["status"] in ENDS:
                        return
        except httpx.TransportError:
            time.sleep(AGAIN_S)


def _events(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = value
        elif not line and event:
            yield event
            event = {}


def save(client: httpx.Client, job: dict[str, Any], folder: Path) -> list[Path]:
    """Fetch the job's files."""
    paths = []
    for output in job["outputs"]:
        path = folder / f"{job['id']}-{output['name']}"
        path.write_bytes(client.get(output["url"]).raise_for_status().content)
        paths.append(path)
    return paths


def show(report: dict[str, Any]) -> None:
    """Print what really ran."""
    for image in report["images"]:
        print(f"seed       {image['seed']}")
        if "passes" in image:
            print(f"passes     {image['full_passes']} full + {image['reuse_passes']} reuse: {image['passes']}")
        if "comparison" in image:
            compared = image["comparison"]
            print(f"likeness   PSNR {compared['psnr_db']:.1f} dB, SSIM {compared['ssim']:.4f}")
            print(f"speed-up   {compared['loop_speedup']:.2f} of the sampling loop")
    print(f"time       {report['queue_ms']:.0f} ms waiting, {report['run_ms']:.0f} ms running")


def _checked(answer: httpx.Response) -> dict[str, Any]:
    """The answer's body.

    Raises:
        SystemExit: with the server's reason, if it is an error.
    """
    body: dict[str, Any] = answer.json()
    if answer.is_error:
        raise SystemExit(f"error: {body['error']['message']}")
    return body


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("prompt")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--compare", action="store_true", help="also run the baseline, and measure the difference")
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args()
    body = {"kind": "image", "prompt": given.prompt, "steps": given.steps, "compare": given.compare}
    key = os.environ.get("SKIPSTEP_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=given.url, headers=headers, timeout=60) as client:
        job = submit(client, {**body, "acceleration": {"preset": given.preset}})
        for kind, data in follow(client, job):
            if kind == "progress":
                print(f"evaluation {data['evaluation'] + 1} of {data['evaluations']}: {data['pass']} pass")
        job = _checked(client.get(job["links"]["self"]))
        if job["status"] != "succeeded":
            raise SystemExit(f"the job is {job['status']}: {(job['error'] or {}).get('message', 'no reason is given')}")
        for path in save(client, job, given.out):
            print(f"wrote      {path}")
        show(job["report"])


if __name__ == "__main__":
    main()
