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
{CMD_CHAT, "chat", "a conversation in the terminal",
    "Reads a line, answers it, and remembers: text and the model's state are kept when you leave, so that --resume goes on without "
    "reading everything again. /help lists the commands; Ctrl-C stops an answer. With -f it answers the lines of a file instead, one "
    "line of JSON each, and a run that was ended goes on where it was.",
    {{"talk to the small model inside sluice", "sluice chat"},
     {"a large model in 8 GiB", "sluice chat -m model.gguf --ram 8G --system \"Answer briefly.\""},
     {"go on with the last conversation", "sluice chat -m model.gguf --resume last"},
     {"big questions overnight; the same command goes on after a break", "sluice chat -m model.gguf -f questions.txt -o answers.jsonl"}},
    chat_command},
{CMD_SERVE, "serve", "answer over HTTP, as OpenAI's and Anthropic's servers do",
    "Listens and answers in the words of the APIs that clients already speak. The port is open while the model is loaded (503 until "
    "then). Requests share the model: prompts are read in slices between the tokens of those who are being answered, and every answer is "
    "the same bits as alone. docs/server.md has the paths, and examples for clients.",
    {{"the small model inside sluice, for this machine alone", "sluice serve"},
     {"ask it", "curl http://127.0.0.1:8080/v1/completions -d '{\"prompt\": \"Once upon a time\", \"max_tokens\": 40}'"},
     {"a large model in 24 GiB for four at a time", "sluice serve -m model.gguf --ram 24G --parallel 4"},
     {"for others in the network", "sluice serve -m model.gguf --host 0.0.0.0 --api-key-file keys.txt"}},
    serve_command},
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
{CMD_PLAN, "plan", "the memory plan and the speed to expect",
    "Computes, before anything is loaded, what would lie in memory and how fast this machine, or a described one, would run the "
    "model: from the headers of a file, or from a shape and no file at all. What is not described is taken from what doctor "
    "measured, or measured now. The share of experts found in memory is that of a recorded trace (-f), or of the worst case, every "
    "expert used equally often. A model that does not fit is an answer, not a failure: it says how much memory would do.",
    {{"this machine", "sluice plan -m model.gguf"},
     {"a model that is not downloaded yet, on another machine",
      "sluice plan --shape qwen3.5-397b-a17b --ram 64G --disk 7GB/s --dram 60GB/s --cores 16"},
     {"with the hit rate of recorded text", "sluice plan -m model.gguf --ram 8G -f text.slt"},
     {"what 32 GB more would bring, for programs", "sluice plan -m model.gguf --json | jq '.by_ram[]'"}},
    plan_command},
{CMD_DOCTOR, "doctor", "what this machine can do, and what stands in its way",
    "Measures CPU, memory and disk as the engine uses them (about ten seconds), prints which option came from where, and looks for the "
    "usual traps: power saving, few PCIe lanes, a full or distant file system, swap, small limits. With -m the disk is measured with the "
    "model's own files and arithmetic in its number formats, and it says what binds and what would change it. The "
    "rates are kept in the state folder, for plan.",
    {{"the machine", "sluice doctor"},
     {"the disk of another folder", "sluice doctor --dir /mnt/nvme"},
     {"with the files of a model", "sluice doctor -m model.gguf"},
     {"for programs", "sluice doctor --json | jq .warnings"}},
    doctor_command},
{CMD_BENCH, "bench", "prefill and decode speed beside the machine's own bound",
    "Measures prefill and decode several times and compares them with what disk, memory and arithmetic allow on this machine, probed "
    "between the repetitions. What is fed is random (the same for the same --seed), since greedy decoding of random weights repeats "
    "itself and would only measure the cache; some tokens are decoded before the clock starts. docs/performance.md defines every number.",
    {{"the usual measurement", "sluice bench -m model.gguf -p 512 -n 64 --reps 3"},
     {"under a budget, for programs", "sluice bench -m model.gguf --ram 8G --json | jq '.decode_tok_s, .bound_serial_tok_s'"},
     {"the small model inside sluice", "sluice bench -p 64 -n 32"}},
    bench_command},
{CMD_TRACE, "trace", "record routing and cache events",
    "Runs a text through the model and writes to a small binary file which experts each token used, with what weight, what the cache had "
    "of them, and how long the step waited. A text longer than the context is run in windows. With -n the model continues the text by "
    "that many tokens. --chunk 1 runs the text token by token, as decoding does. Other commands record the same with --trace FILE.",
    {{"of a text, token by token", "sluice trace -m model.gguf --chunk 1 -f text.txt -o text.slt"},
     {"of a prompt and its continuation", "sluice trace -m model.gguf -p \"Once upon a time\" -n 500 -o story.slt"},
     {"of any run", "sluice run -m model.gguf -p \"Hello\" --trace hello.slt"}},
    trace_command},
{CMD_SIMULATE, "simulate", "replay a trace through cache policies and sizes",
    "Replays recorded routing through the engine's own cache with every policy and a range of sizes, from half of what one token touches "
    "to everything, and prints the hit rates. Beside them stand two that know the future: pinned (the most used experts stay for ever, "
    "and were there from the start) and belady (no cache of that size can hit more, whatever its policy and floor, unless it reads "
    "ahead). Then what the trace lets foretell without a cache. --disk, or what doctor measured, tells how many tokens per second the "
    "disk allows.",
    {{"a recorded trace", "sluice simulate -f trace.slt"},
     {"with the speed of a disk", "sluice simulate -f trace.slt --disk 7GB/s"},
     {"for plot", "sluice simulate -f trace.slt --json > sim.jsonl; sluice plot -f sim.jsonl -o hits.svg"}},
    simulate_command},
{CMD_PLOT, "plot", "draw bench, trace and simulate files",
    "Draws a picture, .svg or .png, of a file that bench, trace or simulate wrote. What it is, is seen from the file: a trace becomes a "
    "heat map of its experts or, with --kind reuse, the distances between uses; lines of simulate --json become hit rates over cache size, "
    "those of bench --json speed over memory.",
    {{"hit rate over cache size", "sluice simulate -f trace.slt --json > sim.jsonl; sluice plot -f sim.jsonl -o hits.svg"},
     {"which experts a text uses", "sluice plot -f trace.slt -o experts.png"},
     {"how soon they are used again", "sluice plot -f trace.slt --kind reuse -o reuse.svg"},
     {"speed over memory", "cat bench-*.jsonl | sluice plot -f - -o speed.svg"}},
    plot_command},
{CMD_SYNTH, "synth", "write a random model of a real shape",
    "Writes a GGUF file with random weights in the exact shape of a real model, to rehearse a machine before downloading it. The "
    "length is told first. An interrupted file is continued by the same command; the same options and --seed give the same bytes. "
    "Routing is uniform, or uneven as in real text with --skew.",
    {{"eight layers of a large one", "sluice synth --shape qwen3.5-397b-a17b --quant q4_k --layers 8 -o rehearsal.gguf"},
     {"a whole one whose routing is as uneven as that of text", "sluice synth --shape qwen3.5-35b-a3b --skew 1 -o rehearsal.gguf"},
     {"a tiny one, to try things with", "sluice synth --shape tiny-qwen35moe -o tiny.gguf; sluice inspect -m tiny.gguf"}},
    synth_command},
};
/* clang-format on */
const size_t command_table_len = COUNT_OF(command_table);
_Static_assert(COUNT_OF(command_table) == N_COMMANDS, "every command of the list has a row");

const CommandSpec *command_by_name(const char *name) {
    for (size_t i = 0; i < command_table_len; i++)
        if (strcmp(command_table[i].name, name) == 0) return &command_table[i];
    return NULL;
}
