"""The official openai library against `sluice serve`: the Responses API."""
import json
import unittest
from typing import Literal

import openai
from pydantic import BaseModel

import rig

server = None
client = None
TELL = "Tell me a story about a little fox."
LOOK = {"type": "function", "name": "look", "description": "Looks somewhere.", "strict": True, "parameters": {
    "type": "object", "properties": {"at": {"type": "string", "enum": ["sky", "sea"]}}, "required": ["at"], "additionalProperties": False}}


class Animal(BaseModel):
    kind: Literal["fox", "owl"]
    wild: bool


def setUpModule():
    global server, client
    server = rig.Server("--ctx", 2048)
    client = openai.OpenAI(base_url=server.v1, api_key="any", max_retries=0, timeout=rig.PATIENCE_S)


def tearDownModule():
    server.stop()


def respond(**more):
    return client.responses.create(**{"model": "tiny-tales", "input": TELL, "instructions": "You are a kind story teller.",
                                      "max_output_tokens": 40, "temperature": 0, "reasoning": {"effort": "none"}, **more})


class Responses(unittest.TestCase):
    def test_an_answer_has_every_part_that_the_library_names(self):
        r = respond(input="Hi", metadata={"of": "mine"})
        self.assertEqual((r.object, r.status, r.model, r.error, r.incomplete_details), ("response", "completed", "tiny-tales", None, None))
        self.assertTrue(r.output_text)
        message, = r.output
        self.assertEqual((message.type, message.role, message.status, message.content[0].type),
                         ("message", "assistant", "completed", "output_text"))
        self.assertEqual(r.usage.total_tokens, r.usage.input_tokens + r.usage.output_tokens)
        self.assertGreaterEqual(r.usage.input_tokens_details.cached_tokens, 0)
        self.assertEqual(r.metadata, {"of": "mine"})
        self.assertIsNone(r.previous_response_id)

    def test_it_is_the_answer_of_chat_completions(self):
        chat = client.chat.completions.create(model="tiny-tales", max_tokens=40, temperature=0, messages=[
            {"role": "system", "content": "You are a kind story teller."}, {"role": "user", "content": TELL}])
        self.assertEqual(respond().output_text, chat.choices[0].message.content)

    def test_an_answer_that_was_cut_is_incomplete(self):
        r = respond(max_output_tokens=5)
        self.assertEqual((r.status, r.incomplete_details.reason, r.usage.output_tokens), ("incomplete", "max_output_tokens", 5))

    def test_the_events_of_a_stream_come_in_order_and_end_with_the_whole(self):
        whole = respond(input="Hi")
        events = list(respond(input="Hi", stream=True))
        self.assertEqual([e.sequence_number for e in events], list(range(len(events))))
        kinds = [e.type.removeprefix("response.") for e in events]
        for one in set(kinds) - {"output_text.delta"}:
            self.assertEqual(kinds.count(one), 1, one)
        order = ["created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
                 "content_part.done", "output_item.done", "completed"]
        self.assertEqual([k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k], order)
        self.assertEqual("".join(e.delta for e in events if e.type == "response.output_text.delta"), whole.output_text)
        last = events[-1].response
        self.assertEqual((last.output_text, last.status), (whole.output_text, "completed"))
        self.assertEqual(last.usage.output_tokens, whole.usage.output_tokens)

    def test_the_librarys_own_stream_puts_the_answer_together(self):
        with client.responses.stream(model="tiny-tales", input="Hi", max_output_tokens=40, temperature=0) as stream:
            text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
            self.assertEqual(stream.get_final_response().output_text, text)

    def test_reasoning_is_an_item_of_its_own_and_may_come_back(self):
        r = respond(reasoning={"effort": "high"}, max_output_tokens=400)
        self.assertEqual([o.type for o in r.output], ["reasoning", "message"])
        self.assertTrue(r.output[0].content[0].text)
        self.assertGreater(r.usage.output_tokens_details.reasoning_tokens, 0)
        streamed = list(respond(reasoning={"effort": "high"}, max_output_tokens=400, stream=True))
        self.assertEqual("".join(e.delta for e in streamed if e.type == "response.reasoning_text.delta"), r.output[0].content[0].text)
        turn = [{"role": "user", "content": TELL}, *r.output, {"role": "user", "content": "And then?"}]
        again = respond(input=turn, reasoning={"effort": "high"})
        self.assertGreaterEqual(again.usage.input_tokens_details.cached_tokens, r.usage.input_tokens + r.usage.output_tokens - 1)

    def test_a_forced_call_comes_and_its_result_goes_back(self):
        force = {"tools": [LOOK], "max_output_tokens": 300, "parallel_tool_calls": False}
        r = respond(tool_choice={"type": "function", "name": "look"}, **force)
        call, = [o for o in r.output if o.type == "function_call"]
        self.assertEqual(call.name, "look")
        self.assertIn(json.loads(call.arguments)["at"], ("sky", "sea"))
        streamed = list(respond(tool_choice={"type": "function", "name": "look"}, stream=True, **force))
        self.assertEqual("".join(e.delta for e in streamed if e.type == "response.function_call_arguments.delta"), call.arguments)
        done, = [e for e in streamed if e.type == "response.function_call_arguments.done"]
        self.assertEqual((done.arguments, done.name), (call.arguments, "look"))
        turn = [{"role": "user", "content": TELL}, *r.output,
                {"type": "function_call_output", "call_id": call.call_id, "output": "It is blue."}]
        again = respond(input=turn, **force)
        self.assertGreaterEqual(again.usage.input_tokens_details.cached_tokens, r.usage.input_tokens + r.usage.output_tokens - 1)

    def test_a_pydantic_model_comes_back_parsed(self):
        r = client.responses.parse(model="tiny-tales", input=TELL, text_format=Animal, temperature=1, max_output_tokens=300,
                                   extra_body={"seed": 1}, reasoning={"effort": "none"})
        self.assertIsInstance(r.output_parsed, Animal)

    def test_what_is_not_there_is_refused_by_name(self):
        for more, field in (({"previous_response_id": "resp_1"}, "previous_response_id"), ({"background": True}, "background"),
                            ({"tools": [{"type": "web_search"}]}, "tools[0].type"), ({"input": []}, "input")):
            with self.assertRaises(openai.BadRequestError) as caught:
                respond(**more)
            self.assertEqual(caught.exception.param, field)
        with self.assertRaises(openai.NotFoundError):
            client.responses.retrieve("resp_1")
        with self.assertRaises(openai.UnprocessableEntityError):
            respond(input="fox " * 5000)

    def test_what_cannot_change_the_answer_is_taken(self):
        self.assertEqual(respond(store=True, user="me", service_tier="auto", include=["reasoning.encrypted_content"], truncation="disabled",
                                 prompt_cache_key="k", text={"verbosity": "medium"}).output_text, respond().output_text)


if __name__ == "__main__":
    rig.main("openai: responses", "openai")
