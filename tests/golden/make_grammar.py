"""Makes grammar/schemas.json: JSON Schemas, texts that satisfy them and texts that do not, as Python's json and jsonschema judge.

Texts that satisfy a schema are written as the engine promises to take them: properties in the schema's order, values of enum and
const compactly. They differ in white space and in how strings are escaped. The others are made of them by small changes.
"""

import json
import random
import zlib
from pathlib import Path

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parent
N_VALID, N_INVALID = 8, 24
WORDS = ["", "a", "Zed", "caf\u00e9", "\u65e5\u672c", "\U0001f600", "x\ty", "quote\"", "back\\slash", "two words", "{\"a\":1}", "\u00ff\n", "12"]


def obj(properties, required=None, **more):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required, **more}


INT, STR, NUM, BOOL, NULL = ({"type": t} for t in ("integer", "string", "number", "boolean", "null"))

SCHEMAS = {
    "any_object": {"type": "object"},
    "any": True,
    "strict": obj({"name": STR, "age": INT, "ok": BOOL}, additionalProperties=False),
    "optional": obj({"a": INT, "b": STR, "c": NUM, "d": BOOL}, ["c"]),
    "all_optional": obj({"a": INT, "ab": STR, "abc": NULL}, []),
    "closed_and_empty": obj({}, additionalProperties=False),
    "map": {"type": "object", "additionalProperties": INT},
    "named_and_further": obj({"a": INT, "key": STR}, ["key"], additionalProperties={"type": "boolean"}),
    "escaped_names": obj({"a\"b": INT, "c\\d": INT, "\u00e9": INT, "e/f": INT, "\n": INT}),
    "array": {"type": "array", "items": INT},
    "bounded_array": {"type": "array", "items": STR, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [INT, STR, {"type": ["boolean", "null"]}], "items": NUM, "minItems": 3},
    "matrix": {"type": "array", "items": {"type": "array", "items": NUM, "minItems": 1}, "maxItems": 3},
    "string": STR,
    "bounded_string": {"type": "string", "minLength": 2, "maxLength": 5},
    "number": NUM,
    "integer": INT,
    "range": {"type": "integer", "minimum": -12, "maximum": 105},
    "positive": {"type": "integer", "exclusiveMinimum": 0},
    "negative": {"type": "integer", "exclusiveMaximum": -99},
    "between": {"type": "integer", "exclusiveMinimum": 199.5, "exclusiveMaximum": 201},
    "enum": {"enum": ["red", "re", "green", 1, 12, -3, None, True, 1.5, {"a": [1, "x"]}, []]},
    "typed_enum": {"type": "string", "enum": ["low", "lower", "lowest"]},
    "const": obj({"kind": {"const": "circle"}, "radius": NUM}),
    "nullable": obj({"a": {"type": ["string", "null"]}, "b": {"anyOf": [INT, NULL], "default": None}}),
    "union": {"anyOf": [obj({"type": {"const": "cat"}, "lives": INT}), obj({"type": {"const": "dog"}, "good": BOOL}), STR]},
    "union_of_equal_beginnings": {"oneOf": [obj({"id": STR, "x": INT}), obj({"id": STR, "x": STR, "y": BOOL}), obj({"id": NULL})]},
    "nested": obj({"a": obj({"b": obj({"c": {"type": "array", "items": obj({"d": INT})}})})}),
    "definitions": {"$defs": {"point": obj({"x": NUM, "y": NUM})}, "type": "object", "required": ["from", "to"],
                    "properties": {"from": {"$ref": "#/$defs/point"}, "to": {"allOf": [{"$ref": "#/$defs/point"}], "description": "d"}}},
    "list": {"$ref": "#/$defs/node", "$defs": {"node": obj({"value": INT, "next": {"anyOf": [{"$ref": "#/$defs/node"}, NULL]}})}},
    "tree": obj({"name": STR, "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}}),
    "mutual": {"$ref": "#/definitions/a", "definitions": {"a": {"anyOf": [INT, {"$ref": "#/definitions/b"}]},
                                                          "b": {"type": "array", "items": {"$ref": "#/definitions/a"}, "maxItems": 2}}},
    "pydantic": {"$defs": {"Step": {"properties": {"explanation": {"title": "Explanation", "type": "string"}, "output": {"title": "Output", "type": "string"}},
                                    "required": ["explanation", "output"], "title": "Step", "type": "object", "additionalProperties": False}},
                 "properties": {"steps": {"items": {"$ref": "#/$defs/Step"}, "title": "Steps", "type": "array"},
                                "final_answer": {"title": "Final Answer", "type": "string"},
                                "unit": {"anyOf": [{"enum": ["m", "s"], "type": "string"}, {"type": "null"}], "default": None, "title": "Unit"}},
                 "required": ["steps", "final_answer"], "title": "Math", "type": "object", "additionalProperties": False},
    "no_type": {"properties": {"a": INT}, "required": ["a"]},
}


class Writer:
    """Random texts that satisfy a schema."""

    def __init__(self, root, chance):
        self.root, self.chance = root, chance

    def string(self, value):
        return json.dumps(value, ensure_ascii=self.chance.random() < 0.5)

    def space(self):
        return self.chance.choice(["", "", "", " ", "\n  ", "\t", "\r\n"])

    def joined(self, brackets, parts):
        inside = ",".join(self.space() + part + self.space() for part in parts) or self.space()
        return brackets[0] + inside + brackets[1]

    def word(self, low=0, high=10**9):
        for _ in range(1000):
            word = "".join(self.chance.choice(WORDS) for _ in range(self.chance.randint(1, 3)))
            if low <= len(word) <= high:
                return word
        return "x" * low

    def number(self):
        return self.chance.choice(["0", "-0", "1", "-1", "12.5", "-0.25", "1e5", "3.0E-7", "2e+10", str(self.chance.randint(-10**6, 10**6)), "123456789012345678"])

    def integer(self, schema):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(10**9)))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 10**9))
        good = []
        while not good:
            some = [self.chance.randint(int(low) - 1, int(high) + 1), self.chance.randint(-20, 20), int(low), int(high), int(low) + 1, int(high) - 1]
            good = [n for n in some if Draft202012Validator(schema).is_valid(n)]
        return str(self.chance.choice(good))

    def any(self, depth):
        kinds = ["string", "number", "boolean", "null"] + (["object", "array"] if depth < 4 else [])
        return self.write({"type": self.chance.choice(kinds)}, depth)

    def write(self, schema, depth=0):
        if schema is True or schema == {}:
            return self.any(depth)
        if "$ref" in schema:
            target = self.root
            for part in schema["$ref"].split("/")[1:]:
                target = target[part]
            return self.write(target, depth)
        for keyword in ("anyOf", "oneOf", "allOf"):
            if keyword in schema:
                # Far down the last alternative is taken: it is the one that ends.
                scalar = [s for s in schema[keyword] if s.get("type") in ("null", "integer")]
                return self.write(self.chance.choice(scalar if scalar and depth > 4 else schema[keyword]), depth)
        if "const" in schema:
            return json.dumps(schema["const"], separators=(",", ":"))
        if "enum" in schema:
            return json.dumps(self.chance.choice(schema["enum"]), separators=(",", ":"))
        kind = schema.get("type", "object")
        kind = self.chance.choice(kind) if isinstance(kind, list) else kind
        if kind == "object":
            return self.object(schema, depth)
        if kind == "array":
            return self.array(schema, depth)
        if kind == "string":
            return self.string(self.word(schema.get("minLength", 0), schema.get("maxLength", 10**9)))
        if kind == "boolean":
            return self.chance.choice(["true", "false"])
        return {"null": lambda: "null", "number": self.number, "integer": lambda: self.integer(schema)}[kind]()

    def object(self, schema, depth):
        parts = []
        for name, value in schema.get("properties", {}).items():
            if name in schema.get("required", []) or self.chance.random() < 0.5:
                parts.append((json.dumps(name, ensure_ascii=False), value))
        further = schema.get("additionalProperties", "properties" not in schema)
        if further is not False:
            names = self.chance.sample(["k", "keys", "ab", "\u00e9\u00e9", "", "Z 1"], self.chance.randint(0, 3))
            parts += [(json.dumps(name, ensure_ascii=False), further) for name in names]
        return self.joined("{}", [name + self.space() + ":" + self.space() + self.write(value, depth + 1) for name, value in parts])

    def array(self, schema, depth):
        front = schema.get("prefixItems", [])
        most = min(schema.get("maxItems", len(front) + 3), 1 if depth > 4 else 100)
        n = self.chance.randint(min(schema.get("minItems", 0), most), most)
        items = [front[i] if i < len(front) else schema.get("items", True) for i in range(n)]
        return self.joined("[]", [self.write(item, depth + 1) for item in items])


def strict(text):
    def refuse(name):
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def satisfies(validator, text):
    try:
        return validator.is_valid(strict(text))
    except ValueError:
        return False


def changed(text, chance):
    """A text with a small fault, or a value exchanged for another one."""
    at = chance.randrange(len(text))
    kind = chance.randrange(5)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + chance.choice('{}[]",:0-.e\\ntx \x01') + text[at:]
    if kind == 3:
        return text[:at] + chance.choice('{}[]",:019-.eE\\u/ \x1f') + text[at + 1 :]
    values = ["null", "true", "1", "-1.5", '"s"', "[]", "{}", '{"a":1}', "99999", "00", "+1", ".5", "NaN"]
    return chance.choice([text + chance.choice([",", "}", "]", "1", '"']), chance.choice(values), text.replace(chance.choice('01"ae'), chance.choice(values), 1)])


def case(name, schema):
    chance = random.Random(zlib.crc32(name.encode()))
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    valid, invalid = set(), set()
    for _ in range(50 * N_VALID):
        text = Writer(schema, chance).write(schema)
        if not satisfies(validator, text):
            raise SystemExit(f"golden self-check failed: {name}: {text}")
        if len(valid) < N_VALID and len(text) < 400:
            valid.add(text)
        fault = changed(text, chance)
        if len(invalid) < N_INVALID and len(fault) < 400 and not satisfies(validator, fault):
            invalid.add(fault)
    return {"name": name, "schema": schema, "valid": sorted(valid), "invalid": sorted(invalid)}


if __name__ == "__main__":
    cases = [case(name, schema) for name, schema in SCHEMAS.items()]
    path = ROOT / "grammar" / "schemas.json"
    path.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases)
    path.write_text("[\n" + lines + "\n]\n", encoding="utf-8")
