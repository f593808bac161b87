"""What the tests of real clients share: a server of their own with the embedded model, and a row for the table at the end.

A test program ends with rig.main(): it runs the tests of its file and appends what came of them, as one line of JSON, to the file
that SLUICE_CLIENTS_TABLE names.
"""
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

BIN = os.environ.get("SLUICE_BIN", "build/sluice")
STORY = "Once upon a time, there was a little fox who lived in a big forest."
PATIENCE_S = 30  # for what must happen at all; nothing here asserts how soon


class Server:
    """`sluice serve` on a free port. Its home is an empty folder, so that no settings of the user's reach it."""

    def __init__(self, *args, model=None):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-clients-")
        self.log_path = os.path.join(self.folder.name, "log")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("SLUICE_", "XDG_"))}
        env["HOME"] = self.folder.name
        command = [BIN, "serve", "--port", "0", "--threads", "2", *(["-m", model] if model else []), *map(str, args)]
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log, env=env)
        self.port = int(self._wait_for(r"listening on http://127\.0\.0\.1:(\d+)"))
        self._wait_for(r"( is ready:)")
        self.url = f"http://127.0.0.1:{self.port}"
        self.v1 = self.url + "/v1"

    def log(self):
        with open(self.log_path) as f:
            return f.read()

    def _wait_for(self, pattern):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = re.search(pattern, self.log())
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"the server did not say {pattern}:\n{self.log()}")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def stats(self):
        return self.get("/stats")

    def tokens(self, text):
        return self.post("/tokenize", {"content": text})["tokens"]

    def wait_until(self, what, holds):
        """holds(stats) becomes true."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            stats = self.stats()
            if holds(stats):
                return stats
            time.sleep(0.02)
        raise AssertionError(f"never: {what}; {stats}")

    def stop(self):
        """Its end is a test too: told to stop, it stops, and says it was well."""
        self.process.terminate()
        try:
            code = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("the server did not stop when it was told to:\n" + self.log())
        log = self.log()
        self.folder.cleanup()
        assert code == 0, f"the server ended with {code}:\n{log}"


def ppl(text, *args):
    """`sluice ppl --score all` of a text, as its JSON."""
    out = subprocess.run([BIN, "ppl", "--json", "--score", "all", "-f", "-", *map(str, args)], input=text.encode(),
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout
    return json.loads(out)


def hold(server):
    """A stream that takes the only conversation and is answered for minutes; close() gives it free."""
    body = {"prompt": STORY, "max_tokens": 1500, "n": 128, "temperature": 1, "stream": True}
    request = urllib.request.Request(server.v1 + "/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    stream = urllib.request.urlopen(request, timeout=PATIENCE_S)
    server.wait_until("the stream runs", lambda s: s["requests_running"] == 1)
    return stream


notes = []  # measured on the way; they stand in the table and are never asserted


def note(text):
    notes.append(text)


def main(name, *packages):
    """Runs the tests of the file that calls; packages are the clients it is about."""
    start = time.monotonic()
    run = unittest.main(module="__main__", exit=False, verbosity=2).result
    bad = len(run.failures) + len(run.errors)
    row = {
        "name": name,
        "versions": " ".join(f"{p} {importlib.metadata.version(p)}" for p in packages),
        "tests": run.testsRun,
        "failed": bad,
        "skipped": len(run.skipped),
        "seconds": round(time.monotonic() - start, 1),
        "notes": notes,
    }
    if path := os.environ.get("SLUICE_CLIENTS_TABLE"):
        with open(path, "a") as table:
            table.write(json.dumps(row) + "\n")
    sys.exit(bad != 0 or run.testsRun == 0)
