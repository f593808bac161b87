#!/usr/bin/env python3
"""What the server costs and what it saves, measured from a client's side. Nothing but Python's own library is needed.

    bench/serve.py overhead -m MODEL   the same prompt and tokens by `sluice bench` and by the server, in turn
    bench/serve.py together -m MODEL   one conversation against several that are answered at the same time, in turn
    bench/serve.py turns -m MODEL      the first turn of a long conversation, the second, and the second after a restart

What follows -- goes to sluice (--ram 8G, --ctx 16384, ...). Prompts are random ids, other ones each time, so that nothing is found that was
computed before unless that is what is measured. Each line printed is one repetition; the last ones are medians with their extremes.
"""
import argparse
import atexit
import http.client
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SLUICE = os.environ.get("SLUICE_BIN", "build/sluice")


class Server:
    """`sluice serve` on a port of its own, until it is stopped."""

    def __init__(self, model, extra):
        command = [SLUICE, "serve", "--port", "0", *(["-m", model] if model else []), *extra]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        atexit.register(self.stop)
        self.port = None
        for line in self.process.stderr:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", line)
            self.port = int(found.group(1)) if found else self.port
            if " is ready" in line:
                break
        else:
            sys.exit(f"{' '.join(command)}: ended with {self.process.wait()}")
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Answer:
    """One streamed completion: how long it took, what its tokens were, and what the server counted."""

    def __init__(self, server, prompt, n, temperature=0, seed=1):
        body = {"prompt": prompt, "max_tokens": n, "temperature": temperature, "seed": seed, "stream": True, "logprobs": 0,
                "stream_options": {"include_usage": True}}
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.connect()
        self.likely, self.usage, self.times = [], None, []
        asked = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            sys.exit(f"the server answered {reply.status}: {reply.read().decode()}")
        for line in reply:
            if not line.startswith(b"data: {"):
                continue
            self.times.append(time.perf_counter())
            event = json.loads(line[6:])
            self.usage = event.get("usage") or self.usage
            for choice in event["choices"]:
                self.likely += (choice.get("logprobs") or {}).get("token_logprobs") or []
        self.ms = 1e3 * (time.perf_counter() - asked)
        connection.close()

    def token_ms(self):
        """Between two tokens. A model without a tokenizer says all at once: then nothing is known."""
        n = self.usage["completion_tokens"]
        return 1e3 * (self.times[-1] - self.times[0]) / (n - 1) if n > 1 and len(self.times) > n / 2 else None


def ids(rng, n, vocab):
    return [rng.randrange(vocab) for _ in range(n)]


def said(name, values, unit):
    print(f"{name:34} {statistics.median(values):10.3f} {unit} ({min(values):.3f} to {max(values):.3f})", flush=True)


def vocabulary(args):
    out = subprocess.run([SLUICE, "inspect", *(["-m", args.model] if args.model else []), "--json"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout.splitlines()[0])["shape"]["vocab"]


def overhead(args):
    """Decoding by the engine alone and through the server; both hold the model at once, and one of them rests. And what it takes until the
    first token when the whole prompt is known: all of that is the server's."""
    rng, vocab = random.Random(args.seed), vocabulary(args)
    server = Server(args.model, args.rest)
    rows = {"bench token": [], "serve token": []}
    known = []
    for i in range(args.reps):
        command = [SLUICE, "bench", "--json", "--reps", "1", "-p", "8", "-n", str(args.tokens), "--seed", str(i + 1)]
        out = subprocess.run([*command, *(["-m", args.model] if args.model else []), *args.rest], capture_output=True, text=True, check=True)
        rows["bench token"].append(1e3 / json.loads(out.stdout)["decode_tok_s"])
        one, token = Answer(server, ids(rng, 8, vocab), 1), None
        while token is None or more.usage["completion_tokens"] < args.tokens / 2:
            more = Answer(server, ids(rng, 8, vocab), args.tokens, temperature=1, seed=rng.randrange(1 << 30))
            token = more.token_ms() or (more.ms - one.ms) / (more.usage["completion_tokens"] - 1)
        rows["serve token"].append(token)
        prompt = ids(rng, args.prompt, vocab)
        Answer(server, prompt, 1)
        known.append(min(Answer(server, prompt, 1).ms for _ in range(5)))
        print("  ".join(f"{name} {values[-1]:.3f} ms" for name, values in rows.items()), f" known prompt {known[-1]:.3f} ms", flush=True)
    server.stop()
    for name, values in rows.items():
        said(name, values, "ms")
    said("token, serve / bench", [b / a for a, b in zip(rows["bench token"], rows["serve token"])], "")
    said("token, serve - bench", [b - a for a, b in zip(rows["bench token"], rows["serve token"])], "ms")
    said("first token of a known prompt", known, "ms")


def at_once(server, prompts, n):
    """Answers to all prompts, asked at the same time, and tokens per second of all of them together, their short prompts included."""
    answers = [None] * len(prompts)

    def ask(i):
        answers[i] = Answer(server, prompts[i], n, temperature=1, seed=i + 1)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, sum(a.usage["completion_tokens"] for a in answers) / (time.perf_counter() - began)


def together(args):
    rng, vocab = random.Random(args.seed), vocabulary(args)
    server = Server(args.model, ["--parallel", str(args.parallel), *args.rest])
    rates, read, wrong = {1: [], args.parallel: []}, {1: [], args.parallel: []}, 0
    for _ in range(args.reps):
        prompts = [ids(rng, args.prompt, vocab) for _ in range(args.parallel)]
        kept = {}
        for n in rates:
            before = server.get("/stats")["totals"]
            answers, rate = at_once(server, prompts[:n], args.tokens)
            after = server.get("/stats")["totals"]
            rates[n].append(rate)
            read[n].append((after["bytes_read"] - before["bytes_read"]) / (after["answer_tokens"] - before["answer_tokens"]) / 1e6)
            kept[n] = answers[0].likely
            print(f"{n} at once: {rate:.3f} tokens/s, {read[n][-1]:.2f} MB read per token, prompts included", flush=True)
        wrong += kept[1] != kept[args.parallel]
    server.stop()
    for n, values in rates.items():
        said(f"{n} at once", values, "tokens/s")
        said(f"{n} at once, read per token", read[n], "MB")
    said(f"{args.parallel} against 1", [b / a for a, b in zip(rates[1], rates[args.parallel])], "")
    print(f"{wrong} of {args.reps} answers differ from the same one alone")
    sys.exit(wrong > 0)


def found(answer):
    return answer.usage["prompt_tokens_details"]["cached_tokens"]


def turns(args):
    """A second turn is the first one's prompt with some new tokens behind it: all but these should be found."""
    rng, vocab = random.Random(args.seed), vocabulary(args)
    rows = {"turn 1": [], "turn 2": [], "turn 2 after a restart": []}
    for _ in range(args.reps):
        folder = tempfile.mkdtemp(prefix="sluice-turns-", dir=args.state_parent)
        first = ids(rng, args.prompt, vocab)
        second = first + ids(rng, args.new, vocab)
        extra = ["--state-dir", folder, *args.rest]
        server = Server(args.model, extra)
        for name, prompt in (("turn 1", first), ("turn 2", second)):
            answer = Answer(server, prompt, 1)
            rows[name].append(answer.ms)
            print(f"{name}: {answer.ms:.1f} ms, {found(answer)} of {answer.usage['prompt_tokens']} found", flush=True)
        server.stop()
        server = Server(args.model, extra)
        answer = Answer(server, second, 1)
        rows["turn 2 after a restart"].append(answer.ms)
        print(f"turn 2 after a restart: {answer.ms:.1f} ms, {found(answer)} of {answer.usage['prompt_tokens']} found", flush=True)
        server.stop()
        shutil.rmtree(folder)
    for name, values in rows.items():
        said(f"ttft of {name}", values, "ms")
    for name in ("turn 2", "turn 2 after a restart"):
        said(f"{name} / turn 1", [b / a for a, b in zip(rows["turn 1"], rows[name])], "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = {"overhead": overhead, "together": together, "turns": turns}
    parser.add_argument("command", choices=commands)
    parser.add_argument("-m", "--model", help="without it the model inside sluice")
    parser.add_argument("-p", "--prompt", type=int, default=512, help="tokens of the (first) prompt")
    parser.add_argument("-n", "--tokens", type=int, default=64, help="tokens of an answer")
    parser.add_argument("--new", type=int, default=100, help="tokens that the second turn adds")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--reps", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state-parent", help="where the folder of --state-dir is made (default: the system's temporary one)")
    mine, rest = sys.argv[1:], []
    if "--" in mine:
        mine, rest = mine[:mine.index("--")], mine[mine.index("--") + 1:]
    args = parser.parse_args(mine)
    args.rest = rest
    commands[args.command](args)


if __name__ == "__main__":
    main()
