#!/usr/bin/env bash
# Check and measure the GPU path in nine minutes: benchmarks/gpu.sh [DEVICE] [OUT] [PART...]
#
# Needs torch, numpy, transformers, numba, psutil, httpx and prometheus_client; wheels of all else that lie in .whl are
# put where only this run finds them. Each part has a limit of time and writes a log and, where it has figures, JSON to
# OUT; a part that fails or runs out of time does not end the others. A short table of all comes last. Without names of
# parts all are run. MIDI may name a folder of files to embed, about 30 kB each.
# DEVICE cpu runs the same with small shapes, to show that the script comes to its end.
set -uo pipefail
cd "$(dirname "$0")/.."
device=${1:-cuda} out=${2:-${OUT:-$(mktemp -d)}} wanted=" ${*:3} "
mkdir -p "$out"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 TRANSFORMERS_VERBOSITY=error ANTICIPATORY_DEVICE=$device
site=$(mktemp -d)
if compgen -G '.whl/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site" .whl/*.whl
fi
export PYTHONPATH=$site:${PYTHONPATH:-}

if [ "$device" = cpu ]; then
    shapes=(small) rows=(1 4) graph_rows=6 at_a_time=4 seconds=1 rounds=3 requests=40 files=6 events=12 marker='not gpu and not slow'
    tests=(tests/amt/decoding/test_graphs.py) patience=4
else
    shapes=(small medium large) rows=(1 16 64) graph_rows=64 at_a_time=64 seconds=20 rounds=8 requests=200 files=200 events=164
    marker=gpu tests=(tests/amt/decoding/test_graphs.py tests/test_models.py) patience=1
fi

parts=()
part() { # NAME LIMIT COMMAND...: run one part, keep its log, say how it ended
    local name=$1 limit=$2 start=$SECONDS status
    shift 2
    [[ -z ${wanted// /} || $wanted == *" $name "* ]] || return
    echo "== $name: $*"
    timeout -k 5 $((limit * patience)) "$@" >"$out/$name.log" 2>&1
    status=$?
    tail -n 25 "$out/$name.log"
    parts+=("$(printf '%-12s status %-3s %4s s' "$name" "$status" $((SECONDS - start)))")
}

python3 -c "import torch; print(torch.__version__, torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU')"
part tests 100 python3 -m pytest -q -p no:cacheprovider -m "$marker" "${tests[@]}"
part graphs 80 python3 -m benchmarks.graphs --device "$device" --rows "$graph_rows" --json "$out/graphs.json"
for shape in "${shapes[@]}"; do
    [ "$shape" = small ] && precision=() || precision=(--precision bfloat16)
    part "decode-$shape" 80 python3 -m benchmarks.decode --device "$device" --shape "$shape" --rows "${rows[@]}" \
        --events "$events" "${precision[@]}" --json "$out/decode-$shape.json"
done
# The first shape once more, by PyTorch's own kernels.
part decode-unfused 60 python3 -c "import runpy, sys; sys.modules['triton'] = None; runpy.run_module('benchmarks.decode', run_name='__main__')" \
    --device "$device" --shape "${shapes[0]}" --rows "${rows[@]}" --events "$events" --json "$out/decode-unfused.json"
part profile 40 python3 -m benchmarks.profile --device "$device" --rows "${rows[-1]}"
part throughput 90 python3 -m benchmarks.throughput --device "$device" --at-a-time "$at_a_time" --seconds "$seconds" \
    --rounds "$rounds" --repeats 3 --encoders 2
part embeds 50 python3 -m benchmarks.embeds "${MIDI:-tests/data/golden/midi}" --device "$device" --files "$files"
part faults 80 python3 -m benchmarks.faults --requests "$requests"

echo "== all"
printf '%s\n' "${parts[@]}" | tee "$out/parts.txt"
