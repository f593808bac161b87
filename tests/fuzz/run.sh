#!/bin/bash
# Fuzzes each target for FUZZ_SECONDS of CPU time (a machine that was busy, or a process that was stopped, takes nothing away), as many
# at once as FUZZ_JOBS; called by `make fuzz`. What is found lies in build/fuzz/found, what corpora have grown to in build/fuzz/corpus,
# what the fuzzers said in build/fuzz/log. FUZZ_UNDER: a command that each fuzzer runs under, such as "nice".
#
# usage: tests/fuzz/run.sh FOLDER [NAME...]
set -u
programs=$1
shift
seconds=${FUZZ_SECONDS:-600}
work=${programs%/tests/fuzz}
names=("$@")
[ ${#names[@]} -gt 0 ] || for p in "$programs"/test_*; do [ -x "$p" ] && names+=("${p##*/test_}"); done

# one target until its time is up or it finds something
fuzz_one() {
    local name=$1 programs=$2 work=$3 seconds=$4 cpu=0 runs=0 code=0 left line
    local corpus=$work/corpus/$name log=$work/log/$name source=tests/fuzz/corpus/$name
    mkdir -p "$corpus" "$work/log" "$work/found"
    : >"$log"
    local options=(-print_final_stats=1 -max_len=4096 -timeout=${FUZZ_TIMEOUT:-60} -rss_limit_mb=2048 -malloc_limit_mb=512 -use_value_profile=0
        "-artifact_prefix=$work/found/$name-")
    [ "$name" = http ] && options+=(-detect_leaks=0) # it has threads, and looks for itself
    [ -f "tests/fuzz/$name.dict" ] && options+=("-dict=tests/fuzz/$name.dict")
    while [ "$cpu" -lt "$seconds" ] && [ "$code" = 0 ] && [ "$runs" -lt 1000 ]; do
        left=$((seconds - cpu))
        line=$(
            CMOCKA_TEST_ABORT=1 ASAN_OPTIONS=allocator_may_return_null=1 \
                ${FUZZ_UNDER:-} "$programs/test_$name" "${options[@]}" "-max_total_time=$((left < 300 ? left : 300))" "$corpus" "$source" \
                >>"$log" 2>&1
            echo "$?"
            times
        )
        code=${line%%$'\n'*}
        cpu=$((cpu + $(tail -n 1 <<<"$line" | awk -F'[ms ]' '{ print int(60 * ($1 + $4) + $2 + $5) }')))
        runs=$((runs + 1))
    done
    awk -v name="$name" -v cpu="$cpu" -v code="$code" '
        /^stat::number_of_executed_units/ { n += $2 }
        / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") cov = $(i + 1); if ($i == "ft:") ft = $(i + 1) } }
        /INITED/ { if (!began) began = ft }
        /LeakSanitizer: detected/ { leaks++ }
        /^SUMMARY:/ { found++ }
        END { printf "%-10s %6d CPU s %12d runs  coverage %6d  features %6d (+%d)  %s\n", name, cpu, n, cov, ft, ft - began,
              code == 0 ? "no crash, no leak" : (leaks ? "LEAK" : "CRASH") " (" code ")" }' "$log"
    [ "$code" = 0 ]
}
export -f fuzz_one
export FUZZ_UNDER=${FUZZ_UNDER:-}
printf '%s\n' "${names[@]}" | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I '{}' bash -c 'fuzz_one "$@"' _ '{}' "$programs" "$work" "$seconds"
