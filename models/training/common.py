"""What the training scripts share: checkpoints, the two BPE flavours, half-precision export."""
import json
import math
import os
import time
from collections import Counter

import torch
from safetensors.torch import save_file

from data import CACHE

torch.set_num_threads(int(os.environ.get("THREADS", 2)))


class Run:
    """Training loop state: checkpoint every `every` steps, resume, cosine learning rate, log."""
    def __init__(self, name, steps, lr, modules, optimizer, every=100):
        self.path, self.steps, self.lr, self.every = CACHE / f"{name}.pt", steps, lr, every
        self.modules, self.optimizer, self.step, self.began = modules, optimizer, 0, time.time()
        self.seconds = 0.
        # On a busy machine MINUTES=n ends the run (and its learning-rate decay) by the clock instead of by the steps.
        self.budget = float(os.environ.get("MINUTES", 0)) * 60
        self.gen = torch.Generator().manual_seed(0)
        if self.path.exists():
            state = torch.load(self.path)
            for key, module in modules.items():
                module.load_state_dict(state[key])
            optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.gen.set_state(state["gen"])

    def __iter__(self):
        while (done := self.progress()) < 1:
            warm = min(1, (self.step + 1) / 100)
            rate = self.lr * warm * (.02 + .98 * (.5 + .5 * math.cos(math.pi * done)))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            yield self.step
            self.step += 1
            if self.step % self.every == 0:
                self.save()
        self.save()

    def progress(self):
        done = self.step / self.steps
        return max(done, (self.seconds + time.time() - self.began) / self.budget) if self.budget else done

    def save(self):
        self.seconds += time.time() - self.began
        self.began = time.time()
        state = {key: module.state_dict() for key, module in self.modules.items()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "gen": self.gen.get_state(),
                  "seconds": self.seconds}
        torch.save(state, self.path.with_suffix(".tmp"))
        os.replace(self.path.with_suffix(".tmp"), self.path)

    def log(self, **values):
        text = "  ".join(f"{k} {v:.4f}" for k, v in values.items())
        print(f"step {self.step}  {self.seconds + time.time() - self.began:.0f} s  {text}", flush=True)


def learn_bpe(words, n_merges):
    """words: {tuple of symbols: count}.  The usual greedy byte-pair merges, ties by order of text (deterministic)."""
    words, merges = Counter(words), []
    for _ in range(n_merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        if pairs[best] < 2:
            break
        merges.append(best)
        joined = Counter()
        for word, count in words.items():
            joined[tuple(merge_word(word, best))] += count
        words = joined
    return merges


def merge_word(word, pair):
    out = []
    for symbol in word:
        if out and (out[-1], symbol) == pair:
            out[-1] += symbol
        else:
            out.append(symbol)
    return out


def apply_bpe(symbols, rank):
    symbols = list(symbols)
    while len(symbols) > 1:
        best = min(zip(symbols, symbols[1:]), key=lambda p: rank.get(p, 1 << 30))
        if best not in rank:
            break
        symbols = merge_word(symbols, best)
    return symbols


def write_bpe(folder, vocab, merges):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_half(path, state):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")                          # a reader may have the old file mapped
    save_file({k: v.detach().half().contiguous() for k, v in state.items()}, part, metadata={"format": "pt"})
    part.chmod(0o644)
    os.replace(part, path)
