/* The list of options: one row each, in the order of --help. options.h makes the ids from it, option_table.c the table; a row says what
 * the members of OptionSpec are, and last which field of sluice_options or sluice_sampling the value fills. */
/* clang-format off */
/* ---- of single commands ---- */
OPTION(PROMPT, 'p', "prompt", KIND_TEXT, GROUP_COMMAND, CMD_RUN | CMD_TOKENIZE | CMD_LOGITS | CMD_TRACE, CMD_ALL, false, "TEXT", 0, 0,
    "the text itself", NO_FIELD)
OPTION(FILE, 'f', "file", KIND_TEXT, GROUP_COMMAND,
    CMD_RUN | CMD_TOKENIZE | CMD_DETOKENIZE | CMD_LOGITS | CMD_PPL | CMD_TRACE, CMD_ALL, false, "FILE", 0, 0,
    "read it from a file; - is standard input (the default)", NO_FIELD)
OPTION(RECORDED, 'f', "file", KIND_TEXT, GROUP_COMMAND, CMD_PLAN | CMD_SIMULATE | CMD_PLOT, CMD_ALL, false, "FILE", 0, 0,
    "a recorded trace: plan takes the hit rate from it, simulate replays it, plot draws it, or what simulate or bench printed as --json; "
    "- is standard input", NO_FIELD)
OPTION(IDS, 0, "ids", KIND_TEXT, GROUP_COMMAND, CMD_RUN | CMD_DETOKENIZE | CMD_LOGITS, CMD_ALL, false, "IDS", 0, 0,
    "token ids instead of text: 1,2,3 or a safetensors file with the tensor input_ids", NO_FIELD)
OPTION(QUESTIONS, 'f', "file", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "FILE", 0, 0,
    "instead of a conversation, answer each line of a file (a prompt, or JSON with prompt or messages, and an id) with a line of JSON",
    NO_FIELD)
OPTION(RESUME, 0, "resume", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "NAME", 0, 0,
    "go on with a conversation that was kept; last: the newest", NO_FIELD)
OPTION(TOOLS, 0, "tools", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "FILE", 0, 0,
    "functions that the model may call: a JSON file of declarations, each with the command that runs it (docs/chat.md)", NO_FIELD)
OPTION(ALLOW, 0, "allow", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "NAMES", 0, 0,
    "built-in tools that the model may call: shell, read_file, write_file, list_dir, apart by commas, or all (default: none)", NO_FIELD)
OPTION(MCP, 0, "mcp", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "COMMAND", 0, 0,
    "an MCP server to start, whose tools the model may call; --tools FILE with \"mcpServers\" takes several", NO_FIELD)
OPTION(YES, 0, "yes", KIND_FLAG, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, NULL, 0, 0,
    "run calls without asking; otherwise each is confirmed, and refused where standard input is no terminal", NO_FIELD)
OPTION(WORKDIR, 0, "workdir", KIND_TEXT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "FOLDER", 0, 0,
    "where commands of tools run, and below which read_file, write_file and list_dir stay (default: the current folder)", NO_FIELD)
OPTION(TOOL_TIME, 0, "tool-time", KIND_REAL, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "SECONDS", 0.01, 86400,
    "how long a call may take before it is killed (default 30)", NO_FIELD)
OPTION(TOOL_OUTPUT, 0, "tool-output", KIND_SIZE, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "SIZE", 0, 0,
    "how much of a result the model gets; the middle of a longer one is cut out (default: a byte for each token of the context)", NO_FIELD)
OPTION(ROUNDS, 0, "rounds", KIND_INT, GROUP_COMMAND, CMD_CHAT, CMD_ALL, false, "N", 1, 1000,
    "how many rounds of calls an answer may take (default 25)", NO_FIELD)
OPTION(PREDICT, 'n', "predict", KIND_INT, GROUP_COMMAND, CMD_RUN | CMD_CHAT | CMD_BENCH | CMD_TRACE, CMD_ALL, false, "N", -1, ANY,
    "stop after N new tokens; -1 (default): when the model ends or the context is full", NO_FIELD)
OPTION(RAW, 0, "raw", KIND_FLAG, GROUP_COMMAND, CMD_RUN, CMD_ALL, false, NULL, 0, 0,
    "continue the text as it is, without the model's chat template; special tokens in it are recognised", NO_FIELD)
OPTION(SYSTEM, 0, "system", KIND_TEXT, GROUP_COMMAND, CMD_RUN | CMD_CHAT, CMD_ALL, false, "TEXT", 0, 0,
    "a system message before the prompt", NO_FIELD)
OPTION(THINK, 0, "think", KIND_CHOICE, GROUP_COMMAND, CMD_RUN | CMD_CHAT, CMD_ALL, false, "on|off", 0, 0,
    "ask the chat template for thinking or for none (enable_thinking); default: what the template does by itself", NO_FIELD)
OPTION(OUT, 'o', "out", KIND_TEXT, GROUP_COMMAND, CMD_CHAT | CMD_LOGITS | CMD_TRACE | CMD_PLOT | CMD_SYNTH, CMD_ALL, false, "FILE", 0, 0,
    "the file to write; - is standard output", NO_FIELD)
OPTION(LAST, 0, "last", KIND_INT, GROUP_COMMAND, CMD_LOGITS, CMD_ALL, false, "N", 1, ANY,
    "write only the last N rows of logits", NO_FIELD)
OPTION(GREEDY, 0, "greedy", KIND_INT, GROUP_COMMAND, CMD_LOGITS, CMD_ALL, false, "N", 1, ANY,
    "also continue greedily for N tokens, past any end of text: greedy i32 [N]", NO_FIELD)
OPTION(HIDDEN, 0, "hidden", KIND_FLAG, GROUP_COMMAND, CMD_LOGITS, CMD_ALL, false, NULL, 0, 0,
    "also the residual stream after each layer: hidden f32 [L,T,H]", NO_FIELD)
OPTION(ROUTING, 0, "routing", KIND_FLAG, GROUP_COMMAND, CMD_LOGITS, CMD_ALL, false, NULL, 0, 0,
    "also the chosen experts, best first: topk_ids i32 and topk_weights f32 [L,T,K]", NO_FIELD)
OPTION(WINDOW, 'c', "ctx", KIND_INT, GROUP_COMMAND, CMD_PPL, CMD_ALL, false, "N", 2, 16777216,
    "length of a window in tokens (default 512); windows do not overlap", NO_FIELD)
OPTION(CHUNKS, 0, "chunks", KIND_INT, GROUP_COMMAND, CMD_PPL, CMD_ALL, false, "N", 1, ANY,
    "only the first N windows", NO_FIELD)
OPTION(SCORE, 0, "score", KIND_CHOICE, GROUP_COMMAND, CMD_PPL, CMD_ALL, false, "half|all", 0, 0,
    "half (default): the second half of each window, as llama.cpp does; all: every position but the first", NO_FIELD)
OPTION(TOKENIZER, 0, "tokenizer", KIND_TEXT, GROUP_COMMAND, CMD_TOKENIZE | CMD_DETOKENIZE, CMD_ALL, false, "FILE", 0, 0,
    "a tokenizer.json instead of a model; tokenizer_config.json beside it is read too", NO_FIELD)
OPTION(TEMPLATE, 0, "template", KIND_TEXT, GROUP_COMMAND, CMD_RENDER, CMD_ALL, false, "FILE", 0, 0,
    "a Jinja chat template instead of a model", NO_FIELD)
OPTION(LINES, 0, "lines", KIND_FLAG, GROUP_COMMAND, CMD_TOKENIZE | CMD_DETOKENIZE, CMD_ALL, false, NULL, 0, 0,
    "each line of standard input is a JSON string (or array of ids), each line of output its answer as JSON", NO_FIELD)
OPTION(NO_SPECIAL, 0, "no-special", KIND_FLAG, GROUP_COMMAND, CMD_TOKENIZE | CMD_DETOKENIZE | CMD_LOGITS, CMD_ALL, false, NULL, 0, 0,
    "read special tokens in the text as ordinary characters (detokenize: leave them out)", NO_FIELD)
OPTION(TENSORS, 0, "tensors", KIND_FLAG, GROUP_COMMAND, CMD_INSPECT, CMD_ALL, false, NULL, 0, 0,
    "list every tensor: name, type, shape, file, offset, bytes", NO_FIELD)
OPTION(SHAPE, 0, "shape", KIND_TEXT, GROUP_COMMAND, CMD_PLAN | CMD_SYNTH, CMD_ALL, false, "NAME", 0, 0,
    "the shape of a real model, without its file: qwen3.5-397b-a17b, ...", NO_FIELD)
OPTION(QUANT, 0, "quant", KIND_TEXT, GROUP_COMMAND, CMD_PLAN | CMD_SYNTH, CMD_ALL, false, "TYPE", 0, 0,
    "number format of the experts of --shape (default q4_k): f16, q8_0, q6_k, q5_k, iq4_xs, q3_k, iq3_xxs, q2_k, mxfp4, ...", NO_FIELD)
OPTION(DENSE, 0, "dense", KIND_TEXT, GROUP_COMMAND, CMD_PLAN | CMD_SYNTH, CMD_ALL, false, "TYPE", 0, 0,
    "number format of the dense weights of --shape (default q8_0)", NO_FIELD)
OPTION(LAYERS, 0, "layers", KIND_INT, GROUP_COMMAND, CMD_PLAN | CMD_SYNTH, CMD_ALL, false, "N", 1, 4096,
    "only so many layers of --shape", NO_FIELD)
OPTION(VOCAB, 0, "vocab", KIND_INT, GROUP_COMMAND, CMD_PLAN | CMD_SYNTH, CMD_ALL, false, "N", 1, ANY,
    "another vocabulary size for --shape", NO_FIELD)
OPTION(SKEW, 0, "skew", KIND_REAL, GROUP_COMMAND, CMD_SYNTH, CMD_ALL, false, "S", 0, 4,
    "how uneven the use of experts is: Zipf's exponent; 0 (default): uniform, the worst case for a cache; 1: as recorded traces", NO_FIELD)
OPTION(MTP_LAYER, 0, "mtp-layer", KIND_FLAG, GROUP_COMMAND, CMD_SYNTH, CMD_ALL, false, NULL, 0, 0,
    "with a draft (MTP) layer behind the others, as the downloads of Qwen3.5 have it", NO_FIELD)
OPTION(FLOOR, 0, "floor", KIND_INT, GROUP_COMMAND, CMD_SIMULATE, CMD_ALL, false, "N", 0, 65536,
    "slots that a layer keeps against the others (default: the engine's own)", NO_FIELD)
OPTION(DISK, 0, "disk", KIND_RATE, GROUP_COMMAND, CMD_PLAN | CMD_SIMULATE, CMD_ALL, false, "RATE", 0, 0,
    "plan for a disk of this speed, as 7GB/s", NO_FIELD)
OPTION(DRAM, 0, "dram", KIND_RATE, GROUP_COMMAND, CMD_PLAN, CMD_ALL, false, "RATE", 0, 0,
    "plan for memory of this speed, as 60GB/s", NO_FIELD)
OPTION(STATE_RAM, 0, "state-ram", KIND_SIZE, GROUP_COMMAND, CMD_CHAT | CMD_SERVE | CMD_PLAN, CMD_ALL, false, "SIZE", 1, 0,
    "memory for the states of earlier conversations, which a new one that begins alike goes on from (default: what every expert leaves; "
    "chat and serve: a sixteenth of --ram, at most four whole contexts)",
    OPTIONS_FIELD(snapshot_bytes))
OPTION(CORES, 0, "cores", KIND_INT, GROUP_COMMAND, CMD_PLAN, CMD_ALL, false, "N", 1, 1024,
    "plan for so many cores, each as fast as one of this machine", NO_FIELD)
OPTION(PREFILL, 'p', "prefill", KIND_INT, GROUP_COMMAND, CMD_BENCH, CMD_ALL, false, "N", 1, ANY,
    "prompt tokens (default 512)", NO_FIELD)
OPTION(REPS, 0, "reps", KIND_INT, GROUP_COMMAND, CMD_BENCH, CMD_ALL, false, "N", 1, 1000,
    "repetitions (default 3); medians are reported, with the extremes beside them", NO_FIELD)
OPTION(KIND, 0, "kind", KIND_TEXT, GROUP_COMMAND, CMD_PLOT, CMD_ALL, false, "NAME", 0, 0,
    "which picture to draw: heat (default) or reuse of a trace; hits of simulate; bench", NO_FIELD)
OPTION(DIR, 0, "dir", KIND_TEXT, GROUP_COMMAND, CMD_DOCTOR, CMD_ALL, false, "FOLDER", 0, 0,
    "measure the disk of this folder with a scratch file of 256 MiB, removed afterwards (default: the state folder; with -m the "
    "model's own files)", NO_FIELD)
OPTION(HOST, 0, "host", KIND_TEXT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "ADDRESS", 0, 0,
    "where to listen (default 127.0.0.1: this machine alone); any other address needs --api-key-file", NO_FIELD)
OPTION(PORT, 0, "port", KIND_INT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "N", 0, 65535,
    "the port (default 8080); 0: any that is free, told when it listens", NO_FIELD)
OPTION(API_KEY_FILE, 0, "api-key-file", KIND_TEXT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "FILE", 0, 0,
    "keys that clients must show, one per line; lines with # are comments", NO_FIELD)
OPTION(PARALLEL, 0, "parallel", KIND_INT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "N", 1, 64,
    "conversations whose states are kept, and which are answered together (default 1)", NO_FIELD)
OPTION(QUEUE, 0, "queue", KIND_INT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "N", 1, 4096,
    "requests that may wait for their turn (default 64); those beyond are told to try again later", NO_FIELD)
OPTION(STATE_DIR, 0, "state-dir", KIND_TEXT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "FOLDER", 0, 0,
    "keep the states of conversations here too, so that they are there after a restart (default: in memory alone)", NO_FIELD)
OPTION(TRACE_REQUESTS, 0, "trace-requests", KIND_TEXT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "FOLDER", 0, 0,
    "write a file for each request that is computed: the request, prompts as ids and text, events, sampled ids (default: none)", NO_FIELD)
OPTION(CORS, 0, "cors", KIND_TEXT, GROUP_COMMAND, CMD_SERVE, CMD_ALL, false, "ORIGIN", 0, 0,
    "let pages of this origin call the server, as https://app.example; * is every page (default: none but its own)", NO_FIELD)

/* ---- every command with a model ---- */
OPTION(MODEL, 'm', "model", KIND_TEXT, GROUP_MODEL, CMD_ALL, CMD_ALL & ~CMD_SYNTH, true, "PATH", 0, 0,
    "a GGUF file (of a split one any part) or a Hugging Face folder; without it the small model inside sluice answers",
    OPTIONS_FIELD(model))
OPTION(RAM, 0, "ram", KIND_SIZE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "SIZE", 1, 0,
    "memory for the whole process: 512M, 8G, 1.5T (default: what the machine really leaves)", OPTIONS_FIELD(ram_bytes))
OPTION(THREADS, 't', "threads", KIND_INT, GROUP_MODEL, CMD_ALL, CMD_PLANNED | CMD_SIMULATE, true, "N|auto", 1, 1024,
    "threads; auto (default): measured when the model is opened, mostly one per physical core", OPTIONS_FIELD(threads))
OPTION(CTX, 'c', "ctx", KIND_INT, GROUP_MODEL, CMD_ALL & ~CMD_PPL, CMD_PLANNED, true, "N", 1, 16777216,
    "positions the context holds (default: what the model was made for, at most 4096)", OPTIONS_FIELD(ctx))
OPTION(CHUNK, 0, "chunk", KIND_INT, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "N", 1, 65536,
    "prompt tokens per step; changes speed and memory, never the answer", OPTIONS_FIELD(chunk))
OPTION(EXPERTS, 0, "experts", KIND_INT, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "K", 1, 65536,
    "experts per token instead of the model's own number: lossy", OPTIONS_FIELD(experts))
OPTION(PRECISE, 0, "precise", KIND_FLAG, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, NULL, 0, 0,
    "f32 activations everywhere: slower, for checks", OPTIONS_FIELD(precise))
OPTION(KV, 0, "kv", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "f16|f32|q8_0", 0, 0,
    "number format of keys and values (default f32); q8_0 is lossy, docs/fidelity.md says how much", OPTIONS_FIELD(kv))
OPTION(CPU, 0, "cpu", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, KERNELS_CHOICES "auto", 0, 0,
    "instruction set; changes speed, never the answer", OPTIONS_FIELD(cpu))
OPTION(IO, 0, "io", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, DISK_CHOICES, 0, 0,
    "how experts are read; auto (default): threads or uring, whichever was measured to be faster here; mmap: for comparison",
    OPTIONS_FIELD(io))
OPTION(DIRECT, 0, "direct", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "on|off|auto", 0, 0,
    "read experts past the page cache; auto (default): if that is faster here", OPTIONS_FIELD(direct))
OPTION(MIRROR, 0, "mirror", KIND_TEXT, GROUP_MODEL, CMD_ALL, CMD_ENGINE | CMD_SERVE, true, "PATH", 0, 0,
    "copies of the model's files on other drives: a folder, or several apart by commas; each read goes to the drive that will finish "
    "first", OPTIONS_FIELD(mirror))
OPTION(POLICY, 0, "policy", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, CACHE_CHOICES "auto", 0, 0,
    "which expert leaves memory first; changes speed, never the answer", OPTIONS_FIELD(policy))
OPTION(LOOKAHEAD, 0, "lookahead", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "on|off|auto", 0, 0,
    "guess the next layer's experts and read them while the disk is idle; auto: as long as it pays", OPTIONS_FIELD(lookahead))
OPTION(MTP, 0, "mtp", KIND_CHOICE, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, "on|off|auto", 0, 0,
    "try two tokens at once, the second guessed by the model's own draft (MTP) layer: changes speed, never the answer; auto: where all "
    "experts are in memory, as long as it pays", OPTIONS_FIELD(mtp))
OPTION(MLOCK, 0, "mlock", KIND_FLAG, GROUP_MODEL, CMD_ALL, CMD_PLANNED, true, NULL, 0, 0,
    "lock the dense weights in memory, so that nothing can push them out; refused where the memlock limit is too small",
    OPTIONS_FIELD(mlock))
OPTION(TRACE, 0, "trace", KIND_TEXT, GROUP_MODEL, CMD_ALL, CMD_ENGINE, true, "FILE", 0, 0,
    "also record which experts each token used and what the cache had of them, for simulate and plot", NO_FIELD)

OPTION(TEMP, 0, "temp", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "T", 0, 1000,
    "temperature; 0 is greedy, ties to the lowest id (default: the model's own settings)", SAMPLING_FIELD(temperature))
OPTION(TOP_K, 0, "top-k", KIND_INT, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "K", 0, ANY,
    "only the K most likely tokens; 0: all", SAMPLING_FIELD(top_k))
OPTION(TOP_P, 0, "top-p", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "P", 0, 1,
    "only the most likely tokens that together reach P; 1: all", SAMPLING_FIELD(top_p))
OPTION(MIN_P, 0, "min-p", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "P", 0, 1,
    "only tokens at least P times as likely as the best; 0: all", SAMPLING_FIELD(min_p))
OPTION(PRESENCE, 0, "presence", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "X", -100, 100,
    "subtracted from the logit of a token that occurred; 0: off", SAMPLING_FIELD(presence))
OPTION(FREQUENCY, 0, "frequency", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "X", -100, 100,
    "subtracted once per occurrence; 0: off", SAMPLING_FIELD(frequency))
OPTION(REPEAT, 0, "repeat", KIND_REAL, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_CHAT | CMD_SERVE | CMD_TRACE, true, "X", 0.01, 100,
    "positive logits of tokens that occurred are divided by it, negative ones multiplied; 1: off", SAMPLING_FIELD(repeat))
OPTION(SEED, 0, "seed", KIND_INT, GROUP_SAMPLING, CMD_ALL, CMD_RUN | CMD_TRACE | CMD_BENCH | CMD_SYNTH, true, "N", 0, 9223372036854775807.0,
    "of the random generator (default: a new one each time, printed by --stats; of synth: 0, of bench: 1)", NO_FIELD)

OPTION(STATS, 0, "stats", KIND_FLAG, GROUP_OUTPUT, CMD_ALL, CMD_ENGINE, true, NULL, 0, 0,
    "print plan, speed, bytes read, hit rate, disk wait and memory at the end", NO_FIELD)
OPTION(JSON, 0, "json", KIND_FLAG, GROUP_OUTPUT, CMD_ALL, CMD_ALL, true, NULL, 0, 0,
    "machine-readable results on standard output, one object per line", NO_FIELD)
OPTION(VERBOSE, 0, "verbose", KIND_FLAG, GROUP_OUTPUT, CMD_ALL, CMD_ALL, true, NULL, 0, 0,
    "say more on standard error", NO_FIELD)
OPTION(QUIET, 0, "quiet", KIND_FLAG, GROUP_OUTPUT, CMD_ALL, CMD_ALL, true, NULL, 0, 0,
    "say nothing but errors on standard error", NO_FIELD)
OPTION(HELP, 'h', "help", KIND_FLAG, GROUP_OUTPUT, CMD_ALL, CMD_ALL, false, NULL, 0, 0,
    "this text", NO_FIELD)
/* clang-format on */
