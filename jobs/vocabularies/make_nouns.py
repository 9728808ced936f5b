"""Writes nouns.txt from WordNet's data.noun: python3 make_nouns.py /usr/share/wordnet (Debian's wordnet-base 3.0).

The rule is stated in README.md beside it.
"""
import pathlib
import re
import sys

LEXFILES = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 18: "person", 20: "plant", 19: "phenomenon",
            25: "shape", 27: "substance"}
# ethnic slur, disparagement, obscenity: a word with any noun sense marked by one of them is left out.
MARKED = {"06718862", "06717170", "07124340"}
GLOSS = re.compile(r"\b(slurs?|offensive|derogatory|disparag\w*|pejorative|obscene|vulgar|insult\w*|contemptuous|ethnic slang|"
                   r"sexual\w*|genital\w*|rapist|prostitut\w*|dirty word)\b")
TOPS = {"00001740", "00001930", "00002137", "00002684"}  # entity, physical entity, abstraction, object: say nothing
MOST_WORDS = 3     # "black-footed ferret" is a name; longer entries are descriptions
MOST_SYNONYMS = 1  # the first word of a synset is its usual one

folder = pathlib.Path(sys.argv[1])
synsets = {}
for line in (folder / "data.noun").read_text(encoding="latin-1").splitlines():
    if line.startswith(" "):
        continue
    data, gloss = line.split("|", 1)
    parts = data.split()
    count = int(parts[3], 16)
    words = [parts[4 + 2 * i].replace("_", " ") for i in range(count)]
    at = 4 + 2 * count
    pointers = [tuple(parts[at + 1 + 4 * i: at + 5 + 4 * i]) for i in range(int(parts[at]))]
    synsets[parts[0]] = (int(parts[1]), words, pointers, gloss)

sense_rank = {}  # (word, synset) -> place of this sense in the word's list
for line in (folder / "index.noun").read_text(encoding="latin-1").splitlines():
    if line.startswith(" "):
        continue
    parts = line.split()
    for rank, offset in enumerate(parts[-int(parts[2]):]):
        sense_rank[parts[0].replace("_", " "), offset] = rank

bad = set()
for lexfile, words, pointers, gloss in synsets.values():
    if any(kind == ";u" and target in MARKED for kind, target, *_ in pointers) or GLOSS.search(re.sub(r'"[^"]*"', "", gloss)):
        bad.update(word.lower() for word in words)

chosen = {}  # synset -> its word; only where that is the word's first sense, so that each word stands for one thing
for offset, (lexfile, words, pointers, gloss) in sorted(synsets.items()):
    if lexfile not in LEXFILES or offset in TOPS or any(kind == "@i" for kind, *_ in pointers):
        continue
    for word in words[:MOST_SYNONYMS]:
        if (sense_rank.get((word.lower(), offset)) == 0 and word == word.lower() and word not in bad
                and not any(part in bad for part in re.split(r"[ -]", word))
                and re.fullmatch(r"[a-z][a-z' -]+", word) and len(word.split()) <= MOST_WORDS and len(word) > 2):
            chosen[offset] = word
            break


def parent(offset):
    """The nearest chosen synset above: first hypernyms first."""
    seen, level = set(), [offset]
    while level:
        level = [target for at in level for kind, target, *_ in synsets[at][2] if kind in ("@", "@i") and target not in seen]
        seen.update(level)
        for target in level:
            if target in chosen:
                return chosen[target]
    return None


lines = sorted(f"{word}\t{up}" if (up := parent(offset)) and up != word else word for offset, word in chosen.items())
header = [
    "# Depictable nouns of WordNet 3.0, each with the nearest listed word above it. Made by make_nouns.py; rule in README.md.",
    "# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. Licence: LICENSE-wordnet.txt.",
]
(pathlib.Path(__file__).parent / "nouns.txt").write_text("\n".join(header + lines) + "\n")
