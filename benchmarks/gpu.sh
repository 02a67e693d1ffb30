#!/usr/bin/env bash
# Everything that a rented GPU should tell, in ten minutes: `benchmarks/gpu.sh [FOLDER]`, in an environment with
# skipstep[cli,plot] and, for the peers, DeepCache==0.1.1. TRY=1 runs two of the cases on tiny UNets, on any machine.
set -euo pipefail
out=${1:-gpu-output}
python=${PYTHON:-python}
bench() {
    "$python" -m skipstep bench "$@" --out "$out" || echo "failed: $*" >>"$out/failed.txt"
}
mkdir -p "$out"
rm -f "$out/failed.txt"
if [ -n "${TRY:-}" ]; then
    bench sdxl-unet --model sdxl-tiny --width 64 --height 64 --steps 4 --rounds 1 --backend eager
    bench svd-unet --model svd-tiny --width 64 --height 64 --frames 2 --steps 4 --rounds 1 --backend eager
else
    bench sdxl-unet --dtype float16
    bench sdxl-unet-512 --dtype float16
    bench svd-unet --dtype float16 --rounds 2
    bench svd-unet-25 --dtype float16 --rounds 2
    mkdir -p "$out/bfloat16"
    "$python" -m skipstep bench sdxl-unet --dtype bfloat16 --rounds 2 --out "$out/bfloat16" || echo "failed: bfloat16" >>"$out/failed.txt"
fi
"$python" - "$out" <<'PY'
import json, sys
from pathlib import Path

folder = Path(sys.argv[1])
results = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json")) if file.name != "gpu.json"]
failed = folder / "failed.txt"
lines = failed.read_text().splitlines() if failed.exists() else []
(folder / "gpu.json").write_text(json.dumps({"results": results, "failed": lines}, indent=1) + "\n")
print(f"{len(results)} results in {folder / 'gpu.json'}", *lines, sep="\n")
sys.exit(bool(lines))
PY
