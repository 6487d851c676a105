"""Texts that tokenizers get wrong, and a little text to train small tokenizers on."""

DIGITS = [
    "7",
    "42",
    "123",
    "1234",
    "12345678901234567890",
    "3.14159",
    "1,000,000",
    "007 1e-10 0x1F",
    "٣٤٥٦٧",
    "一二三123四五六",
    "½ ² ① Ⅻ",
    "x1y22z333w4444",
]

SCRIPTS = [
    "中文测试",
    "今天天气很好。我们去公园吧!",
    "日本語のテスト、カタカナとひらがな",
    "漢字kanjiカナkana混ぜ",
    "한국어 문장입니다",
    "Привет, мир!",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "ภาษาไทยไม่มีช่องว่าง",
    "Tiếng Việt có dấu",
    "ÀÉÎÕÜ àéîõü ß ŒœÆæ",
    "ﬁ ﬂ ligature",
    "ＦＵＬＬ ｗｉｄｔｈ １２３",
    "々〆〇 ㍻ ㊙",
    "abc中def文ghi",
    "123中文456かな789",
    "a\u0301e\u0301 o\u0308\u0323",
    "Z\u0351\u036ba\u0321l\u0338g\u0334o",
    "𠜎𠜱𡿺 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
]

EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦 family", "🏳️‍🌈🇺🇸🇩🇪", "❤️❤", "text😀text", "🧑🏿‍🚀 ok 1️⃣", "☺☹ ⌘⌥"]

WHITESPACE = [
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\t",
    "\t\t x",
    "\r\n",
    "\r",
    "a\r\nb\r\n\r\nc",
    " leading",
    "trailing ",
    "trailing   ",
    "  both  ",
    "a  b   c    d",
    "a\n b\n  c",
    "line\n\n\nline",
    " \n \n",
    "\n \n x",
    "tab\tseparated\tvalues",
    "a\u00a0b\u00a0\u00a0c",
    "\u3000全角\u3000",
    "\u2003em\u2009thin\u200bzero\u200cwidth\u200d",
    "\ufeffbom",
    "\u2028line\u2029para",
    "\x0b\x0c vertical",
    "x\u0085y",
    "end\n",
    "end \n",
    "end\n ",
]

CONTROL = [
    "\x00",
    "a\x00b",
    "\x01\x02\x1f",
    "\x7f",
    "\x1b[31mred\x1b[0m",
    "\u200e\u200f\u202eRTL\u202c",
    "\ufffd",
    "\ufffe\uffff",
    "\U0010ffff",
    "\ue000 private",
]

ENGLISH = [
    "",
    "a",
    "Hello, world!",
    "The American flag is red, white, and",
    "I'm you're he'd we'll they've it's 'tis",
    "I'M YOU'RE HE'D",
    "don’t “quote” — dash…",
    "'s 't 're",
    "O'Neill's dogs' bones",
    "camelCase snake_case kebab-case SCREAMING_CASE",
    "e.g. i.e. U.S.A. Ph.D.",
    "user@example.com https://example.com/a?b=c&d=%20#e",
    "$5.00 €3 £2 ¥100 #tag @me",
    "(a)[b]{c}<d>",
    "...!!!???",
    "a-b--c---d",
    " .",
    " ,x",
    "!a",
    "-abc",
    "_abc",
    " _abc",
    "\"Quoted\" 'text'",
    "5'10\" tall",
    "100% sure & ready",
    "^_^ ~~ `tick`",
    "antidisestablishmentarianism",
    "supercalifragilisticexpialidocious!",
]

CODE = [
    "def f(x):\n    return x ** 2\n",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }",
    "if __name__ == '__main__':\n\tmain()",
    "#include <vector>\nstd::vector<int> v{1, 2, 3};",
    "SELECT * FROM t WHERE a='b';",
    '{"key": [1, 2.5e-3, null, true]}',
    '<p class="x">text</p>',
    "a&&b||!c",
    "x=>y=>z",
    "\\frac{a}{b} \\\\ \\n",
    "```python\nprint('hi')\n```",
    "0b1010 0o17 0xdeadBEEF",
    "C:\\path\\to\\file",
    "//comment\n/* block */",
]

RUNS = [
    "a" * 40,
    " " * 33 + "x",
    "\n" * 17,
    "=" * 64,
    "ab" * 30,
    "1" * 50,
    "中" * 20,
    "あ" * 21,
    "!?" * 15,
    "é" * 13,
    "😀" * 7,
    "-=" * 20,
    "\t" * 12 + "end",
    " \t" * 8,
]


def general() -> list[str]:
    return [*ENGLISH, *DIGITS, *SCRIPTS, *EMOJI, *WHITESPACE, *CONTROL, *CODE, *RUNS]


TRAINING = """
The small boat left the harbour early in the morning, and the children watched it until the white sail was lost in the mist.
There was nothing to do but wait. They sat on the old stone wall and counted the gulls, and the youngest told a story about a
king who had lost his crown in the sea. "He never found it," she said, "but he learned to swim." The others laughed at that.
In the evening the wind turned, and the lights of the village were lit one after the other along the shore. The boat came back
with a hundred fish in the nets and two more stories to tell. It was the best day of the summer, they all agreed, and in the
winter they would remember it. The attention of the reader is asked for one thing more: the number of tokens in a text is not
the number of words, and the cache holds one latent vector for each of the tokens. What is said is said; what is not said is
in the latent. When the queries meet the keys, the values that matter are mixed and the rest is forgotten. This is the whole of
the thing, and there is nothing else in it. Straße, café, naïve, Übung, mañana, año, œuvre. 2024 was 12 months, 365 days long.
"""
