#!/bin/sh
# One model under ever larger memory limits: speed must rise at every step, memory must stay below the limit, and the answer must be
# the same bytes everywhere. One JSON line per run on standard output, the verdict on standard error.
#
#   bench/ladder.sh MODEL [bench options] > ladder.jsonl
#
# SLUICE: the program (build/sluice). LIMITS: "4G 6G 8G 12G 16G none". ROUNDS: 2, every other one in reverse order, so that a machine
# that becomes slower or faster meanwhile favours none. IDS: the tokens whose logits are compared.
set -eu
here=$(dirname "$0")
sluice=${SLUICE:-$here/../build/sluice}
limits=${LIMITS:-4G 6G 8G 12G 16G none}
rounds=${ROUNDS:-2}
ids=${IDS:-1,2,3,5,8,13,21,34,55,89,144,233}
[ $# -ge 1 ] || { echo "usage: ladder.sh MODEL [bench options]" >&2; exit 2; }
model=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

reversed=
for l in $limits; do reversed="$l $reversed"; done

under() { # LIMIT COMMAND...
    limit=$1
    shift
    if [ "$limit" = none ]; then "$@"; else LIMIT_PEAK=$work/peak "$here/limit.sh" "$limit" "$@"; fi
}

bad=0
round=1
while [ "$round" -le "$rounds" ]; do
    order=$limits
    [ $((round % 2)) -eq 1 ] || order=$reversed
    for l in $order; do
        : >"$work/peak"
        if under "$l" "$sluice" bench -m "$model" --json "$@" >"$work/out"; then
            peak=$(cat "$work/peak")
            sed "s/^{/{\"limit\": \"$l\", \"round\": $round, \"group_peak_bytes\": ${peak:-null}, /" "$work/out"
        else
            echo "ladder.sh: bench under $l failed" >&2
            bad=1
        fi
    done
    round=$((round + 1))
done

first=
for l in $limits; do
    if ! under "$l" "$sluice" logits -m "$model" --ids "$ids" --last 4 -o "$work/$l.safetensors" --quiet; then
        echo "ladder.sh: logits under $l failed" >&2
        bad=1
    elif [ -z "$first" ]; then
        first=$l
    elif ! cmp "$work/$first.safetensors" "$work/$l.safetensors" >&2; then
        echo "ladder.sh: the answer under $l is not the answer under $first" >&2
        bad=1
    fi
done
[ $bad -ne 0 ] || echo "ladder.sh: logits are the same bytes under $limits" >&2
exit $bad
