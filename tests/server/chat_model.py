"""A copy of a GGUF file with a chat template: the model that ships has none, and /v1/chat/completions needs one."""

import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9

# Plain words, so that any vocabulary has them; names of tools are shown with the markers of the Hermes format.
TEMPLATE = (
    "{% if tools %}Tools, called with <tool_call>:\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def skip_value(data, at, kind):
    if kind == STRING:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind == ARRAY:
        kind, n = struct.unpack_from("<IQ", data, at)
        at += 12
        if kind in SIZES:
            return at + n * SIZES[kind]
        for _ in range(n):
            at = skip_value(data, at, kind)
        return at
    return at + SIZES[kind]


def with_chat_template(source, target, template=TEMPLATE, alignment=32):
    """Appends the key tokenizer.chat_template and moves tensors to the next aligned place."""
    with open(source, "rb") as file:
        data = file.read()
    magic, version, n_tensors, n_pairs = struct.unpack_from("<4sIQQ", data, 0)
    assert magic == b"GGUF"
    at = 24
    for _ in range(n_pairs):
        at = skip_value(data, at, STRING)
        at = skip_value(data, at + 4, struct.unpack_from("<I", data, at)[0])
    pairs_end = at
    for _ in range(n_tensors):
        at = skip_value(data, at, STRING)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 12
    key, value = b"tokenizer.chat_template", template.encode()
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", STRING, len(value)) + value
    head = struct.pack("<4sIQQ", magic, version, n_tensors, n_pairs + 1) + data[24:pairs_end] + pair + data[pairs_end:at]
    tensors = data[-(-at // alignment) * alignment :]
    with open(target, "wb") as out:
        out.write(head + bytes(-len(head) % alignment) + tensors)
