#!/bin/sh
# The NEON rung in an emulator; called by `make check-neon`. usage: check_neon.sh PROGRAM-FOR-AARCH64
set -eu
program=$1
qemu=qemu-aarch64-static

echo "a CPU with the dot product of bytes: NEON against scalar"
"$qemu" -cpu max "$program" >"$program.log" || { cat "$program.log"; exit 1; }
cat "$program.log"
grep -q '^neon ' "$program.log" || { echo "the ladder did not find its NEON rung"; exit 1; }

echo "a CPU without (Cortex-A57): the ladder ends at scalar, and nothing illegal is executed"
status=0
"$qemu" -cpu cortex-a57 "$program" >"$program.log" || status=$?
[ "$status" = 77 ] || { cat "$program.log"; echo "ended with $status instead of 77, which says that there is no rung but scalar"; exit 1; }
