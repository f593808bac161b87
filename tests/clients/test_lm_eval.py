"""lm-evaluation-harness against `sluice serve`: likelihoods over /v1/completions, generation over /v1/chat/completions, on tasks of ours."""
import json
import os
import tempfile
import unittest

os.environ.update({"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OPENAI_API_KEY": "any",
                   "HF_HOME": tempfile.mkdtemp(prefix="sluice-lm-eval-")})
import lm_eval
from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI
from lm_eval.tasks import TaskManager

import rig

server = None
CHOICES = [
    ("Once upon a time, there was a little", [" girl named Lily.", " spoon of stone.", " under quickly."], 0),
    ("The dog was happy. It wagged its", [" tail.", " moon.", " Tuesday."], 0),
    ("Tom was sad because he lost his", [" of the.", " favourite toy.", " three blue."], 1),
    ("The bird flew up into the", [" sentence.", " sky.", " because."], 1),
    ("Mom said, \"Do not touch the hot", [" stove.\"", " sleep.\"", " nice.\""], 0),
    ("They played in the park all", [" day.", " purple.", " nose."], 0),
    ("The cat drank some", [" milk.", " chair.", " running."], 0),
    ("It was raining, so Ben took his", [" cloudless.", " the.", " umbrella."], 2),
    ("The sun was bright and the sky was", [" loud.", " blue.", " hungry."], 1),
    ("At night the little bear went to", [" bed.", " and.", " orange."], 0),
    ("Sue shared her cookies with her", [" friends.", " Monday.", " slowly."], 0),
    ("In the end they were all very", [" happy.", " table.", " with."], 0),
]
QUESTIONS = ["Hi", "Hello!", "Tell me a happy story about a bird.", "Tell me a story about a little fox."]
LIKELY = """
task: own_choices
dataset_path: json
dataset_kwargs:
  data_files: {test: FOLDER/choices.jsonl}
output_type: multiple_choice
test_split: test
doc_to_text: "{{context}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ROLL = """
task: own_choices_whole
dataset_path: json
dataset_kwargs:
  data_files: {test: FOLDER/choices.jsonl}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{context}}"
metric_list: [{metric: word_perplexity}]
"""
TELL = """
task: own_questions
dataset_path: json
dataset_kwargs:
  data_files: {test: FOLDER/questions.jsonl}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n"], max_gen_toks: 30, temperature: 0, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


def setUpModule():
    global server
    server = rig.Server("--ctx", 512)


def tearDownModule():
    server.stop()


def evaluate(model, task, text, rows):
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/{task}.yaml", "w") as f:
            f.write(text.replace("FOLDER", folder))
        with open(f"{folder}/{'choices' if 'choices' in task else 'questions'}.jsonl", "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows)
        return lm_eval.simple_evaluate(model=model, tasks=[task], task_manager=TaskManager(include_path=folder, include_defaults=False),
                                       log_samples=True, bootstrap_iters=0, apply_chat_template="questions" in task)


def total(text):
    """Natural log-likelihood of all tokens of a text but the first."""
    n = len(server.tokens(text))
    if n < 2:
        return 0.0
    told = rig.ppl(text, "-c", n)
    assert told["tokens"] == n - 1
    return -told["nll"] * told["tokens"]


class Likelihoods(unittest.TestCase):
    def test_they_are_those_of_sluice_ppl_and_the_right_choice_wins(self):
        rows = [{"context": c, "choices": o, "label": i} for c, o, i in CHOICES]
        for size in (1, 4):
            model = LocalCompletionsAPI(model="any", base_url=server.v1 + "/completions", batch_size=size, max_length=512)
            self.assertEqual(model.tokenizer_backend, "remote")  # it found the server's
            out = evaluate(model, "own_choices", LIKELY, rows)
            worst = 0
            for sample in out["samples"]["own_choices"]:
                context = sample["doc"]["context"]
                for choice, (told, _) in zip(sample["doc"]["choices"], [r[0] for r in sample["resps"]]):
                    own = total(context + choice) - total(context)
                    worst = max(worst, abs(told - own))
                    self.assertAlmostEqual(told, own, delta=1e-4, msg=context + choice)
            self.assertEqual(len(out["samples"]["own_choices"]), len(CHOICES))
            accuracy = out["results"]["own_choices"]["acc,none"]
            self.assertGreaterEqual(accuracy, 0.5)
        rig.note(f"12 items, 36 likelihoods: at most {worst:.1e} nats from sluice ppl; accuracy {accuracy:.2f}")


    def test_a_whole_text_is_as_likely_as_behind_the_token_that_ends_another(self):
        model = LocalCompletionsAPI(model="any", base_url=server.v1 + "/completions", max_length=512)
        out = evaluate(model, "own_choices_whole", ROLL, [{"context": c, "choices": o, "label": i} for c, o, i in CHOICES])
        for sample in out["samples"]["own_choices_whole"]:
            ids = server.tokens("<|endoftext|>" + sample["doc"]["context"])
            rows = server.post("/v1/completions", {"prompt": ids, "echo": True, "logprobs": 0, "max_tokens": 0})["choices"][0]["logprobs"]
            self.assertAlmostEqual(sample["resps"][0][0], sum(rows["token_logprobs"][1:]), delta=1e-4)


class Generation(unittest.TestCase):
    def test_answers_are_those_that_a_client_gets(self):
        model = LocalChatCompletion(model="tiny-tales", base_url=server.v1 + "/chat/completions", num_concurrent=1)
        expected = {}
        for q in QUESTIONS:
            answer = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": q}], "temperature": 0, "max_tokens": 30,
                                                          "stop": ["\n\n"]})
            expected[q] = answer["choices"][0]["message"]["content"]
        out = evaluate(model, "own_questions", TELL, [{"question": q, "answer": expected[q]} for q in QUESTIONS])
        for sample in out["samples"]["own_questions"]:
            self.assertEqual(sample["resps"][0][0], expected[sample["doc"]["question"]])
        self.assertEqual(out["results"]["own_questions"]["exact_match,none"], 1.0)


if __name__ == "__main__":
    rig.main("lm-evaluation-harness", "lm_eval")
