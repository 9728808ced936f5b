"""The references of DALL-E mini's two text paths, and the texts they are compared on: min-dalle 0.4.11's TextTokenizer with emoji 2.16.0;
transformers' BartTokenizerFast behind dalle-mini 0.1.5's TextNormalizer (`pip install --no-deps dalle-mini==0.1.5`: its model/text.py
is loaded alone, without JAX).

Of TextNormalizer, replaced here as worker/text/dalle_normalizer.h says: ftfy does nothing, unidecode works on the characters named
there, hashtags are not split, and the chance of <person> is gone.
"""
import importlib.util
import json
import random
import types
import unicodedata
from pathlib import Path

import torch
from safetensors.torch import save_file

LENGTHS = (64, 7)
# Pieces that texts are made of: what a pattern of the normaliser or a tokenizer might stumble over.
ATOMS = """a|photo of the|armchair in shape|sari|face of a firefighter|starry night|HALF-open|don't|we'll|it's|I'D|they've|you're|'s|'S|'Ll|'|''
1984|2x4|1,000|12,345,678|1,00|3.14|v1.2.3|a.b.c|12/25/2024|1/2|$5.00|100%|A&B|*star*|back\\slash|under_score|a/b|-dash-|x-ray-y
semi; colon: quote" back`tick|"""
ATOMS = [atom for line in ATOMS.split("\n") for atom in line.split("|")] + [
    "(round) [square] {curly}", "[1] ref", "ref [12]", "[3]", "wow!!!!", "hmmmmm", "nooooo oo", "viii", "----", ",,,,", ", ,", ",", "...", "_____", "~^`",
    "http://x.y/z?q=1 end", "https", "<b>bold</b>", "<", ">", "< b", "<<>>", "a<b>c", "<person>", "<person> and <person>", "<person>,<person>,<person>",
    "#hashtag", "#two_words", "# alone", "##", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "  <mask>x", "<mas", "&amp;", "&amp;amp;lt;", "&lt;i&gt;",
    "&eacute", "&eacutex;", "&notit;", "&notin;", "&#65;", "&#x41", "&#x80;", "&#0;", "&#xD800;", "&#x110000;", "&#1;", "&#;", "&;", "&", "&#13;",
    "&NotEqualTilde;", "&nbsp", "xtokx", "naïve café", "ÅNGSTRÖM", "straße", "ΣΊΣΥΦΟΣ", "İstanbul", "K", "ﬁne", "½ ² Ⅷ ٣٤", "東京 タワー", "한국", "Привет",
    "שלום مرحبا", "नमस्ते", "ไทย", "e\u0301", "\u1e9b\u0323", "“curly” ‘quotes’", "—dash–", "…", "€5 ™ ©", "ＷＩＤＥ", "👩🏽‍🚒", "🧕", "❤️", "❤", "❤︎", "🥻", "🥻🥻", "👨‍👩‍👧‍👦",
    "👨‍👩🏿‍👧🏻‍👦🏾", "👩‍❤️‍💋‍👨", "👩🏻‍🤝‍👩🏿", "👩🏻‍🤝‍👩🏻", "🫱🏻‍🫲🏿", "🏻", "🏻‍🦰", "👩‍🦰", "🦰", "🇯🇵", "🇯", "🇯🇵🇫🇷🇯", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏴󠁧󠁢", "1️⃣", "#️⃣", "*⃣", "1", "☺", "☺️", "🧑‍🎄", "\u200d",
    "👍🏽\u200d", "👍\u200d👎", "👍\u200d\u200d👎", "👍🏽\u200d🏽", "\ufe0f", "👍\ufe0f", "👍\ufe0f\u200d👎", "👁️‍🗨️", "👁‍🗨", "🤷🏽‍♀️", "🤷🏽‍♀", "1\u200d2", "👍1\u200d👎", "🇹🇷", "👞", "🕐", "🪅",
    "\u200b", "\ufeff", "\u00a0", "\u0085", "\u2028", "\t", "\n", "\r\n", "\x0b", "\x1f", "\x1c", "\x7f", "   ", "\u3000", "\U0010fffd", "\ufffd"]
SEPARATORS = [" ", " ", " ", " ", "  ", "", "", "\n", "\t", ", "]
RANGES = [[33, 126], [0xa1, 0x17f], [0x180, 0x2ff], [0x370, 0x5ff], [0x900, 0xdff], [0x1e00, 0x206f], [0x2070, 0x2fff], [0x3040, 0x30ff], [0x4e00, 0x9fff],
          [0xac00, 0xd7a3], [0xff01, 0xff5e], [0x1f1e6, 0x1f1ff], [0x1f300, 0x1f6ff], [0x1f3fb, 0x1f3ff], [0x1f900, 0x1f9ff], [0x200b, 0x200f], [0xfe00, 0xfe0f]]


class Stream:
    """splitmix64, which compare_dalle_text.cc has too: the committed fixture holds no text, only how the texts are made."""
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9e3779b97f4a7c15) % 2**64
        z = self.state
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 % 2**64
        z = (z ^ z >> 27) * 0x94d049bb133111eb % 2**64
        return (z ^ z >> 31) % n


def text(seed):
    r, out = Stream(seed), ""
    if r.below(50) == 0:
        return " ".join([ATOMS[r.below(len(ATOMS))]] * r.below(320))
    for _ in range(r.below(9)):
        kind = r.below(4)
        if kind < 2:
            out += ATOMS[r.below(len(ATOMS))]
        elif kind == 2:
            out += "".join(chr(32 + r.below(95)) for _ in range(1 + r.below(8)))
        else:
            for _ in range(1 + r.below(4)):
                first, last = RANGES[r.below(len(RANGES))]
                out += chr(first + r.below(last - first + 1))
        out += SEPARATORS[r.below(len(SEPARATORS))]
    return out


def to_ascii(t):
    from unidecode import unidecode
    covered = lambda c: (c < 0x180 or 0x1e00 <= c < 0x1f00 or 0x2010 <= c <= 0x2027 or 0x2030 <= c <= 0x2044 or c in (0x20ac, 0x2122)
                         or 0xff01 <= c <= 0xff5e)
    decomposed = lambda c: "".join(x for x in unicodedata.normalize("NFKD", c) if ord(x) < 128)
    return "".join(unidecode(c) if covered(ord(c)) else decomposed(c) for c in t)


def normalizer():
    spec = importlib.util.find_spec("dalle_mini")
    source = Path(spec.submodule_search_locations[0]) / "model" / "text.py"
    module = types.ModuleType("dalle_mini_text")
    code = source.read_text(encoding="utf8")
    for line in ("import ftfy\n", "from huggingface_hub import hf_hub_download\n", "from unidecode import unidecode\n"):
        assert line in code
        code = code.replace(line, "")
    module.ftfy = types.SimpleNamespace(fix_text=lambda t: t)
    module.unidecode = to_ascii
    exec(compile(code, str(source), "exec"), module.__dict__)
    module.HashtagProcessor = lambda: lambda t: t
    module.random = types.SimpleNamespace(choices=lambda names, weights: [names[0]])
    return module.TextNormalizer()


def flax_tokenizer(folder):
    from transformers import BartTokenizerFast
    return BartTokenizerFast(vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"))


def flax_rows(tokenizer, normalize, t, length):
    """As DalleBartProcessor: (conditional, unconditional), each of ids and attention mask."""
    row = lambda s: tokenizer(s, padding="max_length", truncation=True, max_length=length)
    rows = row(normalize(t)), row("")
    return [[r["input_ids"], r["attention_mask"]] for r in rows]


def min_dalle_rows(tokenizer, t, length):
    """As generate_raw_image_stream."""
    tokens = tokenizer.tokenize(t)[:length]
    pad = lambda ids: ids + [1] * (length - len(ids))
    rows = pad(tokens), pad([tokens[0], tokens[-1]])
    return [[ids, [int(i != 1) for i in ids]] for ids in rows]


def digest(numbers):
    h = 1469598103934665603
    for n in numbers:
        h = (h ^ n) * 1099511628211 % 2**64
    return h >> 33


def write(folder, model, tokenizer, seed, count):
    """texts.json: how the texts are made; texts.safetensors: int32 [count, 3], a digest of what each text becomes under min-dalle, Flax
    with and without its normaliser."""
    flax, clean = flax_tokenizer(model), normalizer()
    plain, vocabulary = (lambda t: t), len(json.loads((model / "vocab.json").read_text(encoding="utf8")))
    out = torch.empty(count, 3, dtype=torch.int32)
    for i in range(count):
        t = text(seed + i)
        whole = [tokenizer.tokenize(t), flax(clean(t))["input_ids"], flax(t)["input_ids"]]
        for form, rows_of in enumerate([lambda n: min_dalle_rows(tokenizer, t, n), lambda n: flax_rows(flax, clean, t, n),
                                        lambda n: flax_rows(flax, plain, t, n)]):
            numbers = list(whole[form])
            for length in LENGTHS:
                for ids, mask in rows_of(length):
                    numbers += ids + mask
            assert max(numbers) < vocabulary
            out[i, form] = digest(numbers)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"digests": out}, folder / "texts.safetensors")
    made = {"seed": seed, "lengths": LENGTHS, "atoms": ATOMS, "separators": SEPARATORS, "ranges": RANGES}
    (folder / "texts.json").write_text(json.dumps(made, ensure_ascii=False) + "\n", encoding="utf8")
