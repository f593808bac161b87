#!/bin/sh
# Breaks the code on purpose, one place at a time, and says which test notices: the table of docs/house.md. Works in a tree of its own
# (build/mutations, of HEAD), so that nothing here is touched.
#
# usage: tools/mutate.sh [NUMBER ...]      without numbers: all of tools/mutations.tsv, one mutation a line:
#                                          number, file, what stands there exactly once, what shall stand there, the test to run
# SHARED=... reference data; MAKE=... e.g. "make -j2 CC='ccache gcc'". Ends with 1 when a mutation survived or could not be tried.
set -u
cd "$(dirname "$0")/.." || exit 1
shared=$(cd "${SHARED:-../shared}" 2>/dev/null && pwd || echo "${SHARED:-../shared}")
make=${MAKE:-make}
table=$PWD/tools/mutations.tsv
unset MAKEFLAGS MAKEOVERRIDES MFLAGS MAKELEVEL
tree=$PWD/build/mutations
git worktree remove --force "$tree" 2>/dev/null
rm -rf "$tree" && git worktree add --quiet --force --detach "$tree" HEAD || exit 1
trap 'git worktree remove --force "$tree"' EXIT
trap 'exit 1' HUP INT TERM
cd "$tree" || exit 1

build() { eval "$make -s build/sluice \"\$1\"" >build/make.log 2>&1 </dev/null; }
run() { SLUICE_BIN=build/sluice SLUICE_SHARED=$shared timeout 300 "$1" >build/test.log 2>&1 </dev/null; }

# How the test of build/test.log ended: the first case that failed, or the way in which the program died.
how() {
    case $1 in
    124) echo "does not end" ;;
    *) sed -n 's/^\[  FAILED  \] \([a-z].*\)/\1/p' build/test.log | head -n 1 | grep . || echo "exit code $1" ;;
    esac
}

mkdir -p build
bad=0 sound=" " broken=" "
tab=$(printf '\t')
while IFS=$tab read -r n file original mutated test; do
    [ "$n" = n ] && continue
    [ $# -eq 0 ] || case " $* " in *" $n "*) ;; *) continue ;; esac
    result=
    case $sound$broken in
    *" $test "*) ;;
    *) # once as it is: a test that fails anyway, or passes nothing, catches nothing
        if build "$test" && run "$test" && grep -q '^\[  PASSED  \] [1-9]' build/test.log; then sound="$sound$test "; else broken="$broken$test "; fi
        ;;
    esac
    case $broken in *" $test "*) result="not tried: the test does not pass by itself" ;; esac
    if [ -z "$result" ]; then
        A=$original B=$mutated perl -0pi -e '$n = () = /\Q$ENV{A}\E/g; s/\Q$ENV{A}\E/$ENV{B}/ if $n == 1' "$file" 2>/dev/null
        if git diff --quiet -- "$file"; then
            result="not tried: the place is not there, or not only once"
        elif ! build "$test"; then
            result="not tried: it does not compile"
        elif run "$test"; then
            result=SURVIVED
        else
            result="caught: $(how $?)"
        fi
        git checkout -q -- "$file" 2>/dev/null
    fi
    case $result in caught*) ;; *) bad=$((bad + 1)) ;; esac
    printf '%s\t%s\t%s\t%s\n' "$n" "$file" "${test#build/tests/}" "$result"
done <"$table"
echo "$bad survived or were not tried"
[ "$bad" -eq 0 ]
