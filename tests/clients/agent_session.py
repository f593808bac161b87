"""A session of a coding agent, made up: a long system prompt, twenty tools, and turns in which the agent calls tools and reads what they
say. The same every time; no text in it is anybody's but ours."""
import json
import random

VERBS = ["read", "change", "check", "move", "keep", "test", "name", "explain", "measure", "split", "join", "remove"]
THINGS = ["a file", "a function", "a test", "the build", "a comment", "the log", "a folder", "an error", "the configuration", "a branch",
          "the documentation", "a type", "an option", "the cache"]
WHENS = ["before you answer", "after each change", "when a test fails", "unless the user says otherwise", "as early as you can",
         "only where it is asked for", "once the cause is known", "in a step of its own"]
WHYS = ["others read it later", "a wrong guess costs more than a look", "the user pays for each try", "what is not tested is not known",
        "a small change is easier to take back", "names outlive their authors"]
SECTIONS = ["How you work", "Reading before writing", "Tests", "Files", "Errors", "Style", "Commits", "What you must not do", "Tools",
            "Talking to the user"]
TOOLS = [
    ("read_file", "Reads a file.", {"path": "string", "offset": "integer", "limit": "integer"}),
    ("write_file", "Writes a whole file.", {"path": "string", "content": "string"}),
    ("edit_file", "Replaces one text in a file by another.", {"path": "string", "old": "string", "new": "string", "all": "boolean"}),
    ("list_folder", "Lists a folder.", {"path": "string", "depth": "integer"}),
    ("find_files", "Finds files by a pattern of their name.", {"pattern": "string", "under": "string"}),
    ("search_text", "Searches files for a regular expression.", {"pattern": "string", "under": "string", "context": "integer"}),
    ("run_command", "Runs a command in a shell.", {"command": "string", "timeout_s": "integer", "background": "boolean"}),
    ("read_output", "Reads what a command in the background has said.", {"id": "string", "wait": "boolean"}),
    ("stop_command", "Stops a command in the background.", {"id": "string"}),
    ("run_tests", "Runs tests by name.", {"names": "array", "verbose": "boolean"}),
    ("git_status", "What has changed.", {"path": "string"}),
    ("git_diff", "The changes as a diff.", {"path": "string", "staged": "boolean"}),
    ("git_log", "The last commits.", {"count": "integer", "path": "string"}),
    ("git_commit", "Commits what is staged.", {"message": "string", "all": "boolean"}),
    ("fetch_page", "Fetches a page as text.", {"url": "string", "lines": "integer"}),
    ("look_up_symbol", "Where a name is defined and used.", {"name": "string", "kind": "string"}),
    ("rename_symbol", "Renames a symbol everywhere.", {"name": "string", "to": "string"}),
    ("note", "Keeps a note for later turns.", {"text": "string", "tags": "array"}),
    ("plan", "Sets the steps of the task.", {"steps": "array", "current": "integer"}),
    ("ask_user", "Asks the user a question.", {"question": "string", "choices": "array"}),
]


def system_prompt(count, wanted, name):
    """Rules under headings, as many as make `wanted` tokens; count(text) says how many there are."""
    dice = random.Random(7)
    text = f"You are {name}, an agent that writes programs together with a user, in a folder of theirs.\n"
    parts, have = [text], count(text)
    while have < wanted:
        section = [f"\n## {SECTIONS[len(parts) % len(SECTIONS)]}, part {len(parts)}\n\n"]
        for _ in range(12):
            section.append(f"- {dice.choice(VERBS).capitalize()} {dice.choice(THINGS)} {dice.choice(WHENS)}, because {dice.choice(WHYS)}.\n")
        parts.append("".join(section))
        have += count(parts[-1])
    return "".join(parts)


def tools():
    """As OpenAI has them."""
    made = []
    for name, told, fields in TOOLS:
        properties = {}
        for field, kind in fields.items():
            properties[field] = {"type": kind, "description": f"The {field.replace('_', ' ')} of what is to be done."}
            if kind == "array":
                properties[field]["items"] = {"type": "string"}
        made.append({"type": "function", "function": {"name": name, "description": told, "parameters": {
            "type": "object", "properties": properties, "required": list(fields)[:1]}}})
    return made


def turns(n):
    """What is added before each of n requests, as OpenAI's messages: a question, or the agent's calls and their results."""
    dice, made, calls = random.Random(11), [], 0
    for turn in range(n):
        if turn % 5 == 0:
            answer = [{"role": "assistant", "content": f"Done: I could {dice.choice(VERBS)} {dice.choice(THINGS)}."}] if turn else []
            made.append(answer + [{"role": "user", "content": f"Please {dice.choice(VERBS)} {dice.choice(THINGS)} {dice.choice(WHENS)}."}])
            continue
        added, uses = [], []
        for _ in range(1 + turn % 2):
            calls += 1
            path = f"src/part_{dice.randrange(40)}.c"
            name, arguments = dice.choice([("read_file", {"path": path, "offset": dice.randrange(200), "limit": 40}),
                                           ("search_text", {"pattern": f"part_{dice.randrange(9)}_open", "under": "src"}),
                                           ("run_command", {"command": f"make build/test_{dice.randrange(9)}", "timeout_s": 60})])
            uses.append({"id": f"call_{calls:04d}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}})
            lines = [f"{path}:{i}: int part_{dice.randrange(9)}_open(int {dice.choice('abc')}); /* {dice.choice(WHYS)} */"
                     for i in range(4 + dice.randrange(6))]
            added.append({"role": "tool", "tool_call_id": f"call_{calls:04d}", "content": "\n".join(lines)})
        made.append([{"role": "assistant", "content": f"I {dice.choice(VERBS)} {dice.choice(THINGS)} first.", "tool_calls": uses}, *added])
    return made


def anthropic_tools():
    return [{"name": t["function"]["name"], "description": t["function"]["description"], "input_schema": t["function"]["parameters"]}
            for t in tools()]


def anthropic_turn(messages):
    """The same messages as blocks."""
    made = []
    for m in messages:
        if m["role"] == "tool":
            block = {"type": "tool_result", "tool_use_id": m["tool_call_id"], "content": m["content"]}
            if made and made[-1]["role"] == "user":
                made[-1]["content"].append(block)
            else:
                made.append({"role": "user", "content": [block]})
            continue
        content = [{"type": "text", "text": m["content"]}]
        for call in m.get("tool_calls", []):
            content.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"],
                            "input": json.loads(call["function"]["arguments"])})
        made.append({"role": m["role"], "content": content})
    return made
