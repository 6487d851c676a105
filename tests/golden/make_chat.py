"""Makes text/chat_templates.json and text/jinja.json: what jinja2 renders, set up as transformers' apply_chat_template does.

    python make_chat.py

The templates lie in text/chat/: written for these tests, in the constructs of the published ones that they are named after.
The snippets of the language are in jinja_snippets.py.
"""

import json
from pathlib import Path

from jinja_snippets import CONTEXT, SNIPPETS
from transformers.utils.chat_template_utils import render_jinja_template

TEXT = Path(__file__).resolve().parent / "text"

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The \"weather\" <now> & then,\nin a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": " Its name "}, "days": {"type": "array", "items": {"type": "integer"}}, "limit": {"type": "number", "default": 1.5}},
            "required": ["city"],
        },
    },
}  # fmt: skip
CLOCK = {"type": "function", "function": {"name": "heure", "description": "L'heure, même à 中文", "parameters": {"type": "object", "properties": {}}}}
SYSTEM = {"role": "system", "content": "Be brief. "}
USER = {"role": "user", "content": " Hello, <who> are 'you'?\n"}
ANSWER = {"role": "assistant", "content": "A \"model\"."}
AGAIN = {"role": "user", "content": "Nice\n\nday <|im_end|> 中文 é 😀"}
THOUGHT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes.\n"}
REASONED = {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
RESULT = {"role": "tool", "tool_call_id": "functions.get_weather:0", "name": "get_weather", "content": "{\"degrees\": 20}"}
EMPTY = {"role": "user", "content": ""}


def calling(arguments, content="", n=1) -> dict:
    call = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [call | {"id": f"functions.get_weather:{i}"} for i in range(n)]}


ARGUMENTS = {"city": "Köln \"Süd\"", "days": [1, 2], "limit": 2.0, "exact": True, "note": None}
CALL, CALL_TEXT, CALL_NONE = calling(ARGUMENTS), calling(json.dumps(ARGUMENTS)), calling(json.dumps(ARGUMENTS), None)
CONVERSATIONS = [
    [USER], [SYSTEM, USER], [SYSTEM, USER, ANSWER, AGAIN], [USER, ANSWER, AGAIN], [EMPTY], [SYSTEM, SYSTEM, USER], [USER, THOUGHT, AGAIN],
    [USER, REASONED, AGAIN], [SYSTEM, USER, ANSWER], [USER, THOUGHT], [USER, ANSWER, ANSWER], [SYSTEM], [],
    [USER, CALL, RESULT], [USER, CALL_TEXT, RESULT], [USER, CALL_NONE, RESULT, ANSWER, AGAIN],
    [SYSTEM, USER, calling(json.dumps(ARGUMENTS), "Let me see.", n=2), RESULT, RESULT, ANSWER, AGAIN], [USER, {"role": "user", "content": [{"type": "text", "text": "parts"}]}],
    [{"role": "nobody", "content": "x"}],
]  # fmt: skip
ARGUMENT_SETS = {
    "qwen3": [{"enable_thinking": False}, {"enable_thinking": True}],
    "deepseek-v3.1": [{"thinking": True}, {"thinking": False}],
    "llama-3.1": [{"date_string": "1 Jan 2030"}, {"tools_in_user_message": False}, {"builtin_tools": ["get_weather", "code_interpreter"]}],
}


def render(source: str, messages: list[dict], **options) -> dict:
    """{"text": ...}, or {"error": ...} with jinja2's message, which is for the reader: ours need not be the same."""
    try:
        rendered, _ = render_jinja_template([messages], chat_template=source, **options)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"text": rendered[0]}


def chat_cases(name: str, source: str) -> list[dict]:
    bos, eos = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>") if name.startswith("deepseek") else ("<|begin_of_text|>", "<|eot_id|>")
    settings = [{}, {"tools": [WEATHER, CLOCK]}, {"add_generation_prompt": False}]
    settings += [{"arguments": a, "tools": [WEATHER]} for a in ARGUMENT_SETS.get(name, [])]
    cases = []
    for setting in settings:
        tools, arguments, prompt = setting.get("tools"), setting.get("arguments", {}), setting.get("add_generation_prompt", True)
        for i, messages in enumerate(CONVERSATIONS):
            outcome = render(source, messages, tools=tools, add_generation_prompt=prompt, bos_token=bos, eos_token=eos, **arguments)
            cases.append({"conversation": i} | setting | outcome)
    return [{"name": name, "bos_token": bos, "eos_token": eos, "cases": cases}]


def save(name: str, document) -> None:
    (TEXT / name).write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


def main() -> None:
    templates = []
    for path in sorted((TEXT / "chat").glob("*.jinja")):
        templates += chat_cases(path.stem, path.read_text(encoding="utf-8"))
    save("chat_templates.json", {"conversations": CONVERSATIONS, "templates": templates})
    save("jinja.json", {"context": CONTEXT, "snippets": [{"template": s} | render(s, [], **CONTEXT) for s in SNIPPETS]})


if __name__ == "__main__":
    main()
