#!/bin/sh
# The NEON rung in an emulator; called by `make check-neon`. usage: check_neon.sh check-kernels-for-here check-kernels-for-aarch64
set -eu
here=$1 program=$2
qemu=qemu-aarch64-static

# Neoverse N1 has the dot product of bytes, "max" also the matrix product.
for cpu in neoverse-n1 max; do
    echo "-cpu $cpu: NEON against scalar"
    "$qemu" -cpu "$cpu" "$program" >"$program.log" || { cat "$program.log"; exit 1; }
    cat "$program.log"
    grep -q '^neon ' "$program.log" || { echo "the ladder did not find its NEON rung"; exit 1; }
done

echo "-cpu cortex-a57, which has neither: the ladder ends at scalar, and nothing illegal is executed"
status=0
"$qemu" -cpu cortex-a57 "$program" >"$program.log" || status=$?
[ "$status" = 77 ] || { cat "$program.log"; echo "ended with $status instead of 77, which says that there is no rung but scalar"; exit 1; }

echo "scalar here and scalar there: one answer"
"$here" --digest >"$here.digest"
"$qemu" -cpu max "$program" --digest >"$program.digest"
diff "$here.digest" "$program.digest" || { echo "these kernels give other bits on AArch64"; exit 1; }
