"""Writes emoji_names.inc and html_entities.inc: python worker/text/make_tables.py. Needs emoji==2.16.0, whose English names are the
Unicode CLDR short names that min-dalle and dalle-mini spell emoji with; the entities are HTML 5's, from Python's html module."""
import collections
import html.entities
from pathlib import Path

import emoji

FOLDER = Path(__file__).parent
TONES = {"🏻": "light", "🏼": "medium-light", "🏽": "medium", "🏾": "medium-dark", "🏿": "dark"}


def expand(sequence, name):
    """What emoji.cc reads a line with '~' as: each slot of the sequence takes each of the five tones. Two slots: the name tells equal
    tones once, and where it has '^' instead of '~' they are not allowed to be equal."""
    slots, word = sequence.count("~"), "^" if "^" in name else "~"
    out = {}
    for a, first in TONES.items():
        if slots == 1:
            out[sequence.replace("~", a)] = name.replace("~", first + "_skin_tone")
            continue
        for b, second in TONES.items():
            if a == b and word == "^":
                continue
            tones = f"{first}_skin_tone" if a == b else f"{first}_skin_tone_{second}_skin_tone"
            out[sequence.replace("~", a, 1).replace("~", b, 1)] = name.replace(word, tones)
    return out


def emoji_lines():
    names = {k: v["en"][1:-1] for k, v in emoji.EMOJI_DATA.items()}
    left, lines = dict(names), collections.OrderedDict()
    for sequence, name in names.items():
        tones = [c for c in sequence if c in TONES]
        if sequence not in left or not tones or len(sequence) == 1:
            continue
        slots = "".join("~" if c in TONES else c for c in sequence)
        spelt = "_".join(TONES[c] + "_skin_tone" for c in dict.fromkeys(tones))
        for mark in "~^":
            pattern = name.replace(spelt, mark, 1)
            made = expand(slots, pattern) if mark in pattern else {}
            if made and all(left.get(k) == v for k, v in made.items()):
                for k in made:
                    del left[k]
                lines.setdefault(pattern, []).append(slots)
                break
    for sequence, name in left.items():
        component = emoji.EMOJI_DATA[sequence]["status"] == emoji.STATUS["component"]
        lines.setdefault("!" * component + name, []).append(sequence)
    assert not any("~" in text or "^" in text for item in left.items() for text in item)
    return [" ".join([name, *sequences]) for name, sequences in lines.items()]


def write(name, lines):
    text = "\n".join(lines)
    assert ')table"' not in text and all(len(line.encode()) < 120 for line in lines), [line for line in lines if len(line.encode()) >= 120]
    # One string literal holds 64 KiB at least everywhere; neighbours are joined.
    literals, part = [], []
    for line in lines:
        part.append(line)
        if sum(len(p.encode()) + 1 for p in part) > 15000:
            literals.append(part)
            part = []
    literals.append(part)
    body = "\n".join('R"table(' + "\n".join(part) + '\n)table"' for part in literals)
    (FOLDER / name).write_text("// Written by make_tables.py.\n" + body + "\n", encoding="utf8")


def main():
    write("emoji_names.inc", emoji_lines())
    write("html_entities.inc", [name + " " + " ".join(f"{ord(c):x}" for c in text) for name, text in sorted(html.entities.html5.items())])


if __name__ == "__main__":
    main()
