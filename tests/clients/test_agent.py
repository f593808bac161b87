"""A coding agent's session through both APIs: a system prompt of twelve thousand tokens, twenty tools, fifteen requests. Of each request
all but what is new has been computed before, and usage says so."""
import statistics
import time
import unittest

import anthropic
import openai

import agent_session
import rig

SYSTEM_TOKENS, TURNS, CONTEXT = 12000, 15, 32768
HEADER = 16  # what the template puts behind the messages, to open the answer: not there when a turn of the agent follows
server = None


def setUpModule():
    global server
    server = rig.Server("--ctx", CONTEXT, "--state-ram", "512M")


def tearDownModule():
    server.stop()


class Agent(unittest.TestCase):
    def replay(self, name, ask):
        """ask(added messages) sends them behind those before: tokens of the prompt, those that were known, seconds to the first event."""
        rows = [ask(messages) for messages in agent_session.turns(TURNS)]
        self.assertGreater(rows[0][0], SYSTEM_TOKENS)
        self.assertLess(rows[0][1], 64)
        for turn, (before, now) in enumerate(zip(rows, rows[1:]), 2):
            self.assertGreater(now[0], before[0])
            self.assertGreaterEqual(now[1], before[0] - HEADER, f"turn {turn}: {now}, before it {before}")
            self.assertLess(now[1], now[0])
        new = [now[0] - now[1] for now in rows[1:]]
        later = [row[2] for row in rows[1:]]
        rig.note(f"{name}: turn 1 read {rows[0][0]} tokens, first token after {rows[0][2]:.2f} s; turns 2 to {TURNS} read {min(new)} to "
                 f"{max(new)} new tokens of up to {rows[-1][0]}, first token after {statistics.median(later):.2f} s "
                 f"({min(later):.2f} to {max(later):.2f}); {100 * statistics.median(later) / rows[0][2]:.1f} % of turn 1")

    def test_all_but_the_new_tokens_are_known_through_openais_api(self):
        client = openai.OpenAI(base_url=server.v1, api_key="any", max_retries=0, timeout=600)
        text = agent_session.system_prompt(lambda t: len(server.tokens(t)), SYSTEM_TOKENS, "Fox")
        messages, tools = [{"role": "system", "content": text}], agent_session.tools()

        def ask(added):
            messages.extend(added)
            start, first = time.monotonic(), None
            for chunk in client.chat.completions.create(model="any", messages=messages, tools=tools, max_tokens=4, temperature=0,
                                                        stream=True, stream_options={"include_usage": True}):
                if first is None and chunk.choices and chunk.choices[0].delta.content:
                    first = time.monotonic() - start
            return chunk.usage.prompt_tokens, chunk.usage.prompt_tokens_details.cached_tokens, first or time.monotonic() - start
        self.replay("OpenAI", ask)

    def test_all_but_the_new_tokens_are_known_through_anthropics_api(self):
        client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0, timeout=600)
        text = agent_session.system_prompt(lambda t: len(server.tokens(t)), SYSTEM_TOKENS, "Owl")
        messages, tools = [], agent_session.anthropic_tools()

        def ask(added):
            for m in agent_session.anthropic_turn(added):
                messages.append(m)
            start, first = time.monotonic(), None
            with client.messages.stream(model="any", messages=messages, tools=tools, max_tokens=4, extra_body={"temperature": 0},
                                        system=[{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]) as stream:
                for event in stream:
                    if first is None and event.type == "text":
                        first = time.monotonic() - start
                usage = stream.get_final_message().usage
            return usage.input_tokens + usage.cache_read_input_tokens, usage.cache_read_input_tokens, first or time.monotonic() - start
        self.replay("Anthropic", ask)


if __name__ == "__main__":
    rig.main("a coding agent's session", "openai", "anthropic")
