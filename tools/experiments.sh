#!/bin/sh
# Records the traces of docs/experiments.md into FOLDER, where they are not there yet, and prints its tables. Hit rates are counts: they
# are the same on any machine and under any load.
#
# usage: tools/experiments.sh FOLDER      SLUICE_BIN: the program; SLUICE_SHARED: reference data; a trace whose data is absent is left out
set -eu
to=$1
sluice=${SLUICE_BIN:-build/sluice}
shared=${SLUICE_SHARED:-../shared}/data
mkdir -p "$to"

# record NAME DATA command...: the command writes to $to/NAME.part
record() {
    name=$1 data=$2
    shift 2
    [ -e "$to/$name" ] && return
    if [ ! -e "$data" ]; then
        echo "skip $name: $data is not there" >&2
        return
    fi
    echo "recording $name ..." >&2
    "$@"
    mv "$to/$name.part" "$to/$name"
}

stories() { # CHUNK NAME
    head -c 20000 "$shared/text/tinystories_197k.txt" |
        "$sluice" trace -m data/tiny-tales.gguf --quiet --lookahead off --chunk "$1" -f - -o "$to/$2.part"
}
shakespeare() {
    head -c 12000 "$shared/text/tinyshakespeare.val.txt" |
        "$sluice" trace -m "$shared/models/nano-shakespeare/model.f32.gguf" --quiet --lookahead off --chunk 1 -f - -o "$to/shakespeare.slt.part"
}
skewed() { # 1.1 GB in between
    "$sluice" synth --quiet --shape qwen3.5-35b-a3b --layers 4 --vocab 8192 --quant q2_k --dense q4_k --skew 1 --seed 7 -o "$to/skew.gguf"
    "$sluice" run -m "$to/skew.gguf" --quiet --json --lookahead off --ctx 3000 --seed 3 --temp 1 --ids 1,2,3 -n 2500 \
        --trace "$to/skewed.slt.part" > /dev/null
    rm "$to/skew.gguf"
}

record stories.slt "$shared/text/tinystories_197k.txt" stories 1 stories.slt
record prompts.slt "$shared/text/tinystories_197k.txt" stories 64 prompts.slt
record shakespeare.slt "$shared/models/nano-shakespeare/model.f32.gguf" shakespeare
record skewed.slt "$sluice" skewed

for name in stories shakespeare skewed prompts; do
    [ -e "$to/$name.slt" ] || continue
    "$sluice" simulate -f "$to/$name.slt"
    echo
done
