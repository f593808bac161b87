#!/usr/bin/env python3
"""Runs the tests of real clients, each in a virtual environment of its own under build/clients-venv, and prints a table at the end.

    tests/clients/run.py short   openai and anthropic: seconds
    tests/clients/run.py long    all of them: minutes
    tests/clients/run.py page    the web page in a browser: no package at all

With --or-skip, clients that cannot be installed here (no PyPI, no venv) are named aloud in one line, and that is no failure.
"""
import concurrent.futures
import datetime
import hashlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
VENVS = os.path.join("build", "clients-venv")
TABLE = os.path.join("build", "clients.jsonl")
# program, environment (None: this Python), whether it belongs to the short run
PROGRAMS = [("test_openai", "official", True), ("test_responses", "official", True), ("test_anthropic", "official", True),
            ("test_lm_eval", "lm-eval", False), ("test_langchain", "others", False), ("test_llm", "others", False),
            ("test_litellm", "litellm", False), ("test_agent", "official", False), ("test_page", None, False)]


def environment(name):
    """Its Python; made where it is not there yet, or where the pinned versions have changed. None: it cannot be had."""
    pins = os.path.join(HERE, "requirements", name + ".txt")
    folder = os.path.join(VENVS, name)
    python, stamp = os.path.join(folder, "bin", "python"), os.path.join(folder, "pins")
    with open(pins, "rb") as f:
        wanted = hashlib.sha256(f.read()).hexdigest()
    if os.path.exists(stamp):
        with open(stamp) as f:
            if f.read() == wanted:
                return python, ""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "-r", pins]
    pip += ["--retries", "0", "--timeout", "10"] if "--or-skip" in sys.argv else []
    for command, seconds in (([sys.executable, "-m", "venv", "--clear", folder], 60), (pip, 40 if "--or-skip" in sys.argv else 900)):
        print("$ " + " ".join(command), flush=True)
        try:
            made = subprocess.run(command, timeout=seconds, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except subprocess.TimeoutExpired:
            return None, f"{command[2]} took longer than {seconds} s"
        if made.returncode:
            last = [line for line in made.stdout.splitlines() if line.strip()] or ["no reason given"]
            return None, f"{command[2]} failed: {last[-1].strip()}"
    with open(stamp, "w") as f:
        f.write(wanted)
    return python, ""


def run(program, name):
    python = sys.executable if name is None else os.path.join(VENVS, name, "bin", "python")
    env = {**os.environ, "SLUICE_CLIENTS_TABLE": TABLE}
    done = subprocess.run([python, "-W", "ignore::ResourceWarning", os.path.join(HERE, program + ".py")], env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    print(f"== {program}\n{done.stdout}", flush=True)
    return done.returncode == 0


def print_table():
    with open(TABLE) as f:
        rows = [json.loads(line) for line in f]
    print(f"\n{'client':<28} {'version':<44} {'tests':>5} {'failed':>6} {'seconds':>7}")
    for row in rows:
        print(f"{row['name']:<28} {row['versions']:<44} {row['tests']:>5} {row['failed']:>6} {row['seconds']:>7}")
    for row in rows:
        for note in row["notes"]:
            print(f"  {row['name']}: {note}")


def main():
    which = next((a for a in sys.argv[1:] if not a.startswith("-")), "short")
    os.chdir(os.path.join(HERE, "..", ".."))
    if not os.path.exists(os.environ.get("SLUICE_BIN", "build/sluice")):
        sys.exit("build/sluice is missing: run make")
    if os.path.exists(TABLE):
        os.remove(TABLE)
    failed, skipped = [], {}
    wanted = [(program, name) for program, name, short in PROGRAMS
              if which == "long" or (which == "short" and short) or (which == "page" and program == "test_page")]
    for name in {name: None for _, name in wanted if name}:
        python, why = environment(name)
        if python is None:
            skipped[name] = why
    wanted = [(program, name) for program, name in wanted if name not in skipped]
    # those of the short run side by side; the others note times, which they would spoil for each other
    with concurrent.futures.ThreadPoolExecutor(2 if which == "short" else 1) as several:
        for (program, _), well in zip(wanted, several.map(lambda w: run(*w), wanted)):
            if not well:
                failed.append(program)
    if os.path.exists(TABLE):
        print_table()
    for name, why in skipped.items():
        print(f"SKIPPED: the clients of {name} cannot be installed here: {why}")
    print(f"{datetime.date.today()}: " + ("failed: " + " ".join(failed) if failed else "nothing failed" if wanted else "nothing ran"))
    sys.exit(bool(failed) or (bool(skipped) and "--or-skip" not in sys.argv))


if __name__ == "__main__":
    main()
