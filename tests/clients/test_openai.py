"""The official openai library against `sluice serve`: chat completions and completions."""
import asyncio
import json
import math
import unittest
from typing import List, Literal

import openai
from pydantic import BaseModel, Field

import rig

server = None
client = None
MODEL = "tiny-tales"
HI = [{"role": "user", "content": "Hi"}]
TELL = [{"role": "system", "content": "You are a kind story teller."},
        {"role": "user", "content": "Tell me a story about a little fox."}]
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {
        "town": {"type": "string", "enum": ["Paris", "Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "metric": {"type": "boolean"}}, "required": ["town", "days", "metric"], "additionalProperties": False}}}
CLOCK = {"type": "function", "function": {"name": "get_time", "parameters": {
    "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"], "additionalProperties": False}}}


class Animal(BaseModel):
    kind: Literal["fox", "owl", "bear"]
    age: int = Field(ge=0, le=99)
    wild: bool


class Zoo(BaseModel):
    name: Literal["North", "South"]
    animals: List[Animal] = Field(min_length=1, max_length=2)


def setUpModule():
    global server, client
    server = rig.Server("--ctx", 2048, "--parallel", 2)
    client = openai.OpenAI(base_url=server.v1, api_key="any", max_retries=0, timeout=rig.PATIENCE_S)


def tearDownModule():
    server.stop()


def chat(messages=HI, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, "max_tokens": 40, "temperature": 0, **more})


def call_ids_aside(message):
    """A message without what is new each time."""
    plain = message.model_dump(exclude_none=True)
    for call in plain.get("tool_calls") or []:
        call.pop("id"), call.pop("index", None)
    return plain


class Chat(unittest.TestCase):
    def test_an_answer_has_every_part_that_the_library_names(self):
        answer = chat()
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, MODEL)
        self.assertTrue(answer.id.startswith("chatcmpl-"))
        self.assertGreater(answer.created, 1_600_000_000)
        choice, = answer.choices
        self.assertEqual((choice.index, choice.finish_reason, choice.message.role), (0, "stop", "assistant"))
        self.assertTrue(choice.message.content)
        self.assertIsNone(choice.message.tool_calls)
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreater(usage.prompt_tokens, 0)

    def test_a_stream_is_the_answer_that_is_not_streamed(self):
        whole = chat(TELL, max_tokens=60)
        chunks = list(chat(TELL, max_tokens=60, stream=True, stream_options={"include_usage": True}))
        parts = [c.choices[0] for c in chunks if c.choices]
        self.assertEqual("".join(p.delta.content or "" for p in parts), whole.choices[0].message.content)
        self.assertGreater(len(parts), 10)
        self.assertEqual(parts[0].delta.role, "assistant")
        self.assertEqual([p.finish_reason for p in parts if p.finish_reason], [whole.choices[0].finish_reason])
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual([c.usage is not None for c in chunks], [False] * (len(chunks) - 1) + [True])
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[-1].usage.prompt_tokens, whole.usage.prompt_tokens)

    def test_without_being_asked_a_stream_counts_nothing(self):
        self.assertTrue(all(c.usage is None and c.choices for c in chat(stream=True)))

    def test_the_librarys_own_stream_puts_the_answer_together(self):
        whole = chat()
        with client.chat.completions.stream(model=MODEL, messages=HI, max_tokens=40, temperature=0) as events:
            text = "".join(e.delta for e in events if e.type == "content.delta")
            final = events.get_final_completion()
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(final.choices[0].message.content, text)

    def test_reasoning_comes_apart_from_the_answer(self):
        think = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}, "max_tokens": 300}
        whole = chat(TELL, **think)
        thought = whole.choices[0].message.reasoning_content
        self.assertTrue(thought and whole.choices[0].message.content)
        self.assertNotIn("<think>", thought + whole.choices[0].message.content)
        self.assertGreater(whole.usage.completion_tokens_details.reasoning_tokens, 0)
        parts = [c.choices[0].delta for c in chat(TELL, stream=True, **think)]
        self.assertEqual("".join(getattr(p, "reasoning_content", None) or "" for p in parts), thought)
        self.assertEqual("".join(p.content or "" for p in parts), whole.choices[0].message.content)
        self.assertEqual(call_ids_aside(chat(TELL, max_tokens=300, reasoning_effort="high").choices[0].message),
                         call_ids_aside(whole.choices[0].message))
        self.assertIsNone(getattr(chat(TELL, reasoning_effort="none").choices[0].message, "reasoning_content", None))

    def test_parts_of_text_are_one_text_and_developer_is_the_system(self):
        one = chat(TELL)
        parts = [{"role": "developer", "content": [{"type": "text", "text": "You are a kind "}, {"type": "text", "text": "story teller."}]},
                 {"role": "user", "content": [{"type": "text", "text": TELL[1]["content"]}]}]
        self.assertEqual(chat(parts).choices[0].message.content, one.choices[0].message.content)

    def test_a_stop_string_ends_the_answer_and_is_not_shown(self):
        text = chat(TELL, max_tokens=60).choices[0].message.content
        word = text.split()[5]
        cut = chat(TELL, max_tokens=60, stop=[word, "never in a story"])
        self.assertEqual(cut.choices[0].message.content, text[:text.index(word)])
        self.assertEqual(cut.choices[0].finish_reason, "stop")
        streamed = "".join(c.choices[0].delta.content or "" for c in chat(TELL, max_tokens=60, stop=word, stream=True))
        self.assertEqual(streamed, cut.choices[0].message.content)

    def test_length_is_said_where_the_answer_was_cut(self):
        for name in ("max_tokens", "max_completion_tokens"):
            answer = client.chat.completions.create(model=MODEL, messages=TELL, temperature=0, **{name: 5})
            self.assertEqual((answer.choices[0].finish_reason, answer.usage.completion_tokens), ("length", 5))

    def test_a_seed_repeats_an_answer_and_another_one_does_not(self):
        def say(seed):
            return chat(TELL, temperature=1, seed=seed, max_tokens=60).choices[0].message.content
        self.assertEqual(say(7), say(7))
        self.assertNotEqual(say(7), say(8))

    def test_n_answers_are_those_of_the_seeds_behind_the_first(self):
        several = chat(TELL, temperature=1, seed=40, n=3, max_tokens=30)
        self.assertEqual([c.index for c in several.choices], [0, 1, 2])
        alone = [chat(TELL, temperature=1, seed=40 + i, max_tokens=30).choices[0].message.content for i in range(3)]
        self.assertEqual([c.message.content for c in several.choices], alone)
        told = ["", "", ""]
        for chunk in chat(TELL, temperature=1, seed=40, n=3, max_tokens=30, stream=True):
            told[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(told, alone)

    def test_logprobs_tell_each_token_and_its_rivals(self):
        answer = chat(TELL, logprobs=True, top_logprobs=4, max_tokens=12)
        rows = answer.choices[0].logprobs.content
        self.assertEqual(len(rows), answer.usage.completion_tokens)
        self.assertEqual("".join(r.token for r in rows), answer.choices[0].message.content)
        for row in rows:
            self.assertEqual(bytes(row.bytes).decode(), row.token)
            self.assertEqual(len(row.top_logprobs), 4)
            self.assertEqual(row.top_logprobs[0].token, row.token)  # temperature 0
            self.assertEqual(row.top_logprobs[0].logprob, row.logprob)
            self.assertLess(sum(math.exp(t.logprob) for t in row.top_logprobs), 1 + 1e-6)
        streamed = [r for c in chat(TELL, logprobs=True, top_logprobs=4, max_tokens=12, stream=True)
                    for r in (c.choices[0].logprobs.content if c.choices[0].logprobs else [])]
        self.assertEqual([r.model_dump() for r in streamed], [r.model_dump() for r in rows])

    def test_what_was_read_before_is_counted_as_cached(self):
        history = TELL + [{"role": "assistant", "content": chat(TELL).choices[0].message.content}]
        again = chat(history + [{"role": "user", "content": "What did the fox do then?"}])
        before = chat(TELL).usage
        cached = again.usage.prompt_tokens_details.cached_tokens
        self.assertGreaterEqual(cached, before.prompt_tokens)
        self.assertLess(cached, again.usage.prompt_tokens)

    def test_a_raw_response_carries_the_headers_of_http(self):
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI, max_tokens=2)
        self.assertTrue(raw.headers["content-type"].startswith("application/json"))
        self.assertEqual(raw.parse().object, "chat.completion")


class Tools(unittest.TestCase):
    def check_weather(self, call):
        self.assertEqual((call.type, call.function.name), ("function", "get_weather"))
        args = json.loads(call.function.arguments)
        self.assertEqual(set(args), {"town", "days", "metric"})
        self.assertIn(args["town"], ("Paris", "Rome", "Oslo"))
        self.assertIs(type(args["days"]), int)
        self.assertIs(type(args["metric"]), bool)

    def forced(self, **more):
        return chat(TELL, **{"tools": [WEATHER, CLOCK], "temperature": 1, "seed": 3, "max_tokens": 400, "parallel_tool_calls": False,
                             "tool_choice": {"type": "function", "function": {"name": "get_weather"}}, **more})

    def test_a_forced_call_comes_and_keeps_to_its_schema(self):
        for seed in range(5):
            answer = self.forced(seed=seed)
            self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
            call, = answer.choices[0].message.tool_calls
            self.check_weather(call)

    def test_a_call_of_any_tool_can_be_required(self):
        answer = self.forced(tool_choice="required", seed=1)
        call, = answer.choices[0].message.tool_calls
        self.assertIn(call.function.name, ("get_weather", "get_time"))
        json.loads(call.function.arguments)

    def test_none_calls_nothing(self):
        self.assertIsNone(chat(TELL, tools=[WEATHER], tool_choice="none").choices[0].message.tool_calls)

    def test_the_deltas_of_a_stream_make_the_same_call(self):
        whole = self.forced().choices[0].message
        calls, finish = {}, None
        for chunk in self.forced(stream=True):
            for part in chunk.choices[0].delta.tool_calls or []:
                call = calls.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": ""})
                self.assertTrue(call["id"])
                call["arguments"] += part.function.arguments or ""
            finish = chunk.choices[0].finish_reason or finish
        self.assertEqual(finish, "tool_calls")
        self.assertEqual([(c["name"], c["arguments"]) for c in calls.values()],
                         [(c.function.name, c.function.arguments) for c in whole.tool_calls])
        with client.chat.completions.stream(model=MODEL, messages=TELL, tools=[WEATHER, CLOCK], temperature=1, seed=3, max_tokens=400,
                                            parallel_tool_calls=False,
                                            tool_choice={"type": "function", "function": {"name": "get_weather"}}) as events:
            final = events.get_final_completion().choices[0].message
        self.assertEqual(final.tool_calls[0].function.arguments, whole.tool_calls[0].function.arguments)

    def test_a_result_goes_back_and_the_turn_is_known_already(self):
        first = self.forced(temperature=0)
        message = first.choices[0].message
        messages = TELL + [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "Sunny, 21 degrees."}]
        second = chat(messages, tools=[WEATHER, CLOCK])
        self.assertIn(second.choices[0].finish_reason, ("stop", "length", "tool_calls"))
        self.assertGreaterEqual(second.usage.prompt_tokens_details.cached_tokens,
                                first.usage.prompt_tokens + first.usage.completion_tokens - 1)

    def test_tools_made_of_pydantic_models_come_back_parsed(self):
        answer = client.chat.completions.parse(model=MODEL, messages=TELL, tools=[openai.pydantic_function_tool(Animal)], temperature=1,
                                               seed=1, max_tokens=400, tool_choice="required", parallel_tool_calls=False)
        self.assertIsInstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Animal)


class Structured(unittest.TestCase):
    def test_a_pydantic_model_comes_back_parsed(self):
        for seed in range(3):
            for parse in (client.beta.chat.completions.parse, client.chat.completions.parse):
                answer = parse(model=MODEL, messages=TELL, response_format=Zoo, temperature=1, seed=seed, max_tokens=400)
                self.assertIsInstance(answer.choices[0].message.parsed, Zoo)

    def test_a_stream_of_a_pydantic_model_ends_parsed(self):
        with client.chat.completions.stream(model=MODEL, messages=TELL, response_format=Zoo, temperature=1, seed=2,
                                            max_tokens=400) as events:
            final = events.get_final_completion()
        self.assertIsInstance(final.choices[0].message.parsed, Zoo)

    def test_a_schema_is_kept_to_behind_reasoning_too(self):
        answer = chat(TELL, temperature=1, seed=5, max_tokens=800, extra_body={"chat_template_kwargs": {"enable_thinking": True}},
                      response_format={"type": "json_schema", "json_schema": {"name": "zoo", "strict": True, "schema": {
                          "type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}}})
        self.assertIn(json.loads(answer.choices[0].message.content)["a"], (1, 2))

    def test_an_object_of_json_is_one(self):
        answer = chat(TELL, response_format={"type": "json_object"}, max_tokens=200, temperature=1, seed=1, stop=["\n\n\n\n"])
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)
        self.assertTrue(answer.choices[0].message.content.lstrip().startswith("{"))

    def test_an_answer_that_was_cut_is_told_as_such(self):
        with self.assertRaises(openai.LengthFinishReasonError):
            client.chat.completions.parse(model=MODEL, messages=TELL, response_format=Zoo, temperature=0, max_tokens=3)

    def test_a_schema_that_cannot_be_kept_to_is_refused_with_its_place(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {
                "type": "object", "properties": {"a": {"not": {"type": "string"}}}}}})
        self.assertEqual(caught.exception.param, "response_format")
        self.assertIn("/properties/a", caught.exception.message)


class Completions(unittest.TestCase):
    def complete(self, prompt=rig.STORY, **more):
        return client.completions.create(**{"model": MODEL, "prompt": prompt, "max_tokens": 20, "temperature": 0, **more})

    def test_texts_and_ids_are_continued_alike(self):
        ids = server.tokens(rig.STORY)
        one = self.complete().choices[0].text
        self.assertTrue(one)
        self.assertEqual(self.complete(ids).choices[0].text, one)
        many = self.complete([rig.STORY, "One day"])
        self.assertEqual([c.text for c in many.choices], [one, self.complete("One day").choices[0].text])
        self.assertEqual([c.text for c in self.complete([ids, ids]).choices], [one, one])

    def test_a_stream_is_the_answer_that_is_not_streamed(self):
        whole = self.complete(logprobs=2)
        chunks = list(self.complete(stream=True, logprobs=2))
        self.assertEqual("".join(c.choices[0].text for c in chunks), whole.choices[0].text)
        told = [t for c in chunks if c.choices[0].logprobs for t in c.choices[0].logprobs.token_logprobs]
        self.assertEqual(told, whole.choices[0].logprobs.token_logprobs)

    def test_an_echo_tells_how_likely_the_prompt_was(self):
        answer = self.complete(echo=True, logprobs=1, max_tokens=0)
        rows = answer.choices[0].logprobs
        self.assertEqual(answer.choices[0].text, rig.STORY)
        self.assertEqual("".join(rows.tokens), rig.STORY)
        self.assertIsNone(rows.token_logprobs[0])
        self.assertEqual([rig.STORY[o:o + len(t)] for o, t in zip(rows.text_offset, rows.tokens)], rows.tokens)
        told = rig.ppl(rig.STORY, "-c", len(rows.tokens))
        self.assertEqual(told["tokens"], len(rows.tokens) - 1)
        self.assertAlmostEqual(-sum(rows.token_logprobs[1:]), told["nll"] * told["tokens"], delta=1e-5 * told["tokens"])


class Errors(unittest.TestCase):
    def test_a_field_that_is_unknown_or_wrong_is_a_bad_request_that_names_it(self):
        for more, field in (({"extra_body": {"frobnicate": 1}}, "frobnicate"), ({"temperature": -1}, "temperature"),
                            ({"messages": []}, "messages"), ({"logit_bias": {"5": 3}}, "logit_bias"), ({"top_logprobs": 3}, "top_logprobs"),
                            ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
                             "messages[0].content[0].type")):
            with self.assertRaises(openai.BadRequestError) as caught:
                chat(**more)
            self.assertEqual(caught.exception.param, field)
            self.assertEqual(caught.exception.type, "invalid_request_error")
            self.assertIn(field.rsplit(".", 1)[-1].split("[")[0], str(caught.exception.message) + field)

    def test_a_path_or_model_that_is_not_there_is_not_found(self):
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("nothing")
        with self.assertRaises(openai.NotFoundError):
            client.embeddings.create(model=MODEL, input="x")
        self.assertEqual(client.models.retrieve(MODEL).id, MODEL)
        self.assertEqual([m.id for m in client.models.list()], [MODEL])

    def test_a_prompt_longer_than_the_context_is_unprocessable_and_both_numbers_are_told(self):
        with self.assertRaises(openai.UnprocessableEntityError) as caught:
            chat([{"role": "user", "content": "fox " * 5000}])
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        self.assertIn("2048", caught.exception.message)
        self.assertRegex(caught.exception.message, r"\b(5\d\d\d|1\d\d\d\d)\b")

    def test_a_body_that_is_too_large_is_told(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            chat([{"role": "user", "content": "x" * (5 << 20)}])
        self.assertEqual(caught.exception.status_code, 413)

    def test_keys_are_asked_for_and_recognised(self):
        with open(server.folder.name + "/keys", "w") as f:
            f.write("right-key\n")
        locked = rig.Server("--ctx", 64, "--api-key-file", server.folder.name + "/keys")
        try:
            wrong = openai.OpenAI(base_url=locked.v1, api_key="wrong", max_retries=0)
            with self.assertRaises(openai.AuthenticationError) as caught:
                wrong.models.list()
            self.assertEqual(caught.exception.code, "invalid_api_key")
            right = openai.OpenAI(base_url=locked.v1, api_key="right-key", max_retries=0)
            self.assertEqual([m.id for m in right.models.list()], [MODEL])
        finally:
            locked.stop()

    def test_a_full_queue_is_a_rate_limit_and_the_library_comes_again(self):
        narrow = rig.Server("--ctx", 2048, "--queue", 1, "--parallel", 1)
        long = {"model": MODEL, "prompt": rig.STORY, "max_tokens": 1500, "n": 128, "temperature": 1, "stream": True}
        try:
            once = openai.OpenAI(base_url=narrow.v1, api_key="x", max_retries=0)
            streams = [once.completions.create(**long)]
            next(iter(streams[0]))

            async def fill():  # one waits, which takes the last place
                other = openai.AsyncOpenAI(base_url=narrow.v1, api_key="x", max_retries=0)
                waits = asyncio.create_task(other.completions.create(**long))
                await asyncio.to_thread(narrow.wait_until, "one waits",
                                        lambda s: (s["requests_running"], s["requests_waiting"]) == (1, 1))
                with self.assertRaises(openai.RateLimitError) as caught:
                    once.completions.create(model=MODEL, prompt="x", max_tokens=1)
                self.assertGreaterEqual(int(caught.exception.response.headers["retry-after"]), 1)
                streams[0].close()
                stream = await waits
                await stream.close()
                await other.close()
            asyncio.run(fill())
            patient = openai.OpenAI(base_url=narrow.v1, api_key="x", max_retries=5)
            self.assertTrue(patient.completions.create(model=MODEL, prompt="Once", max_tokens=1).choices)
        finally:
            narrow.stop()


class Connections(unittest.TestCase):
    def test_who_stops_reading_a_stream_stops_the_work(self):
        stream = client.completions.create(model=MODEL, prompt=rig.STORY, max_tokens=1500, n=128, temperature=1, stream=True)
        for _, _ in zip(range(5), stream):
            pass
        self.assertEqual(server.stats()["requests_running"], 1)
        stream.close()
        after = server.wait_until("the work of a stream that was closed ends", lambda s: s["requests_running"] == 0)
        self.assertLess(after["totals"]["answer_tokens"], 128 * 100)
        self.assertEqual({c["state"] for c in after["conversations"]}, {"free"})

    def test_many_at_once_answer_as_they_do_alone(self):
        questions = [[{"role": "user", "content": f"Tell me about the number {i}."}] for i in range(6)]
        alone = [chat(q, max_tokens=24).choices[0].message.content for q in questions]

        async def together():
            async with openai.AsyncOpenAI(base_url=server.v1, api_key="x", max_retries=0) as many:
                async def one(q):
                    stream = await many.chat.completions.create(model=MODEL, messages=q, max_tokens=24, temperature=0, stream=True)
                    return "".join([c.choices[0].delta.content or "" async for c in stream])
                return await asyncio.gather(*map(one, questions))
        self.assertEqual(asyncio.run(together()), alone)


if __name__ == "__main__":
    rig.main("openai: chat and completions", "openai")
