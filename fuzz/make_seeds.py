#!/usr/bin/env python3
"""Writes the seeds of fuzz/corpus/: small valid inputs that the fuzz targets start from. Needs nothing but Python."""

import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def save(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# GGUF: magic, version, counts; key-value pairs; tensors; padding; data.
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def gguf_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        item_kind, items = value
        return struct.pack("<IQ", item_kind, len(items)) + b"".join(gguf_value(item_kind, item) for item in items)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def gguf(pairs, tensors, version=3):
    """tensors: (name, dimensions innermost first, type, bytes)"""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, kind, value in pairs:
        out += gguf_string(key) + struct.pack("<I", kind) + gguf_value(kind, value)
    offset, data = 0, b""
    for name, dimensions, dtype, raw in tensors:
        out += gguf_string(name) + struct.pack(f"<I{len(dimensions)}QIQ", len(dimensions), *dimensions, dtype, offset)
        data += raw + b"\0" * (-len(raw) % 32)
        offset = len(data)
    return out + b"\0" * (-len(out) % 32) + data


def gguf_vocabulary(model, tokens, **arrays):
    pairs = [
        ("general.architecture", STRING, "llama"),
        ("tokenizer.ggml.model", STRING, model),
        ("tokenizer.ggml.pre", STRING, "gpt-2"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
        ("tokenizer.ggml.bos_token_id", U32, 1),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
    ]
    for name, value in arrays.items():
        pairs.append((f"tokenizer.ggml.{name}", ARRAY, value))
    return gguf(pairs, [])


def make_gguf():
    f32 = struct.pack("<4f", 1, 2, 3, 4)
    q8_0 = struct.pack("<e32b", 0.5, *range(32))
    pairs = [("general.architecture", STRING, "llama"), ("general.alignment", U32, 32), ("llama.rope.freq_base", F32, 1e4)]
    save("gguf", "tensors.gguf", gguf(pairs, [("a.weight", [2, 2], 0, f32), ("b.weight", [32, 1], 8, q8_0)]))
    save("gguf", "version2.gguf", gguf(pairs[:1], [("a", [4], 0, f32)], version=2))
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "\u2581a", "e"]
    kinds = (I32, [2, 3, 3, 6, 1, 1, 1, 1])
    save("gguf", "spm.gguf", gguf_vocabulary("llama", pieces, scores=(F32, [-float(i) for i in range(8)]), token_type=kinds))
    save("gguf", "unigram.gguf", gguf_vocabulary("t5", pieces, scores=(F32, [-float(i) for i in range(8)]), token_type=kinds))
    save("gguf", "bpe.gguf", gguf_vocabulary("gpt2", ["a", "b", "ab", "\u0120", "\u0120a", "<|end|>"],
                                             merges=(STRING, ["a b", "\u0120 a"]), token_type=(I32, [1, 1, 1, 1, 1, 3])))


def make_safetensors():
    def file(header, data):
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    save("safetensors", "two.safetensors", file(
        {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
         "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]}}, bytes(10)))
    save("safetensors", "fp8.safetensors", file(
        {"w": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}, "m": {"dtype": "BOOL", "shape": [1], "data_offsets": [4, 5]}}, bytes(5)))
    save("safetensors", "empty.safetensors", file({}, b""))


def make_config():
    save("config_json", "deepseek.json", json.dumps({
        "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 64, "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0},
        "quantization_config": {"fmt": "e4m3", "weight_block_size": [128, 128]}, "tie_word_embeddings": False, "eos_token_id": [1, 2]}))
    save("config_json", "mixed.json", '{"a": [1, "x", null, {"b": [true, -1.5e3]}], "": {}, "n": 18446744073709551615, "u": "\\u00e9\\ud83d\\ude00"}')


def make_tokenizer():
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    save("tokenizer_json", "byte_bpe.json", json.dumps({
        "added_tokens": [{"id": 5, "content": "<|end|>", **special}, {"id": 6, "content": "<mask>", **special, "lstrip": True, "normalized": True}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}, {"type": "Strip"}]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}| ?\p{L}+|\s+(?!\S)"}, "behavior": "Isolated", "invert": False}, byte_level]},
        "decoder": byte_level,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [5], "tokens": ["<|end|>"]}}},
        "model": {"type": "BPE", "ignore_merges": True, "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4}, "merges": [["a", "b"], "\u0120 a"]}}))
    save("tokenizer_json", "spm_bpe.json", json.dumps({
        "added_tokens": [{"id": 0, "content": "<unk>", **special}, {"id": 1, "content": "<s>", **special}],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "\u2581": 3, "a": 4, "\u2581a": 5}, "merges": ["\u2581 a"]}}))
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": False}
    save("tokenizer_json", "unigram.json", json.dumps({
        "added_tokens": [{"id": 0, "content": "<unk>", **special}], "pre_tokenizer": metaspace, "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [["<unk>", 0.0], ["\u2581", -1.0], ["a", -2.0], ["\u2581a", -2.5]]}}))


def make_answers():
    """An answer, then three bytes of choices: size of the pieces, thoughts, format."""
    calls = "<\uff5ctool\u2581calls\u2581begin\uff5c><\uff5ctool\u2581call\u2581begin\uff5c>{}<\uff5ctool\u2581call\u2581end\uff5c><\uff5ctool\u2581calls\u2581end\uff5c>"
    arguments = '{"a": ["}", 1.5, null], "b": {"c": "\\"\\u00e9"}}'
    answers = {
        "deepseek_v3": (1, calls.format("function<\uff5ctool\u2581sep\uff5c>f\n```json\n" + arguments + "\n```")),
        "deepseek_v31": (2, calls.format("f<\uff5ctool\u2581sep\uff5c>" + arguments)),
        "hermes": (3, 'So <tool_call>\n{"name": "f", "arguments": ' + arguments + '}\n</tool_call>\n<tool_call>{"arguments": "{}", "name": "g"}</tool_call>'),
        "kimi": (4, "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>" + arguments +
                 "<|tool_call_end|><|tool_calls_section_end|> done"),
    }
    for name, (tools, text) in answers.items():
        save("answer", name, text.encode() + bytes([2, 0, tools]))
        save("answer", name + "_thought", ("<think>\nHm.\n</think>\n\n" + text).encode() + bytes([0, 1, tools]))


def make_requests():
    """A body, then a byte that chooses the route."""
    function = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
    chat = {
        "model": "m", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "top_p": 0.9, "n": 2, "seed": 7,
        "stop": ["a", "\u00e9"], "max_completion_tokens": 16, "logprobs": True, "top_logprobs": 2, "logit_bias": {"5": -100},
        "presence_penalty": 0.1, "tools": [{"type": "function", "function": function}], "tool_choice": "auto",
        "messages": [
            {"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"}],
    }
    bodies = {
        "chat": (0, chat),
        "completion": (1, {"prompt": ["a", "b"], "max_tokens": 4, "echo": True, "logprobs": 1, "stop": "x"}),
        "json_answer": (0, {"messages": chat["messages"][:2], "response_format": {"type": "json_schema", "json_schema": {
            "name": "a", "strict": True, "schema": function["parameters"]}}}),
        "completion_ids": (1, {"prompt": [1, 2, 3]}),
        "embedding": (2, {"input": ["a", "b"], "encoding_format": "base64"}),
        "tokenize": (3, {"content": "a", "add_special": False, "with_pieces": True}),
        "detokenize": (4, {"tokens": [1, 2]}),
    }
    for name, (route, body) in bodies.items():
        save("api_request", name, json.dumps(body).encode() + bytes([route]))


def make_schemas():
    """A schema on one line, an answer, then a byte of choices: size of the pieces."""
    person = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer", "minimum": 0}, "ok": {"enum": [True, None]}},
              "required": ["name"], "additionalProperties": False}
    node = {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"v": {"const": [1, "x"]}, "next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["next"]}}}
    seeds = {
        "person": (person, '{"name": "\u00e9\\n", "age": 12, "ok": null}'),
        "list": (node, '{"v":[1,"x"],"next":{"next":null}}'),
        "tuple": ({"type": "array", "prefixItems": [{"type": "number"}, {"type": ["string", "boolean"]}], "items": False, "minItems": 1}, "[-1.5e3, true]"),
        "map": ({"type": "object", "additionalProperties": {"oneOf": [{"type": "string", "minLength": 2}, {"items": {"type": "integer", "exclusiveMaximum": 5}}]}},
                '{"a": "bc", "\u00e9": [1, -70]}'),
        "any": (True, '[{"a": "\\ud83d\\ude00"}, 0.5, false]'),
        "refused": ({"properties": {"a/b": {"pattern": "x"}}}, ""),
    }
    for name, (schema, answer) in seeds.items():
        save("json_schema", name, json.dumps(schema).encode() + b"\n" + answer.encode() + bytes([2]))


def make_http():
    """Bytes, then two of choices: size of the pieces, limits."""
    requests = {
        "get": "GET /v1/models?a=b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "post": "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}GET",
        "chunked": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: t\r\n\r\nGET",
        "close": "GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
    }
    for name, text in requests.items():
        for limits in (0, 1):
            save("http_request", f"{name}_{limits}", text.encode() + bytes([3, limits]))


def make_templates():
    """A template, then two bytes of choices: tools and such, conversation."""
    templates = {
        "turns": "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + (m.content or '') | trim }}{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}",
        "tools": "{%- if tools %}{% for t in tools %}{{- t.function | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}{%- endif -%}"
                 "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c['function']['arguments'] | tojson(indent=2) }}{% endfor %}{% endfor %}",
        "state": "{% set ns = namespace(n=0, last=none) %}{% for m in messages[::-1] %}{% set ns.n = ns.n + loop.index0 %}{% if m.role == 'user' and m.content is string %}"
                 "{% set ns.last = m.content.split('</think>')[-1].lstrip('\\n') %}{% break %}{% endif %}{% endfor %}{{ ns.n ~ ns.last }}",
        "macro": "{% macro show(x, sep=', ') %}{{ x | map('upper') | join(sep) if x is iterable and x is not string else x }}{% endmacro %}"
                 "{{ show(names | default(['q']) | sort) }}{% for k, v in (messages | first | default({})).items() %}{{ show(k) }}={{ '%s' % v }}{% endfor %}",
        "refuse": "{% if messages | length % 2 == 0 %}{{ raise_exception('odd ' ~ messages | selectattr('role', 'equalto', 'user') | list | length) }}{% else %}{{ range(3) | list }}{% endif %}",
    }
    for name, text in templates.items():
        for which in (0, 1):
            save("chat_template", f"{name}_{which}", text.encode() + bytes([7, which]))


def make_runs():
    """A run without its checksums and padding, which the target puts in, then a byte that asks for that."""
    for name, first_page, n_pages, space in (("one", 0, 1, b""), ("later", 1, 2, b"key")):
        layers, row_bytes, label = 2, 1, b"label"
        fixed = struct.pack("<8sIIQQ16sQQ6I", b"MLARUN\r\n", 1, 0x01020304, 4096, 1, b"i" * 16, layers * 64 * row_bytes, row_bytes,
                            layers, 64, first_page, n_pages, len(space), len(label))
        tokens = b"".join(struct.pack("<i", i) for i in range(64 * (first_page + n_pages)))
        save("disk_run", name, fixed + bytes(16 * n_pages) + tokens + space + label + b"\x01")


if __name__ == "__main__":
    make_gguf()
    make_safetensors()
    make_config()
    make_tokenizer()
    make_answers()
    make_requests()
    make_schemas()
    make_http()
    make_templates()
    make_runs()
