#!/bin/sh
# Makes sure the distribution's libraries are there; installs what is missing with the system's package manager and prints the
# exact command first. `deps.sh --tidy` does the same for the tools of `make tidy`, `deps.sh --arm` for the compiler and the emulator
# of `make check-neon`, `deps.sh --fuzz` for what `make fuzz` needs, `deps.sh --clients` for what `make clients` runs in,
# `deps.sh --emulated` for the headers with which `make check-avx512` emulates AVX-512.
set -eu

debian_name() {
    case $1 in
    jansson) echo libjansson-dev ;; libpcre2-8) echo libpcre2-dev ;; libutf8proc) echo libutf8proc-dev ;;
    liburing) echo liburing-dev ;; libxxhash) echo libxxhash-dev ;; cairo) echo libcairo2-dev ;; libmicrohttpd) echo libmicrohttpd-dev ;; libedit) echo libedit-dev ;;
    cmocka) echo libcmocka-dev ;; *) echo "$1" ;;
    esac
}

missing=
command -v make >/dev/null 2>&1 || missing=" make"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
if [ "${1:-}" = --tidy ]; then
    for tool in gcc clang clang-tidy cppcheck; do
        command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
    done
elif [ "${1:-}" = --clients ]; then
    python3 -c "import venv, ensurepip" 2>/dev/null || missing="$missing python3-venv"
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
elif [ "${1:-}" = --arm ]; then
    command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 || missing="$missing gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    command -v qemu-aarch64-static >/dev/null 2>&1 || missing="$missing qemu-user-static"
elif [ "${1:-}" = --fuzz ]; then
    command -v clang >/dev/null 2>&1 || missing="$missing clang"
    probe='int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n); int LLVMFuzzerTestOneInput(const unsigned char *p, unsigned long n) { return p && n; }'
    echo "$probe" | clang -fsanitize=fuzzer,address -x c -o /dev/null - 2>/dev/null || missing="$missing libclang-rt-dev"
elif [ "${1:-}" = --emulated ]; then
    [ -e /usr/include/simde/x86/avx512.h ] || [ -e /usr/local/include/simde/x86/avx512.h ] || missing="$missing libsimde-dev"
else
    if ! command -v pkg-config >/dev/null 2>&1; then
        missing="$missing pkg-config"
        for lib in "$@"; do missing="$missing $(debian_name "$lib")"; done
    else
        pkg-config --exists "$@" 2>/dev/null || # one call is enough where all is well
            for lib in "$@"; do pkg-config --exists "$lib" 2>/dev/null || missing="$missing $(debian_name "$lib")"; done
    fi
fi
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "sluice needs these packages; install them with your package manager (Debian's names):$missing" >&2
    exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "sluice needs these packages; run as root:  apt-get install$missing" >&2
        exit 1
    fi
    sudo=sudo
fi
echo "installing missing packages:  ${sudo:+sudo }apt-get install -y --no-install-recommends$missing" >&2
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2 || {
    $sudo apt-get update >&2
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2
}
