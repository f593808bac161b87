"""The `llm` command against `sluice serve`, set up as its documentation says: a smoke test."""
import os
import subprocess
import sys
import tempfile
import unittest

import rig

server = None
LLM = [sys.executable, "-m", "llm"]


def setUpModule():
    global server
    server = rig.Server("--ctx", 2048)


def tearDownModule():
    server.stop()


class Llm(unittest.TestCase):
    def test_a_prompt_is_answered_and_the_conversation_goes_on(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/extra-openai-models.yaml", "w") as f:
                f.write(f"- model_id: fox\n  model_name: tiny-tales\n  api_base: {server.v1}\n  api_key_name: sluice\n")

            def run(*args):
                done = subprocess.run([*LLM, *args], env={**os.environ, "LLM_USER_PATH": folder}, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=rig.PATIENCE_S)
                self.assertEqual(done.returncode, 0, done.stderr)
                return done.stdout.strip()
            options = ("-m", "fox", "--key", "any", "-o", "temperature", "0", "-o", "max_tokens", "40")
            whole = run("-s", "You are a kind story teller.", "Tell me a story about a little fox.", "--no-stream", *options)
            self.assertEqual(run("-s", "You are a kind story teller.", "Tell me a story about a little fox.", *options), whole)
            self.assertTrue(run("-c", "And then?", *options))


if __name__ == "__main__":
    rig.main("llm", "llm")
