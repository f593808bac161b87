#!/usr/bin/env python3
"""The same file under the same memory limit, sluice and others in turn.

    bench/peers/compare.py -m model.gguf --limit 8G --venv /tmp/peer --llama-bench ~/llama.cpp/build/bin/llama-bench
    bench/peers/compare.py -m small.gguf --warm --venv /tmp/peer

Every run starts with the model's pages dropped from the page cache: pages that another run left there would be answered from memory
that is not in the limit. --warm is for a model that fits: everybody reads it whole first, in a prompt that does not count, and
llama.cpp may lay its weights out anew, as it does by default. One JSON line per run goes to --out, the table to standard output."""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("-m", "--model", required=True)
    a.add_argument("--limit", default="none", help="memory of the whole process group: 8G; none")
    a.add_argument("--warm", action="store_true", help="the model fits into memory: one prompt before the one that counts")
    a.add_argument("-p", type=int, default=64)
    a.add_argument("-n", type=int, default=16)
    a.add_argument("--peer-p", type=int, help="prompt tokens for the peers, where they are much slower (default: -p)")
    a.add_argument("--peer-n", type=int, help="decoded tokens for the peers (default: -n)")
    a.add_argument("--rounds", type=int, default=2)
    a.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    a.add_argument("--sluice", default=os.path.join(HERE, "../../build/sluice"))
    a.add_argument("--venv", help="folder that setup.sh made: compare with llama.cpp through llama-cpp-python")
    a.add_argument("--llama-bench", action="append", default=[], help="a program with llama-bench's interface; may be given several times")
    a.add_argument("--timeout", type=float, default=3600, help="seconds for one run (default 3600)")
    a.add_argument("--out", default=None, help="file for one JSON line per run")
    return a.parse_args()


def drop_cache(path):
    """Of a split file or a folder all parts."""
    folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    names = [os.path.join(folder, n) for n in os.listdir(folder)] if os.path.isdir(path) or "-of-" in path else [path]
    for name in names:
        if not os.path.isfile(name):
            continue
        fd = os.open(name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def end(p):
    os.killpg(p.pid, signal.SIGTERM)
    try:
        p.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()


def run(o, command):
    """Standard output of the command under the limit, or why there is none."""
    if o.limit != "none":
        command = [os.path.join(HERE, "../limit.sh"), o.limit] + command
    drop_cache(o.model)
    # a group of its own, so that a timeout ends the limit script and what it runs
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        out, err = p.communicate(timeout=o.timeout)
    except subprocess.TimeoutExpired:
        end(p)
        return None, f"not done after {o.timeout:.0f} s"
    except BaseException:  # Ctrl-C, or somebody ends us: nothing that we started may stay
        end(p)
        raise
    if p.returncode:
        return None, f"failed with {p.returncode}: {err.strip().splitlines()[-1] if err.strip() else 'nothing was said'}"
    return out, None


def of_sluice(o):
    out, why = run(o, [o.sluice, "bench", "-m", o.model, "-p", str(o.p), "-n", str(o.n), "--reps", "2" if o.warm else "1",
                       "--threads", str(o.threads), "--json"])
    if why:
        return {"why": why}
    j = json.loads(out)
    last = {k: j["runs"][-1][k] for k in ("prefill_tok_s", "decode_tok_s", "hit_rate")}
    return last | {k: j[k] for k in ("bound_tok_s", "bound_serial_tok_s", "bound_dram_tok_s", "bound_by", "dram_gb_s_probe", "rss_max_bytes")}


def of_llama_cpp(o):
    command = [os.path.join(o.venv, "bin/python"), os.path.join(HERE, "llama_cpp_run.py"), "-m", o.model, "-p", str(o.peer_p), "-n",
               str(o.peer_n), "-t", str(o.threads)]
    out, why = run(o, command + ["--warm"] if o.warm else command)
    return {"why": why} if why else json.loads(out.strip().splitlines()[-1])


def of_llama_bench(o, program):
    out, why = run(o, [program, "-m", o.model, "-p", str(o.peer_p), "-n", str(o.peer_n), "-t", str(o.threads), "-r", "1", "-o", "json"])
    if why:
        return {"why": why}
    result = {}
    for test in json.loads(out):
        if test.get("n_prompt") and not test.get("n_gen"):
            result["prefill_tok_s"] = test["avg_ts"]
        elif test.get("n_gen") and not test.get("n_prompt"):
            result["decode_tok_s"] = test["avg_ts"]
    return result


def median(runs, key):
    values = [r[key] for r in runs if r.get(key)]
    return statistics.median(values) if values else None


def table(o, results):
    ours = {key: median(results["sluice"], key) for key in ("prefill_tok_s", "decode_tok_s")}
    print(f"\n{o.model}, limit {o.limit}, {o.threads} threads, medians of {o.rounds} rounds, tokens/s (sluice is so many times faster)\n")
    print(f"{'':32}{'prefill':>12}{'':>10}{'decode':>12}")
    for name, runs in results.items():
        line = f"{name[:31]:32}"
        for key in ("prefill_tok_s", "decode_tok_s"):
            v = median(runs, key)
            ratio = f"({ours[key] / v:.1f}x)" if v and ours[key] and name != "sluice" else ""
            line += f"{v:12.3f} {ratio:>9}" if v else f"{'-':>12} {'':>9}"
        print(line)
        for why in {r["why"] for r in runs if "why" in r}:
            print(f"    {why}")


def main():
    o = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    o.peer_p = o.p if o.peer_p is None else o.peer_p
    o.peer_n = o.n if o.peer_n is None else o.peer_n
    engines = {"sluice": of_sluice}
    if o.venv:
        engines["llama-cpp-python"] = of_llama_cpp
    for program in o.llama_bench:
        engines[os.path.basename(program)] = lambda o, program=program: of_llama_bench(o, program)
    results = {name: [] for name in engines}
    out = open(o.out, "a", encoding="utf-8") if o.out else None
    for r in range(o.rounds):
        order = list(engines.items())
        for name, measure in order if r % 2 == 0 else reversed(order):
            print(f"round {r + 1} of {o.rounds}: {name}", file=sys.stderr)
            result = measure(o)
            results[name].append(result)
            if out:
                print(json.dumps({"engine": name, "limit": o.limit, "round": r + 1, **result}), file=out, flush=True)
    table(o, results)
    return 1 if any("why" in r for r in results["sluice"]) else 0


sys.exit(main())
