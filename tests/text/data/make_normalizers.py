"""Makes normalizers.json and qwen2_like/: what the normalizers of Hugging Face's tokenizers library do.

    python make_normalizers.py

qwen2_like/ is a byte-level BPE in the shape of Qwen2's tokenizer.json (NFC, its pattern, ByteLevel), trained on
the sentences below, with the ids that the library gives.
"""

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).parent
PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

TEXTS = [
    "",
    "plain ASCII, nothing to do\n",
    # composed and decomposed Latin, with ASCII around
    "caf\u00e9 cafe\u0301 \u00c5ngstro\u0308m A\u030a \u212b \u1e69 s\u0323\u0307 s\u0307\u0323 x\u0301y",
    "Vi\u1ec7t Vie\u0323\u0302t Vie\u0302\u0323t",
    # Hangul: syllables, conjoining jamo, one more final consonant than fits, halfwidth and compatibility jamo
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab\u1100\u116e\u11a8 \uac00\u11a8 \uac01\u11a8 \u1100\u1100\u1161 \uff8a\uffa1\uffc2 \u3131\u314f",
    # the order of marks of different and of equal class; a mark that blocks; marks without a base
    "a\u0315\u0300\u05ae\u0300\u0062 q\u0307\u0323 q\u0323\u0307 a\u0301\u0300 a\u0300\u0301 a\u0327\u0301 a\u0332\u0327\u0301",
    "\u0301\u0323e \u0344 \u0308\u0301",
    # starters that join: Indic vowel signs, Myanmar, and exclusions from composition
    "\u09c7\u09be \u0bc6\u0bbe \u0dd9\u0dcf\u0dca \u1025\u102e \u0915\u093c \u0958 \u2adc \ufb2a \u0cc6\u0cc2\u0cd5",
    # compatibility: ligatures, width, fractions, circled, roman, superscripts, one character that becomes eighteen
    "\ufb01ne o\ufb03ce \ufb05 \uff21\uff42\uff43\u3000\uff11 \u00bd \u2460 \u2167 x\u00b2 \u2122 \u33a5 \u00a0\u2026 \ufdfa",
    "\uff76\uff9e\uff8a\uff9f\u304b\u3099\u30cf\u309a \u309b \u3392 \u1e9b\u0323 \u017f\u0323\u0307",
    "\u4e2d\u6587 \uf900 \U0002f800 \U0001d400\U0001d54f \U0001f600\U0001f44d\U0001f3fd \U0001d15e",
    # case, marks of all kinds, white space at the ends
    "\u0130stanbul \u03a3\u039f\u03a6\u039f\u03a3 \u1e9e \u01c5 \u24b6 \u10a0 \u13a0 \U00010400 \u00c9 E\u0301",
    "\u0e01\u0e34\u0e48 \u0939\u093f\u0928\u094d\u0926\u0940 1\u20dd n\u0303",
    " \t\u00a0\u3000 both ends\u2003\u0085\r\n",
    "\u200b kept \u200b",
]  # fmt: skip

NORMALIZERS = [
    normalizers.NFC(),
    normalizers.NFD(),
    normalizers.NFKC(),
    normalizers.NFKD(),
    normalizers.Lowercase(),
    normalizers.StripAccents(),
    normalizers.Strip(),
    normalizers.Strip(left=False, right=True),
    normalizers.Strip(left=True, right=False),
    normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()]),
]

SENTENCES = [
    "The caf\u00e9 on the corner isn't open before 10 o'clock, but they'll make tea.",
    "Le caf\u00e9 du coin n'est pas ouvert; d\u00e9j\u00e0 vu, na\u00efve fa\u00e7ade, \u0153uvre.",
    "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \u5de5\u5177\u548c\u6a21\u578b\u3002 \u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3002",
    "def attention(q, k, v):\n    return softmax(q @ k.T / 64 ** 0.5) @ v\n",
    "Vi\u1ec7t Nam, \u00c5ngstr\u00f6m, \u00fcber, Z\u00fcrich, S\u00e3o Paulo; 1, 22, 333.",
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def qwen2_like() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    # A token of its own that is looked for in the normalized text, as tokens that people add are.
    tokenizer.add_tokens([AddedToken("\u1ebaCOLE", normalized=True)])
    tokenizer.add_special_tokens([AddedToken(s, normalized=False) for s in SPECIAL])
    return tokenizer


def main() -> None:
    entries = []
    for normalizer in NORMALIZERS:
        section = json.loads(normalizer.__getstate__())
        cases = [{"text": text, "normalized": normalizer.normalize_str(text)} for text in TEXTS]
        entries.append({"normalizer": section, "cases": cases})
    (HERE / "normalizers.json").write_text(json.dumps(entries, indent=1) + "\n")

    folder = HERE / "qwen2_like"
    folder.mkdir(exist_ok=True)
    tokenizer = qwen2_like()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>", "add_bos_token": False}) + "\n")
    texts = [*TEXTS, *SENTENCES, "<|im_start|>user\ncafe\u0301<|im_end|>\n", "E\u0309COLE \u1ebaCOLE", "Vie\u0323\u0302t<|endoftext|>\u0301"]
    cases = [{"text": text, "ids": (ids := tokenizer.encode(text).ids), "decoded": tokenizer.decode(ids, skip_special_tokens=False)} for text in texts]
    (folder / "vectors.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
