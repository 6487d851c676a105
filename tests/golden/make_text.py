"""Makes text/: token ids that Hugging Face's tokenizers library gives, for a published tokenizer and for small trained ones.

    python make_text.py [--deepseek-v3 TOKENIZER_JSON] [--texts FILE.inp ...]

Without --deepseek-v3 only the small tokenizers are made. --texts adds llama.cpp's test texts (models/ggml-vocab-*.gguf.inp).
"""

import argparse
import codecs
import collections
import hashlib
import json
import math
from pathlib import Path

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import texts
from common import ROOT, check, save_json
from gguf_models import byte_characters

TEXT = ROOT / "text"
SEPARATOR = "\n__ggml_vocab_test__\n"


class Encoder:
    """One tokenizer in the three ways in which a text can be read."""

    def __init__(self, description: dict):
        self.tokenizer = Tokenizer.from_str(json.dumps(description))
        self.special_off = Tokenizer.from_str(json.dumps(description))
        self.special_off.encode_special_tokens = True
        self.plain = Tokenizer.from_str(json.dumps(description | {"added_tokens": [], "post_processor": None}))

    def case(self, text: str) -> dict:
        """`ids` reads every added token; the others are given where they differ."""
        read = {
            "ids": self.tokenizer.encode(text, add_special_tokens=False).ids,
            "ids_special_off": self.special_off.encode(text, add_special_tokens=False).ids,
            "ids_plain": self.plain.encode(text, add_special_tokens=False).ids,
        }
        return {"text": text} | {key: ids for key, ids in read.items() if key == "ids" or ids != read["ids"]}


def token_bytes(tokenizer: Tokenizer, ids: list[int]) -> list[bytes]:
    """The bytes of each token; added tokens stand for their own text. Of SentencePiece's kind the first space is dropped."""
    if tokenizer.token_to_id("<0x00>") is not None:
        names = [tokenizer.id_to_token(i) for i in ids]
        pieces = [bytes([int(t[3:5], 16)]) if t.startswith("<0x") else t.replace("▁", " ").encode() for t in names]
        return [pieces[0].removeprefix(b" "), *pieces[1:]]
    bytes_of = {character: byte for byte, character in enumerate(byte_characters())}
    added = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}
    return [added[i].encode() if i in added else bytes(bytes_of[c] for c in tokenizer.id_to_token(i)) for i in ids]


def stream(tokenizer: Tokenizer, ids: list[int]) -> dict:
    """What may be shown after each token: whole characters only; what can be no character becomes U+FFFD at once."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    shown = [decoder.decode(piece) for piece in token_bytes(tokenizer, ids)]
    rest = decoder.decode(b"", final=True)
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    check("".join(shown) + rest == whole, f"streamed {shown} + {rest!r} is not {whole!r}")
    return {"ids": ids, "pieces": shown, "rest": rest, "text": whole}


def streams(encoder: Encoder, some_texts: list[str], some_bytes: list[bytes]) -> list[dict]:
    """Texts as encoded, then (byte-level only) single-byte tokens: characters cut anywhere, bytes that are no UTF-8."""
    id_of_byte = [encoder.tokenizer.token_to_id(character) for character in byte_characters()]
    as_bytes = [[id_of_byte[byte] for byte in data] for data in some_bytes]
    return [stream(encoder.tokenizer, ids) for ids in [*(encoder.plain.encode(t).ids for t in some_texts), *as_bytes]]


STREAM_TEXTS = ["Hello, world!", "日本語 👨‍👩‍👧‍👦 a\u0301", "𠜎𠜱", "naïve café 😀😀"]
STREAM_BYTES = [
    "é😀中".encode(), b"a\xe4\xb8b", b"\xff\xfe", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\x80", b"\xe0\x80\x80", b"\xed\xa0\x80x", b"\xc3\x28",
    b"\xf4\x90\x80\x80", b"\xc0\xaf", b"ok\xe2\x82", b"\xe2\x82\xac\xe2\x82",
]  # fmt: skip


def write_vectors(path: Path, head: dict, cases: list[dict], streamed: list[dict] | None = None) -> None:
    """One case a line, so that a difference reads well."""
    parts = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    for key, items in (("cases", cases), ("streams", streamed)):
        if items is not None:
            parts.append(f'"{key}": [\n' + ",\n".join(json.dumps(item, ensure_ascii=True) for item in items) + "\n]")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def make_deepseek_v3(tokenizer_json: Path, extra_texts: list[str]) -> None:
    data = tokenizer_json.read_bytes()
    encoder = Encoder(json.loads(data))
    special = [
        "<｜begin▁of▁sentence｜>", "<｜User｜>Hi<｜Assistant｜>", "a<｜end▁of▁sentence｜> b", " <｜User｜> x ",
        "<｜begin▁of▁sentence", "<|User|>", "<｜end▁of▁sentence｜><｜end▁of▁sentence｜>",
        "<think>\n</think>", "<｜place▁holder▁no▁17｜>", "<|EOT|>", "<｜tool▁calls▁begin｜>中<｜▁pad▁｜>1234",
    ]  # fmt: skip
    every = list(dict.fromkeys([*extra_texts, *texts.general(), *special]))
    head = {"tokenizer": "deepseek-v3", "tokenizer_json_sha256": hashlib.sha256(data).hexdigest()}
    streamed = streams(encoder, STREAM_TEXTS, STREAM_BYTES)
    write_vectors(TEXT / "deepseek_v3.json", head, [encoder.case(text) for text in every], streamed)


# -- small tokenizers --------------------------------------------------------------------------------------------------

SPECIAL_TEXTS = [
    "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nhi<|im_end|>\n", "<think>why</think> so",
    "<|endoftext", "<|im_start|><|im_start|>", " <think> ", "x <|im_end|> y",
]  # fmt: skip
STRIP_TEXTS = [
    "a  <mask> b",
    "<mask>",
    " \n<mask>  x",
    "a <|cut|>   b",
    "<|cut|>\n\nx",
    "  <|cut|>",
    "a <mask> <|cut|> b",
    "<mask><mask>",
    "x\t<mask>",
]


def byte_bpe() -> dict:
    """GPT-2 style, 400 ids: bytes, merges, then added tokens of every kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=393, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([texts.TRAINING], trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<|cut|>", rstrip=True, normalized=False)])
    return json.loads(tokenizer.to_str())


def spm_training_words() -> list[str]:
    return ["▁" + word for word in texts.TRAINING.split()]


def spm_bpe() -> dict:
    """Llama-2 style: the whole text one piece, spaces become ▁, unknown characters become bytes."""
    trained = Tokenizer(models.BPE())
    trained.train_from_iterator(spm_training_words(), trainers.BpeTrainer(vocab_size=190, show_progress=False))
    trained = json.loads(trained.to_str())["model"]
    merged = ["".join(merge) for merge in trained["merges"]] + ["▁▁", "▁▁▁▁"]
    characters = [token for token in trained["vocab"] if len(token) == 1]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *merged, *characters]
    check(len(tokens) == len(set(tokens)), "spm_bpe: a token is made by two merges")
    vocab = {token: i for i, token in enumerate(tokens)}
    # SentencePiece joins any two neighbours that together are a token: every split of it is a merge.
    merges = [(token[:i], token[i:]) for token in merged for i in range(1, len(token)) if {token[:i], token[i:]} <= vocab.keys()]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(content=" ", left=1)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return json.loads(tokenizer.to_str())


def sentencepiece_bpe(vocab: dict[str, int], text: str) -> list[int]:
    """SentencePiece's own rule on a score per token (here -id): join the best-scored neighbours, leftmost first."""
    pieces = list("▁" + text.replace(" ", "▁")) if text else []
    while True:
        pairs = [(vocab[a + b], i) for i, (a, b) in enumerate(zip(pieces, pieces[1:])) if a + b in vocab]
        if not pairs:
            break
        _, i = min(pairs)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    as_bytes = (
        [vocab[f"<0x{byte:02X}>"] for byte in piece.encode()] if piece not in vocab else [vocab[piece]] for piece in pieces
    )
    return [i for ids in as_bytes for i in ids]


def unigram() -> dict:
    """Frequent substrings with the logarithm of their share (the library's own trainer does not repeat itself), each a little
    worse than the one before so that no two segmentations tie."""
    counts = collections.Counter()
    for word in spm_training_words():
        counts.update(word[i:j] for i in range(len(word)) for j in range(i + 1, min(i + 6, len(word)) + 1))
    characters = sorted(token for token in counts if len(token) == 1)
    longer = sorted((t for t in counts if len(t) > 1 and counts[t] > 2), key=lambda t: (-counts[t] * (len(t) - 1), t))
    total = sum(counts.values())
    chosen = [*longer[: 155 - len(characters)], *characters]
    learned = [(token, round(math.log(counts[token] / total) - 0.0007 * i, 4)) for i, token in enumerate(chosen)]
    vocab = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"<0x{byte:02X}>", 0.0) for byte in range(256)), *learned]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    steps = [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always", split=False)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return json.loads(tokenizer.to_str())


def write_vocab_gguf(path: Path, model: str, pre: str, description: dict, bos: str, eos: str) -> None:
    """The same vocabulary as a GGUF file without weights."""
    kinds = gguf.TokenType
    added = {token["content"]: token for token in description["added_tokens"]}
    vocab = description["model"]["vocab"]
    scored = (
        vocab if isinstance(vocab, list) else [(token, -float(i)) for token, i in sorted(vocab.items(), key=lambda item: item[1])]
    )
    tokens = [token for token, _ in scored] + [token for token in added if token not in dict(scored)]

    def kind(token: str) -> int:
        if token == "<unk>":
            return kinds.UNKNOWN
        if token in added:
            return kinds.CONTROL if added[token]["special"] else kinds.USER_DEFINED
        return kinds.BYTE if token.startswith("<0x") and model != "gpt2" else kinds.NORMAL

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([kind(token) for token in tokens])
    if model == "gpt2":
        writer.add_token_merges([" ".join(merge) for merge in description["model"]["merges"]])
    else:
        scores = dict(scored)
        writer.add_token_scores([scores[token] if kind(token) == kinds.NORMAL else 0.0 for token in tokens])
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(True)
    writer.add_bos_token_id(tokens.index(bos))
    writer.add_eos_token_id(tokens.index(eos))
    writer.add_add_bos_token(model != "gpt2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def small_config(bos: str, eos: str, add_bos: bool) -> dict:
    return {
        "add_bos_token": add_bos,
        "add_eos_token": False,
        "bos_token": bos,
        "eos_token": eos,
        "clean_up_tokenization_spaces": False,
    }


def small_vectors(name: str, description: dict, own_texts: list[str]) -> tuple[list[dict], list[dict]]:
    encoder = Encoder(description)
    short = [text for text in texts.general() if len(text) < 40]
    cases = [encoder.case(text) for text in [texts.TRAINING[:300], *short, *own_texts]]
    if name == "byte_bpe":
        cases += [encoder.case(text) | {"strip": True} for text in STRIP_TEXTS]
    for case in cases:
        decoded = encoder.tokenizer.decode(case["ids"], skip_special_tokens=False)
        if decoded != case["text"]:
            case["decoded"] = decoded
        if name == "spm_bpe":
            plain = case.get("ids_plain", case["ids"])
            check(plain == sentencepiece_bpe(description["model"]["vocab"], case["text"]), f"spm_bpe: {case}")
        if name == "unigram":  # the library finds control tokens in plain text too: not what a reader should do
            case.pop("ids_plain", None)
            case.pop("ids_special_off", None)
    return cases, streams(encoder, STREAM_TEXTS, STREAM_BYTES if name == "byte_bpe" else [])


def make_small() -> None:
    spm_special = ["<s>", "<s>hello", "hello</s> world", "a<unk>b", "</s><s> x", "<s", "▁already▁"]
    for name, description, gguf_model, pre, bos, eos, own_texts in (
        ("byte_bpe", byte_bpe(), "gpt2", "gpt-2", "<|endoftext|>", "<|im_end|>", SPECIAL_TEXTS),
        ("spm_bpe", spm_bpe(), "llama", "default", "<s>", "</s>", [*spm_special, "<0x41>"]),
        ("unigram", unigram(), None, None, "<s>", "</s>", spm_special),
    ):
        folder = TEXT / name
        write_vectors(folder / "vectors.json", {"tokenizer": name}, *small_vectors(name, description, own_texts))
        save_json(folder / "tokenizer.json", description, indent=None)
        save_json(folder / "tokenizer_config.json", small_config(bos, eos, name != "byte_bpe"))
        if gguf_model:
            write_vocab_gguf(folder / "vocab.gguf", gguf_model, pre, description, bos, eos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepseek-v3", type=Path)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    make_small()
    if arguments.deepseek_v3:
        inputs = [text for path in arguments.texts for text in path.read_bytes().decode().split(SEPARATOR)]
        make_deepseek_v3(arguments.deepseek_v3, inputs)


if __name__ == "__main__":
    main()
