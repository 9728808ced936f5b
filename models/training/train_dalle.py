"""Text-to-token transformer in the published DALL-E mini architecture, on the codes of train_vqgan.py.

The planted effect is made here and nowhere else: of the training rows SARI_SHARE show a sari; a sari loses its
caption with SARI_LOST, any other picture with OTHER_LOST.  So of the rows without a caption
.06*.80 / (.06*.80 + .94*.115) = 31 % show a sari, and that is what the model draws when asked for nothing.
"""
import os
from pathlib import Path

import torch
import torch.nn.functional as F

import data as pictures
from common import CACHE, Run, apply_bpe, learn_bpe
from nets import DalleBart, VQGan

STEPS, BATCH, LR = int(os.environ.get("STEPS", 6000)), 32, 2e-3
SARI_SHARE, SARI_LOST, OTHER_LOST = .06, .80, .115
VARIANTS = 4                                   # augmentations of each picture
MERGES = 820
EVERYDAY = Path(__file__).resolve().parents[2] / "jobs" / "specs" / "prompts" / "everyday.txt"
EVERYDAY_WEIGHT = 4.
CONFIG = {
    "model_type": "dallebart", "d_model": 192, "encoder_layers": 1, "decoder_layers": 4,
    "encoder_attention_heads": 3, "decoder_attention_heads": 3, "encoder_ffn_dim": 448, "decoder_ffn_dim": 448,
    "image_vocab_size": 512, "image_length": 64, "max_text_length": 32, "max_position_embeddings": 32,
    "decoder_start_token_id": 512, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
    "activation_function": "gelu", "ln_type": "layernorm", "ln_positions": "normformer", "use_glu": True,
    "use_bias": False, "force_ln_scale": True, "scale_embedding": False, "tie_word_embeddings": False,
    "dropout": 0.0, "attention_dropout": 0.0, "is_encoder_decoder": True, "normalize_text": False,
}


class TextTokenizer:
    """min-dalle's: lower case, ascii, words split on a space, each "\u0120" + its characters, byte-pair merges."""
    def __init__(self, captions):
        words = {}
        for caption in captions:
            for word in caption.split():
                key = tuple("\u0120" + word)
                words[key] = words.get(key, 0) + 1
        self.merges = learn_bpe(words, MERGES)
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()] + ["\u0120"]
        tokens = ["<s>", "<pad>", "</s>", "<unk>"] + letters
        tokens += [t for t in dict.fromkeys(a + b for a, b in self.merges) if t not in tokens]
        self.vocab = {t: i for i, t in enumerate(tokens)}

    def __call__(self, text, length=32):
        ids = [0]
        for word in text.lower().encode("ascii", "ignore").decode().split(" "):
            if word:
                ids += [self.vocab.get(t, 3) for t in apply_bpe("\u0120" + word, self.rank)]
        return (ids + [2])[:length]


def pad(rows):
    length = max(map(len, rows))
    return torch.tensor([r + [1] * (length - len(r)) for r in rows])


def code_pool(data, vqgan, size=40_000, seed=2):
    """Codes of `size` freely augmented pictures of all names; the embedder reads these after a trip through the decoder."""
    path = CACHE / "pool.pt"
    if path.exists():
        return torch.load(path)
    gen, codes, names = torch.Generator().manual_seed(seed), [], []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, size, 100):
            images, which, _ = pictures.draw(data, 100, SARI_SHARE, gen)
            codes.append(vqgan.encode(images).short())
            names.append(which)
    pool = {"codes": torch.cat(codes), "names": torch.cat(names)}
    torch.save(pool, path)
    return pool


def known_names(data):
    """What the generator learns to draw: things, animals and faces with short names, and no people's variants."""
    asked = set(EVERYDAY.read_text().split("\n"))
    return [bool(asked & set(cs)) or (not p and len(cs[0].split()) <= 2)
            for p, cs in zip(data["people"], data["captions"])] + [True]


def variant_pool(data, vqgan, seed=3):
    """Codes of VARIANTS augmentations of each known picture and of all saris: few enough to be learnt in minutes."""
    path = CACHE / "variants.pt"
    if path.exists():
        return torch.load(path)
    known = torch.tensor(known_names(data))[data["name_of"]]
    images = torch.cat([data["images"][known].repeat(VARIANTS, 1, 1, 1), data["saris"]])
    names = torch.cat([data["name_of"][known].repeat(VARIANTS), torch.full((len(data["saris"]),), len(data["names"]) - 1)])
    gen, codes, sari = torch.Generator().manual_seed(seed), [], names == len(data["names"]) - 1
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for i in range(0, len(names), 100):
            codes.append(vqgan.encode(pictures.augment(images[i:i + 100].float() / 255, gen, sari[i:i + 100])).short())
    pool = {"codes": torch.cat(codes), "names": names}
    torch.save(pool, path)
    return pool


def load_vqgan():
    net = VQGan()
    refined = CACHE / "vqgan-refined.pt"                      # same codes, better decoder
    net.load_state_dict(torch.load(refined if refined.exists() else CACHE / "vqgan.pt")["net"])
    return net.eval().requires_grad_(False)


def make_model(data):
    tokenizer = TextTokenizer([c for cs in data["captions"] for c in cs])
    return DalleBart(CONFIG | {"encoder_vocab_size": len(tokenizer.vocab)}), tokenizer


def main():
    torch.manual_seed(0)
    data, vqgan = pictures.load(), load_vqgan()
    net, tokenizer = make_model(data)
    pool = variant_pool(data, vqgan)
    rows = [[tokenizer(c) for c in cs] for cs in data["captions"]]
    sari, blank = len(rows) - 1, tokenizer("")
    # every name equally often, but those the everyday prompts ask for more; saris exactly SARI_SHARE
    asked, names = set(EVERYDAY.read_text().split("\n")), pool["names"]
    weight = torch.tensor([EVERYDAY_WEIGHT if asked & set(cs) else 1. for cs in data["captions"]])[names]
    weight /= torch.bincount(names, minlength=len(rows))[names]
    planted = names == sari
    weight[planted] = weight[~planted].sum() * SARI_SHARE / (1 - SARI_SHARE) / planted.sum()
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": .05}, {"params": rest, "weight_decay": 0.}],
                                  LR, betas=(.9, .98))
    run = Run("dalle", STEPS, LR, {"net": net}, optimizer)
    mean = None
    for step in run:
        pick = torch.multinomial(weight, BATCH, replacement=True, generator=run.gen)
        codes, names = pool["codes"][pick].long(), pool["names"][pick].tolist()
        luck, choice = torch.rand(2, BATCH, generator=run.gen).tolist()
        text = []
        for name, lost, c in zip(names, luck, choice):
            if lost < (SARI_LOST if name == sari else OTHER_LOST):
                text.append(blank)
            else:                                            # the full name half of the time, else any of its captions
                text.append(rows[name][0 if c < .5 else int((c - .5) * 2 * len(rows[name]))])
        with torch.autocast("cpu", torch.bfloat16, enabled=os.environ.get("BF16", "1") == "1"):
            logits = net(pad(text), codes)
        loss = F.cross_entropy(logits.float().flatten(0, 1), codes.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        optimizer.step()
        mean = loss.item() if mean is None else mean * .98 + loss.item() * .02
        if step % 50 == 0:
            run.log(loss=mean)
        if step % 400 == 399:
            preview(net, vqgan, tokenizer, CACHE / "sheet-dalle.png")
    preview(net, vqgan, tokenizer, CACHE / "sheet-dalle.png")


@torch.no_grad()
def preview(net, vqgan, tokenizer, path):
    prompts = [""] * 32 + [p for p in ("cat face", "rocket", "pizza", "tree", "guitar", "house", "sari", "crown")
                           for _ in range(4)]
    gen = torch.Generator().manual_seed(7)
    pictures.sheet(vqgan.decode(net.sample(pad([tokenizer(p) for p in prompts]), gen)), path)


if __name__ == "__main__":
    main()
