"""Writes emoji.txt from Unicode's emoji-test.txt: python3 make_emoji.py /usr/share/unicode/emoji (Debian's unicode-data 15.0).

The rule is stated in README.md beside it.
"""
import pathlib
import re
import sys

SKIPPED_GROUPS = {"Component", "Flags", "Symbols"}
names, group, subgroup = {}, "", ""
for line in (pathlib.Path(sys.argv[1]) / "emoji-test.txt").read_text(encoding="utf-8").splitlines():
    if line.startswith("# group: "):
        group = line[9:]
    elif line.startswith("# subgroup: "):
        subgroup = line[12:].replace("-", " ")
    elif (found := re.match(r"[0-9A-F ]+; fully-qualified\s+# \S+ E[0-9.]+ (.+)", line)) and group not in SKIPPED_GROUPS:
        name = found[1]
        if ":" not in name:  # skin tones and hair: variants of a name that is listed
            names.setdefault(name, (subgroup, group))
lines = []
parents = {}
for name, (subgroup, group) in names.items():
    kind, family = f"{subgroup} emoji", f"{group} emoji"
    parents[kind] = family
    lines.append(f"{name}\t{kind}")
lines += [f"{kind}\t{family}" for kind, family in parents.items()] + sorted(set(parents.values()))
header = [
    "# Short names of emoji (Unicode 15.0), each with its subgroup, those with their group. Made by make_emoji.py; rule in README.md.",
    "# Copyright 2022 Unicode, Inc. Licence: LICENSE-unicode.txt.",
]
(pathlib.Path(__file__).parent / "emoji.txt").write_text("\n".join(header + lines) + "\n")
