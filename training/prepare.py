#!/usr/bin/env python3
"""Turn the books corpus and the primer into token files.

Writes into --out:
  tokenizer.json                    byte-level BPE with the pre-tokenizer of DeepSeek-V3
  {simple,plain,valid}.bin          uint16 token streams, one book after the other, each ended by EOS
  {simple,plain,valid}.starts.npy   int64 offsets at which a training row may start: paragraph starts, about one
                                    row length apart, so that one pass over the rows is one pass over the books
  bytes_per_token.json              of each part of the books, to turn nats per token into bits per byte
  heldout.txt                       the first 8 KiB of the held-out books: models/heldout.txt
  primer.bin, primer.starts.npy     the documents of the primer (BOS text EOS) and where each of them starts

`--primer-only` renews the last two and keeps the rest, so that the primer can grow while a run is going on.
"""

import argparse
import csv
import json
import lzma
import re
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
VOCAB_SIZE = 6144
ROW_TOKENS = 512
BOS, EOS = 0, 1
SPECIAL_TOKENS = [
    "<|begin_of_text|>", "<|endoftext|>", "<|pad|>", "<|user|>", "<|assistant|>", "<|system|>",
    *(f"<|reserved_{i}|>" for i in range(10)),
]
# The three splits of DeepSeek-V3's tokenizer.json, in order (GGUF calls the sequence "deepseek-v3").
DEEPSEEK_V3_SPLITS = [
    r"\p{N}{1,3}",
    r"[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]
PLAIN_ASCII = str.maketrans({
    "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'", "\u2014": "--", "\u2013": "-",
    "\u2026": "...", "\u00a0": " ", "\u200b": None, "\ufeff": None, "\r": None,
})


def clean(text: str) -> str:
    """Straight quotes, no Markdown emphasis or headings, one blank line between paragraphs."""
    text = text.translate(PLAIN_ASCII)
    text = re.sub(r"(?m)^#+\s*", "", text)
    text = re.sub(r"[*_]{1,3}(?=\S)(.+?)(?<=\S)[*_]{1,3}", r"\1", text)
    text = re.sub(r"[*_]+", "", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"[ \t]+", " ", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def is_prose(paragraph: str) -> bool:
    """False for tables of contents, rules and pictures, which are mostly not letters."""
    letters = sum(c.isalpha() for c in paragraph)
    return letters >= 2 and letters >= 0.6 * len(paragraph)


def paragraphs_of(book: str) -> list[str]:
    """The paragraphs of one book, each with the blank line that ends it."""
    return [p + "\n\n" for p in clean(book).split("\n\n") if is_prose(p)]


def read_books(corpus: Path) -> dict[str, list[list[str]]]:
    """{'simple' | 'plain' | 'valid': books as lists of paragraphs}, chosen by books.json from the catalogue."""
    chosen = json.loads((HERE / "books.json").read_text())
    with open(corpus / "books-catalogue.tsv", newline="") as f:
        catalogue = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))

    def books_of(split: str) -> list[tuple[dict, str]]:
        with lzma.open(corpus / f"books-{split}.txt.xz", "rt", encoding="utf-8") as f:
            texts = [t for t in f.read().split("<|endoftext|>") if t.strip()]
        rows = [r for r in catalogue if r["split"] == split]
        if len(texts) != len(rows):
            raise SystemExit(f"books-{split}: {len(texts)} texts, but the catalogue lists {len(rows)}")
        return list(zip(rows, texts))

    out: dict[str, list[list[str]]] = {"simple": [], "plain": [], "valid": []}
    for row, text in books_of("train"):
        for kind, authors in chosen.items():
            titles = authors.get(row["author"], [])
            if titles == "*" or row["title"].strip() in titles:
                out[kind].append(paragraphs_of(text))
    out["valid"] = [paragraphs_of(text) for _, text in books_of("valid")]
    return out


def train_tokenizer(books: list[list[str]]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        *(pre_tokenizers.Split(Regex(s), behavior="isolated") for s in DEEPSEEK_V3_SPLITS),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
    )
    tokenizer.train_from_iterator((p for book in books for p in book), trainer)
    bos = SPECIAL_TOKENS[BOS]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, BOS)])
    return tokenizer


def encode_books(tokenizer: Tokenizer, books: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Token stream [n_tokens] and row starts [n_rows] of a list of books."""
    stream, starts, offset = [], [], 0
    for book in books:
        next_start = offset
        encoded = tokenizer.encode_batch(book, add_special_tokens=False)
        for paragraph in encoded:
            # A little less than a row apart: paragraphs are shorter than the rest, so few tokens go unread.
            if offset >= next_start:
                starts.append(offset)
                next_start = offset + ROW_TOKENS - 96
            stream.append(np.array(paragraph.ids, dtype=np.uint16))
            offset += len(paragraph.ids)
        stream.append(np.array([EOS], dtype=np.uint16))
        offset += 1
    return np.concatenate(stream), np.array(starts, dtype=np.int64)


def held_out_slice(book: list[str], n_bytes: int = 8192) -> str:
    """The whole paragraphs that fit into the first n_bytes of a book."""
    text = ""
    for paragraph in book:
        if len((text + paragraph).encode()) > n_bytes:
            break
        text += paragraph
    return text


def encode_primer(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Documents are separated by lines that hold only '%'; '##' lines are remarks for the reader."""
    text = re.sub(r"(?m)^##.*\n", "", (HERE / "primer.txt").read_text())
    documents = [d.strip() for d in re.split(r"(?m)^%$", text) if d.strip()]
    stream, starts, offset = [], [], 0
    for document in documents:
        ids = [BOS, *tokenizer.encode(document, add_special_tokens=False).ids, EOS]
        starts.append(offset)
        stream.append(np.array(ids, dtype=np.uint16))
        offset += len(ids)
    return np.concatenate(stream), np.array(starts, dtype=np.int64)


def write(out: Path, name: str, stream: np.ndarray, starts: np.ndarray) -> None:
    stream.tofile(out / f"{name}.bin")
    np.save(out / f"{name}.starts.npy", starts)
    print(f"{name}: {len(stream):,} tokens, {len(starts):,} starts", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=HERE / "../../shared/data/corpus")
    parser.add_argument("--out", type=Path, default=HERE / "data")
    parser.add_argument("--primer-only", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer_file = args.out / "tokenizer.json"
    if not args.primer_only:
        books = read_books(args.corpus)
        tokenizer = train_tokenizer(books["simple"] + books["plain"])
        tokenizer.save(str(tokenizer_file))
        bytes_per_token = {}
        for kind, texts in books.items():
            write(args.out, kind, *encode_books(tokenizer, texts))
            n_bytes = sum(len(p.encode()) for book in texts for p in book)
            bytes_per_token[kind] = n_bytes / (np.fromfile(args.out / f"{kind}.bin", dtype=np.uint16).size - len(texts))
            print(f"  {len(texts)} books, {n_bytes:,} bytes", flush=True)
        (args.out / "heldout.txt").write_text(held_out_slice(books["valid"][0]))
        (args.out / "bytes_per_token.json").write_text(json.dumps(bytes_per_token))
    write(args.out, "primer", *encode_primer(Tokenizer.from_file(str(tokenizer_file))))


if __name__ == "__main__":
    main()
