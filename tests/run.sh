#!/bin/sh
# Runs cmocka programs, as many at once as there are CPUs, and adds up their tests. Exit code 77 or a skipped test counts as
# skipped, aloud; a run in which nothing passed is a failure. Seconds stand behind the tests that take some.
passed=0 failed=0 skipped=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# shellcheck disable=SC2016
printf '%s\n' "$@" | xargs -P "${JOBS:-$(nproc)}" -I '{}' sh -c '
    log=$2/$(basename "$1")
    start=$(date +%s)
    "$1" >"$log" 2>&1
    echo $? >"$log.code"
    echo $(($(date +%s) - start)) >"$log.seconds"' _ '{}' "$logs"
count() { sed -n "s/^\[  $1  *\] \([0-9][0-9]*\) test.*/\1/p" "$log" | awk '{ n += $1 } END { print n + 0 }'; }
for test in "$@"; do
    name=${test##*/}
    log=$logs/$name
    code=$(cat "$log.code" 2>/dev/null || echo lost)
    seconds=$(cat "$log.seconds" 2>/dev/null || echo 0)
    p=$(count PASSED) s=$(count SKIPPED)
    f=$(count FAILED)
    case $code in
    0) ;;
    77) [ "$s" -gt 0 ] || s=1 ;;
    *) [ "$f" -gt 0 ] || f=1 ;;
    esac
    grep '^SKIP' "$log"
    if [ "$f" -gt 0 ]; then
        echo "FAIL $name (exit code $code)"
        grep -v '^\[ *\(RUN\|OK\) *\]' "$log" | tail -n 60
    else
        echo "ok   $name: $p passed$([ "$s" -gt 0 ] && echo ", $s skipped")$([ "$seconds" -ge 5 ] && echo ", $seconds s")"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
