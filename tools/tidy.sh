#!/bin/sh
# The laws of the house, checked; called by `make tidy`. One line per check; details only of what failed. Runs everything even
# after a failure. SKIP="cppcheck clang-tidy" leaves checks out, for a quick look. DEEP=1: clang-tidy alone, for as long as it takes.
set -u
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL # `make tidy CC=...` must not reach the builds below
jobs=$(nproc 2>/dev/null || echo 2)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0

# check NAME WHAT COMMAND...
check() {
    name=$1 what=$2
    shift 2
    case " ${SKIP:-} " in *" $name "*)
        echo "skip $name: $what"
        return
        ;;
    esac
    start=$(date +%s)
    if "$@" >"$log" 2>&1; then
        echo "ok   $name: $what ($(($(date +%s) - start)) s)"
    else
        echo "FAIL $name: $what"
        grep -v "^make\|warnings\? generated\|^Suppressed\|^Use -header-filter" "$log" | sed 's/^/     /' | head -n 200
        failed=$((failed + 1))
    fi
}

# The checker must be able to fail: two files with broken laws.
laws_notice() {
    bad=$(mktemp -d)
    mkdir -p "$bad/src/disk"
    {
        printf '#include "store/store.h"\n#include "quant/tables.h"\nvoid *p(void) { return malloc(1); } /* free(p) */\n#ifdef FAST\n#endif\n'
        printf 'int long_one(int n)\n{\n'
        yes '    n++;' | head -n 80
        printf '    return n;\n}\n'
    } >"$bad/src/disk/bad.c"
    printf 'void disk_fine(void);\nvoid hurry(void);\n' >"$bad/src/disk/bad.h"
    found=$(cd "$bad" && awk -f "$OLDPWD/tools/laws.awk" src/disk/bad.c src/disk/bad.h)
    rm -rf "$bad"
    echo "$found"
    [ "$(echo "$found" | cut -d: -f2 | tr '\n' ' ')" = "1 2 3 4 89 2 " ]
}

laws() { make -s laws; }

# No flag that lets a compiler reorder arithmetic or bind the program to this CPU.
flags() {
    ! grep -nE '^[^#]*(-ffast-math|-Ofast|-march=native|-mtune=native|-funsafe-math|-fassociative-math|-ffp-contract=(fast|on))' Makefile
}

# Everything (library, program, tests), objects only. -Wpedantic: no GNU extensions outside os/ and kernels/.
compile() { make -s -k -j"$jobs" CC="$1" BUILD="build/tidy-$1" TIDY=1 EXTRA_CFLAGS="${2:-}" objects; }

# clang warns before it optimises, and by then knows which function lacks which instruction set; gcc needs its optimiser for some
# of its warnings.
unoptimised="-emit-llvm -Xclang -disable-llvm-passes"

clang_tidy() { make -s -k -j"$jobs" BUILD="build/tidy-$1" DEEP="${DEEP:-}" clang-tidy; }

# as it is compiled here; all combinations of what compilers define take four times as long
cpp_check() {
    cppcheck --quiet -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
        --suppressions-list=tools/cppcheck.suppress -D__GNUC__=12 -D__x86_64__ -D__linux__ -DKERNELS_X86 -Isrc -Iinclude src
}

scripts() {
    sh -n tools/deps.sh && sh -n tools/tidy.sh && sh -n tools/check_neon.sh && sh -n tools/mutate.sh && sh -n tests/run.sh && bash -n .ci/run && bash -n tests/fuzz/run.sh
}

if [ -n "${DEEP:-}" ]; then
    check clang-tidy "finds nothing, to the end of each path" clang_tidy deep
    exit "$failed"
fi
check laws-notice "broken laws are seen" laws_notice
check laws "floors, doors, memory, instruction sets, size" laws
check flags "no fast-math, no -march=native" flags
check gcc "compiles without a warning" compile gcc
check clang "compiles without a warning" compile clang "$unoptimised"
check clang-tidy "finds nothing" clang_tidy checks
check cppcheck "finds nothing" cpp_check
check scripts "parse" scripts

[ "$failed" -eq 0 ] || echo "tidy: $failed checks failed"
[ "$failed" -eq 0 ]
