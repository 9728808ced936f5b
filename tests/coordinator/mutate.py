"""Writes a copy of a source file with one planted bug, or runs a program that has it.

  mutate.py make MUTANT SOURCE OUT   the one place of SOURCE that reads as MUTANT's old text reads as its new text in OUT
  mutate.py kill MUTANT PROGRAM      passes only if the simulation finds the bug by the check that MUTANT names

A mutant is a file of four parts, each after a line `=== NAME`: file, old, new, and `found`, a regular expression of the check's message."""
import re
import subprocess
import sys


def parts(path):
    with open(path) as file:
        fields = re.split(r"^=== (\w+)\n", file.read(), flags=re.M)
    return dict(zip(fields[1::2], (text.strip("\n") for text in fields[2::2])))


def make(mutant, source, out):
    with open(source) as file:
        text = file.read()
    count = text.count(mutant["old"])
    if count != 1:
        sys.exit(f"{source}: the text to change stands there {count} times, not once")
    with open(out, "w") as file:
        file.write(text.replace(mutant["old"], mutant["new"]))


def kill(mutant, program):
    done = subprocess.run([program, "--gtest_filter=*EveryCellEndsOnce*"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode == 0:
        sys.exit("the mutant lives: the simulation does not find the bug")
    if done.returncode != 1 or "replay: " not in done.stdout or not re.search(mutant["found"], done.stdout):
        sys.exit(f"ended with {done.returncode}, but not by the check for {mutant['found']!r}:\n{done.stdout[-2000:]}")
    print(re.search(r".*\n?.*replay: [^\n\"]*", done.stdout)[0])


if __name__ == "__main__":
    action, mutant = sys.argv[1], parts(sys.argv[2])
    make(mutant, *sys.argv[3:]) if action == "make" else kill(mutant, sys.argv[3])
