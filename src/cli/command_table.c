/* The table of commands. A command that does not exist yet is in no help; main says so when it is called. */
#include "cli/commands.h"

#include <string.h>

/* clang-format off */
const CommandSpec command_table[] = {
{CMD_RUN, "run", "answer or complete one prompt",
    "Answers a prompt with the model's own chat template, or continues a text with --raw. A model without a template is a "
    "base model: it continues the text. The answer appears as it is made. A newline that ends a file or standard input is not "
    "part of the prompt.",
    {{"a story from the small model inside sluice", "sluice run -p \"Tell me a story about a dragon.\""},
     {"continue a text, the same way each time", "sluice run --raw --temp 0 -n 100 -p \"Once upon a time\""},
     {"a large model in 8 GiB, with numbers at the end", "sluice run -m model.gguf --ram 8G --stats -f question.txt"},
     {"for programs", "sluice run -m model.gguf --json -p \"What is a sluice?\" | jq -r .text"}},
    run_command},
{CMD_INSPECT, "inspect", "what a model file holds",
    "Reads headers only, never weights: architecture and shape, sizes by tensor group and type, the layout of an expert's record, "
    "tokenizer, chat template, sampling defaults.",
    {{"an overview", "sluice inspect -m model.gguf"},
     {"every tensor", "sluice inspect -m model.gguf --tensors"},
     {"for programs", "sluice inspect -m model.gguf --json | jq .experts"}},
    inspect_command},
{CMD_TOKENIZE, "tokenize", "text to token ids",
    "Prints the ids of a text. Special tokens inside the text are recognised unless --no-special. Nothing is added, no BOS either.",
    {{"a short text", "sluice tokenize -m model.gguf -p \"Hello, world\""},
     {"a file, with just a tokenizer", "sluice tokenize --tokenizer tokenizer.json -f text.txt"},
     {"many texts, one JSON string per line", "sluice tokenize --lines < texts.jsonl > ids.jsonl"}},
    tokenize_command},
{CMD_DETOKENIZE, "detokenize", "token ids to text",
    "Prints the text of token ids exactly, with nothing added (on a terminal a final newline). Special tokens appear as their text "
    "unless --no-special.",
    {{"some ids", "sluice detokenize --ids 479,490,258,420"},
     {"there and back", "sluice tokenize -p \"Hello\" | sluice detokenize"},
     {"many, one JSON array per line", "sluice detokenize --lines < ids.jsonl"}},
    detokenize_command},
{CMD_RENDER, "render", "a chat request to prompt text",
    "Each line of standard input is a request {\"messages\":[...],\"tools\":[...],\"kwargs\":{...}}; each line of output is "
    "{\"text\":\"...\"} or {\"error\":\"...\"}. kwargs go to the template: add_generation_prompt, enable_thinking and so on.",
    {{"with the template of a model",
      "echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | sluice render -m model.gguf"},
     {"with a template file", "sluice render --template chat_template.jinja < requests.jsonl"}},
    render_command},
{CMD_LOGITS, "logits", "the numbers behind an answer, for checks",
    "Runs the model over ids or a text and writes a safetensors file: logits f32 [T,V], row t predicting token t + 1.",
    {{"three ids", "sluice logits -m model.gguf --ids 1,2,3 -o out.safetensors"},
     {"everything, at full precision",
      "sluice logits -m model.gguf --ids ids.safetensors --precise --hidden --routing --greedy 32 -o out.safetensors"},
     {"only the last row for a text", "sluice logits -p \"Once upon a time\" --last 1 -o out.safetensors"}},
    logits_command},
{CMD_PPL, "ppl", "perplexity of a text",
    "Cuts the text into windows that do not overlap, runs each from an empty state, and prints exp of the mean negative "
    "log-likelihood of the scored positions. Special tokens in the text are ordinary characters; no BOS is added.",
    {{"llama.cpp's convention", "sluice ppl -m model.gguf -f wiki.test.txt -c 512"},
     {"every position, the first 64 windows", "sluice ppl -m model.gguf -f text.txt -c 256 --score all --chunks 64 --precise"},
     {"for programs", "sluice ppl -m model.gguf -f text.txt --json | jq .perplexity"}},
    ppl_command},
};
/* clang-format on */
const size_t command_table_len = COUNT_OF(command_table);

const CommandSpec *command_by_name(const char *name) {
    for (size_t i = 0; i < command_table_len; i++)
        if (strcmp(command_table[i].name, name) == 0) return &command_table[i];
    return NULL;
}
