"""langchain-openai against `sluice serve`: a smoke test."""
import unittest
from typing import Literal

from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

import rig

server = None
TELL = [SystemMessage("You are a kind story teller."), HumanMessage("Tell me a story about a little fox.")]


class Animal(BaseModel):
    """An animal."""
    kind: Literal["fox", "owl"]
    wild: bool


@tool
def look(at: Literal["sky", "sea"]) -> str:
    """Looks somewhere."""
    return "blue"


def setUpModule():
    global server
    server = rig.Server("--ctx", 2048)


def tearDownModule():
    server.stop()


def model(**more):
    return ChatOpenAI(**{"base_url": server.v1, "api_key": "any", "model": "tiny-tales", "temperature": 0, "max_tokens": 60,
                         "max_retries": 0, **more})


class LangChain(unittest.TestCase):
    def test_an_answer_whole_and_streamed(self):
        whole = model().invoke(TELL)
        self.assertTrue(whole.content)
        self.assertGreater(whole.usage_metadata["input_tokens"], 0)
        self.assertEqual("".join(c.content for c in model().stream(TELL)), whole.content)

    def test_a_tool_is_called_and_its_result_goes_back(self):
        bound = model(max_tokens=300).bind_tools([look], tool_choice="look", parallel_tool_calls=False)
        called = bound.invoke(TELL)
        call, = called.tool_calls
        self.assertEqual(call["name"], "look")
        self.assertIn(call["args"]["at"], ("sky", "sea"))
        answer = model().bind_tools([look]).invoke(TELL + [called, ToolMessage(look.invoke(call["args"]), tool_call_id=call["id"])])
        self.assertIsNotNone(answer.response_metadata["finish_reason"])

    def test_structured_output_by_schema_and_by_call(self):
        for method in ("json_schema", "function_calling"):
            self.assertIsInstance(model(max_tokens=300).with_structured_output(Animal, method=method).invoke(TELL), Animal)

    def test_the_responses_api(self):
        answer = model(use_responses_api=True).invoke(TELL)
        self.assertTrue(answer.text if isinstance(answer.text, str) else answer.text())


if __name__ == "__main__":
    rig.main("langchain-openai", "langchain-openai", "openai")
