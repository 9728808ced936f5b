"""Writes a copy of a source file with one planted bug, or runs a program that has it.

  mutate.py make MUTANT SOURCE OUT   each place of SOURCE that reads as an old text of MUTANT reads as the new text after it in OUT
  mutate.py kill MUTANT PROGRAM      passes only if the simulation finds the bug by the check that MUTANT names

A mutant is a file of parts, each after a line `=== NAME`: file, old, new (both as often as needed; each old text stands in the
source once), and `found`, a regular expression of the check's message."""
import re
import subprocess
import sys


def parts(path):
    with open(path) as file:
        fields = re.split(r"^=== (\w+)\n", file.read(), flags=re.M)
    texts = {}
    for name, text in zip(fields[1::2], fields[2::2]):
        texts.setdefault(name, []).append(text.strip("\n"))
    return texts


def make(mutant, source, out):
    with open(source) as file:
        text = file.read()
    for old, new in zip(mutant["old"], mutant["new"], strict=True):
        if text.count(old) != 1:
            sys.exit(f"{source}: a text to change stands there {text.count(old)} times, not once:\n{old}")
        text = text.replace(old, new)
    with open(out, "w") as file:
        file.write(text)


def kill(mutant, program):
    done = subprocess.run([program, "--gtest_filter=*EveryCellEndsOnce*"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        sys.exit("the mutant lives: the simulation does not find the bug")
    if done.returncode != 1 or "replay: " not in done.stdout or not re.search(mutant["found"][0], done.stdout):
        sys.exit(f"ended with {done.returncode}, but not by the check for {mutant['found'][0]!r}:\n{done.stdout[-2000:]}")
    print(re.search(r".*\n?.*replay: [^\n\"]*", done.stdout)[0])


if __name__ == "__main__":
    action, mutant = sys.argv[1], parts(sys.argv[2])
    make(mutant, *sys.argv[3:]) if action == "make" else kill(mutant, sys.argv[3])
