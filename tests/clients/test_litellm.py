"""litellm against `sluice serve`, as an OpenAI server and as Anthropic's: a smoke test."""
import os
import unittest

os.environ.update({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"})
import litellm

import rig

litellm.suppress_debug_info = True
server = None
TELL = [{"role": "system", "content": "You are a kind story teller."}, {"role": "user", "content": "Tell me a story about a little fox."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {
    "type": "object", "properties": {"at": {"type": "string", "enum": ["sky", "sea"]}}, "required": ["at"]}}}


def setUpModule():
    global server
    server = rig.Server("--ctx", 2048)


def tearDownModule():
    server.stop()


def ask(kind, **more):
    base = server.v1 if kind == "openai" else server.url
    return litellm.completion(**{"model": kind + "/tiny-tales", "api_base": base, "api_key": "any", "messages": TELL, "max_tokens": 40,
                                 "temperature": 0, "num_retries": 0, **more})


class LiteLLM(unittest.TestCase):
    def test_both_apis_answer_alike_whole_and_streamed(self):
        texts = []
        for kind in ("openai", "anthropic"):
            whole = ask(kind)
            self.assertGreater(whole.usage.prompt_tokens, 0)
            texts.append(whole.choices[0].message.content)
            texts.append("".join(c.choices[0].delta.content or "" for c in ask(kind, stream=True) if c.choices))
        self.assertTrue(texts[0])
        self.assertEqual(texts, texts[:1] * 4)

    def test_a_tool_is_called(self):
        for kind in ("openai", "anthropic"):
            answer = ask(kind, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}, max_tokens=300,
                         parallel_tool_calls=False)
            self.assertEqual(answer.choices[0].message.tool_calls[0].function.name, "look")

    def test_errors_keep_their_class(self):
        with self.assertRaises(litellm.BadRequestError):
            ask("openai", temperature=-3)
        with self.assertRaises(litellm.BadRequestError):
            ask("anthropic", temperature=-3)


if __name__ == "__main__":
    rig.main("litellm", "litellm")
