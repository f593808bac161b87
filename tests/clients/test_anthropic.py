"""The official anthropic library against `sluice serve`."""
import asyncio
import json
import unittest

import anthropic

import rig

server = None
client = None
TELL = [{"role": "user", "content": "Tell me a story about a little fox."}]
TOOL = {"name": "get_weather", "description": "The weather of a town.", "input_schema": {
    "type": "object", "properties": {"town": {"type": "string", "enum": ["Paris", "Rome"]}, "days": {"type": "integer", "maximum": 9,
                                                                                                    "minimum": 1}},
    "required": ["town", "days"], "additionalProperties": False}}


def setUpModule():
    global server, client
    server = rig.Server("--ctx", 2048, "--parallel", 2)
    client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0, timeout=rig.PATIENCE_S)


def tearDownModule():
    server.stop()


def request(temperature=0, seed=None, extra=None, **more):
    """Newer libraries have no argument for sampling: it goes beside them."""
    body = {"temperature": temperature, **({"seed": seed} if seed is not None else {}), **(extra or {})}
    return {"model": "tiny-tales", "messages": TELL, "max_tokens": 60, "system": "You are a kind story teller.", "extra_body": body, **more}


def say(**more):
    return client.messages.create(**request(**more))


def plain(message):
    """What was said, without what is new each time."""
    blocks = [b.model_dump(exclude_none=True) for b in message.content]
    for block in blocks:
        block.pop("id", None), block.pop("parsed_output", None)
    return blocks, message.stop_reason, message.stop_sequence, message.usage.output_tokens


class Messages(unittest.TestCase):
    def test_an_answer_has_every_part_that_the_library_names(self):
        m = say(messages=[{"role": "user", "content": "Hi"}])
        self.assertEqual((m.type, m.role, m.model, m.stop_reason, m.stop_sequence), ("message", "assistant", "tiny-tales", "end_turn", None))
        self.assertTrue(m.id.startswith("msg_"))
        self.assertEqual([b.type for b in m.content], ["text"])
        self.assertGreater(m.usage.input_tokens + m.usage.cache_read_input_tokens, 0)
        self.assertGreater(m.usage.output_tokens, 0)

    def test_a_stream_adds_up_to_the_message_that_is_not_streamed(self):
        whole = say()
        with client.messages.stream(**request()) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(plain(final), plain(whole))
        usage = [u.input_tokens + u.cache_read_input_tokens for u in (final.usage, whole.usage)]
        self.assertEqual(usage[0], usage[1])

    def test_the_events_of_a_stream_come_in_their_order(self):
        kinds = [e.type for e in client.messages.create(stream=True, **request()) if e.type != "ping"]
        self.assertEqual([k for i, k in enumerate(kinds) if i == 0 or kinds[i - 1] != k],
                         ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
                          "message_stop"])

    def test_an_async_stream_is_the_same(self):
        async def tell():
            async with anthropic.AsyncAnthropic(base_url=server.url, api_key="any", max_retries=0) as other:
                async with other.messages.stream(**request()) as stream:
                    return await stream.get_final_message()
        self.assertEqual(plain(asyncio.run(tell())), plain(say()))

    def test_blocks_of_text_are_one_text(self):
        blocks = {"system": [{"type": "text", "text": "You are a kind "}, {"type": "text", "text": "story teller.",
                                                                           "cache_control": {"type": "ephemeral"}}],
                  "messages": [{"role": "user", "content": [{"type": "text", "text": TELL[0]["content"],
                                                             "cache_control": {"type": "ephemeral"}}]}]}
        self.assertEqual(plain(say(**blocks)), plain(say()))

    def test_hints_for_a_cache_change_nothing(self):
        self.assertEqual(plain(say(cache_control={"type": "ephemeral"}, metadata={"user_id": "me"}, service_tier="auto",
                                   diagnostics={"previous_message_id": None}, speed="standard")), plain(say()))

    def test_a_stop_sequence_is_named_and_not_shown(self):
        text = say().content[0].text
        word = text.split()[5]
        cut = say(stop_sequences=["never in a story", word])
        self.assertEqual((cut.stop_reason, cut.stop_sequence, cut.content[0].text), ("stop_sequence", word, text[:text.index(word)]))
        with client.messages.stream(**request(stop_sequences=[word])) as stream:
            self.assertEqual(plain(stream.get_final_message())[:3], plain(cut)[:3])

    def test_length_is_said_where_the_answer_was_cut(self):
        m = say(max_tokens=5)
        self.assertEqual((m.stop_reason, m.usage.output_tokens), ("max_tokens", 5))

    def test_tokens_are_counted_as_they_are_used(self):
        for more in ({}, {"tools": [TOOL]}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}):
            wanted = {k: v for k, v in request(**more).items() if k in ("model", "messages", "system", "tools", "thinking")}
            usage = say(max_tokens=2, **more).usage
            self.assertEqual(client.messages.count_tokens(**wanted).input_tokens,
                             usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens)
        fresh = "Something that nobody has asked before."
        usage = say(max_tokens=1, system=fresh).usage
        self.assertEqual(client.messages.count_tokens(model="x", system=fresh, messages=TELL).input_tokens, usage.input_tokens)

    def test_the_next_turn_reads_what_is_new(self):
        first = say(messages=[{"role": "user", "content": "Hi"}])
        turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And then?"}]
        again = say(messages=turn)
        before = first.usage.input_tokens + first.usage.cache_read_input_tokens + first.usage.output_tokens
        self.assertGreaterEqual(again.usage.cache_read_input_tokens, before - 1)


class Thinking(unittest.TestCase):
    ON = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 400}

    def test_thoughts_are_a_block_before_the_text_and_streamed_alike(self):
        whole = say(**self.ON)
        self.assertEqual([b.type for b in whole.content], ["thinking", "text"])
        self.assertTrue(whole.content[0].thinking)
        with client.messages.stream(**request(**self.ON)) as stream:
            self.assertEqual(plain(stream.get_final_message()), plain(whole))
        self.assertNotIn("thinking", [b.type for b in say().content])

    def test_thoughts_go_back_and_the_turn_is_known(self):
        first = say(**self.ON)
        turn = TELL + [{"role": "assistant", "content": first.content}, {"role": "user", "content": "And then?"}]
        again = say(messages=turn, **self.ON)
        before = first.usage.input_tokens + first.usage.cache_read_input_tokens + first.usage.output_tokens
        self.assertGreaterEqual(again.usage.cache_read_input_tokens, before - 1)


class Tools(unittest.TestCase):
    FORCED = {"tools": [TOOL], "max_tokens": 300,
              "tool_choice": {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}}

    def check(self, message):
        self.assertEqual(message.stop_reason, "tool_use")
        use = message.content[-1]
        self.assertEqual((use.type, use.name, set(use.input)), ("tool_use", "get_weather", {"town", "days"}))
        self.assertIn(use.input["town"], ("Paris", "Rome"))
        self.assertIs(type(use.input["days"]), int)
        return use

    def test_a_forced_use_keeps_to_its_schema_and_is_streamed_alike(self):
        for seed in range(3):
            whole = say(temperature=1, seed=seed, **self.FORCED)
            self.check(whole)
            with client.messages.stream(**request(temperature=1, seed=seed, **self.FORCED)) as stream:
                pieces = "".join(e.partial_json for e in stream if e.type == "input_json")
                final = stream.get_final_message()
            self.assertEqual(plain(final), plain(whole))
            self.assertEqual(json.loads(pieces), whole.content[-1].input)

    def test_any_must_use_one_and_none_uses_nothing(self):
        self.check(say(**{**self.FORCED, "tool_choice": {"type": "any", "disable_parallel_tool_use": True}}))
        self.assertNotIn("tool_use", [b.type for b in say(tools=[TOOL], tool_choice={"type": "none"}).content])

    def test_a_result_goes_back_and_the_turn_is_known(self):
        first = say(**self.FORCED)
        use = self.check(first)
        turn = TELL + [{"role": "assistant", "content": first.content}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Sunny."}]},
            {"type": "text", "text": "So, is it warm?"}]}]
        again = say(messages=turn, tools=[TOOL])
        before = first.usage.input_tokens + first.usage.cache_read_input_tokens + first.usage.output_tokens
        self.assertGreaterEqual(again.usage.cache_read_input_tokens, before - 1)
        failed = say(messages=TELL + [{"role": "assistant", "content": first.content}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": use.id, "is_error": True, "content": "no such town"}]}], tools=[TOOL])
        self.assertTrue(failed.id)


class Errors(unittest.TestCase):
    def raises(self, kind, error_type, **more):
        with self.assertRaises(kind) as caught:
            say(**more)
        self.assertEqual(caught.exception.body["type"], "error")
        self.assertEqual(caught.exception.body["error"]["type"], error_type)
        return caught.exception.body["error"]["message"]

    def test_a_field_that_is_unknown_or_wrong_is_a_bad_request_that_names_it(self):
        for more, field in (({"extra": {"frobnicate": 1}}, "frobnicate"), ({"max_tokens": 0}, "max_tokens"), ({"messages": []}, "messages"),
                            ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]"),
                            ({"messages": [{"role": "user", "content": [{"type": "image", "source": {
                                "type": "base64", "media_type": "image/png", "data": ""}}]}]}, "messages[0].content[0]")):
            self.assertIn(field, self.raises(anthropic.BadRequestError, "invalid_request_error", **more))

    def test_a_prompt_longer_than_the_context_tells_both_numbers(self):
        told = self.raises(anthropic.UnprocessableEntityError, "invalid_request_error", messages=[{"role": "user", "content": "fox " * 5000}])
        self.assertIn("2048", told)

    def test_a_body_that_is_too_large_is_told(self):
        with self.assertRaises(anthropic.APIStatusError) as caught:
            say(system="x" * (5 << 20))
        self.assertEqual((caught.exception.status_code, caught.exception.body["error"]["type"]), (413, "request_too_large"))

    def test_a_path_or_model_that_is_not_there_is_not_found(self):
        with self.assertRaises(anthropic.NotFoundError):
            client.messages.batches.list()
        with self.assertRaises(anthropic.NotFoundError):
            client.models.retrieve("nothing")

    def test_models_are_listed(self):
        self.assertEqual([m.id for m in client.models.list()], ["tiny-tales"])

    def test_keys_are_asked_for_and_recognised(self):
        with open(server.folder.name + "/keys", "w") as f:
            f.write("right-key\n")
        locked = rig.Server("--ctx", 128, "--api-key-file", server.folder.name + "/keys")
        try:
            ask = {"model": "x", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]}
            with self.assertRaises(anthropic.AuthenticationError) as caught:
                anthropic.Anthropic(base_url=locked.url, api_key="wrong", max_retries=0).messages.create(**ask)
            self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")
            for key in ({"api_key": "right-key"}, {"auth_token": "right-key"}):
                self.assertTrue(anthropic.Anthropic(base_url=locked.url, max_retries=0, **key).messages.create(**ask).id)
        finally:
            locked.stop()


class Alive(unittest.TestCase):
    def test_a_stream_that_waits_is_kept_open_with_pings(self):
        # the first has the only conversation for longer than a sign of life takes; the second hears one before its first word
        narrow = rig.Server("--ctx", 2048, "--parallel", 1)
        try:
            other = anthropic.Anthropic(base_url=narrow.url, api_key="x", max_retries=0, timeout=4 * rig.PATIENCE_S)
            blocker = rig.hold(narrow)
            seen = []
            with other.messages.with_streaming_response.create(stream=True, **request(max_tokens=2)) as raw:
                for line in raw.iter_lines():
                    seen.append(line)
                    if line.startswith("event: ping") and blocker:
                        blocker.close()
                        blocker = None
            events = [line[7:] for line in seen if line.startswith("event: ")]
            self.assertIn("ping", events)
            self.assertEqual(events[-1], "message_stop")
            self.assertIn('data: {"type": "ping"}', seen)
        finally:
            narrow.stop()

    def test_who_stops_reading_a_stream_stops_the_work(self):
        with client.messages.stream(**request(temperature=1, max_tokens=1500)) as stream:
            for event in stream:
                if event.type == "text":
                    break
        server.wait_until("the work of a stream that was closed ends", lambda s: s["requests_running"] == 0)


if __name__ == "__main__":
    rig.main("anthropic: messages", "anthropic")
