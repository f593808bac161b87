#!/bin/sh
# Runs a command with a limit on the memory of the whole group, page cache included.
#
#   bench/limit.sh 8G build/sluice bench -m model.gguf
#
# Uses a control group of version 1 or 2, whichever is mounted and may be written. LIMIT_PEAK=FILE: writes there the most that the
# group ever held, in bytes (page cache that the kernel could have dropped is part of it).
set -eu

die() { echo "limit.sh: $*" >&2; exit 1; }
[ $# -ge 2 ] || die "usage: limit.sh SIZE COMMAND...   (SIZE: 512M, 8G)"

number=${1%[KMGkmg]}
case $number in '' | *[!0-9]*) die "$1 is no size; write 512M or 8G" ;; esac
case $1 in
*[Kk]) bytes=$((number * 1024)) ;;
*[Mm]) bytes=$((number * 1024 * 1024)) ;;
*[Gg]) bytes=$((number * 1024 * 1024 * 1024)) ;;
*) bytes=$number ;;
esac
shift

cure="run as root, or let systemd do it: systemd-run --user --scope -p MemoryMax=$bytes -p MemorySwapMax=0 COMMAND"
name=sluice-limit-$$
# the last process may take a moment to be gone
leave() { for _ in 1 2 3 4 5; do if rmdir "$group" 2>/dev/null; then return; fi; sleep 0.2; done; }
trap 'exit 143' TERM
trap 'exit 130' INT
own() { sed -n "s/^[0-9]*:$1://p" /proc/self/cgroup | head -n 1; } # this process's group below the mount

if [ -d /sys/fs/cgroup/memory ]; then
    at=/sys/fs/cgroup/memory$(own '[^:]*memory[^:]*')
    [ -d "$at" ] || at=/sys/fs/cgroup/memory # a container sees its own group as the root
    group=${at%/}/$name
    mkdir "$group" 2>/dev/null || die "may not create $group; $cure"
    trap leave EXIT
    echo "$bytes" >"$group/memory.limit_in_bytes" || die "may not set the limit of $group; $cure"
    [ ! -w "$group/memory.memsw.limit_in_bytes" ] || echo "$bytes" >"$group/memory.memsw.limit_in_bytes"
    peak=$group/memory.max_usage_in_bytes
elif [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    grep -qw memory /sys/fs/cgroup/cgroup.controllers || die "the kernel was started without the memory controller (cgroup_disable)"
    # a group with processes may not hand controllers on, so the new one stands beside ours, below the parent
    at=/sys/fs/cgroup$(dirname "$(own '')/.")
    at=$(dirname "$at")
    case $at in /sys/fs/cgroup*) ;; *) at=/sys/fs/cgroup ;; esac
    echo +memory >"$at/cgroup.subtree_control" 2>/dev/null || true
    group=${at%/}/$name
    mkdir "$group" 2>/dev/null || die "may not create $group; $cure"
    trap leave EXIT
    [ -w "$group/memory.max" ] || die "$group has no memory controller; $cure"
    echo "$bytes" >"$group/memory.max" || die "may not set the limit of $group; $cure"
    [ ! -w "$group/memory.swap.max" ] || echo 0 >"$group/memory.swap.max"
    peak=$group/memory.peak
else
    die "no memory control group is mounted below /sys/fs/cgroup; $cure"
fi

status=0
# a shell of its own enters the group and becomes the command, so that nothing of ours is counted
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" || status=$?
if [ -n "${LIMIT_PEAK:-}" ] && [ -r "$peak" ]; then cat "$peak" >"$LIMIT_PEAK"; fi
[ $status -ne 137 ] || echo "limit.sh: the command was killed; the kernel does that where a group cannot stay below its limit" >&2
exit $status
