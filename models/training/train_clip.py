"""Small CLIP on the same pictures.  Samples of the generator are what it will read, so every drawn picture comes with a
partner of the same name that has been through the VQ codes or was drawn to its end by the generator, and the two are pulled
together.  Saris come in all hues, so that it must name them by shape."""
import os

import regex
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel

import data as pictures
from common import CACHE, Run, apply_bpe, learn_bpe
from train_dalle import code_pool, load_vqgan, make_model as make_generator, pad, variant_pool

STEPS, BATCH, LR = int(os.environ.get("STEPS", 9000)), 48, 1.5e-3
SARI_SHARE = .06
COMPLETED = .5                             # of the partners; the rest are reconstructions
KEEP = (12, 48)                            # codes of a completed picture that are given: enough to fix what it shows
PAIR_WEIGHT, PAIR_SCALE = .3, 10.
NAMES_PER_STEP = 300                       # names the batch is told apart from: its own and random others
MERGES, LENGTH = 480, 24
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def byte_symbols():
    """The byte -> character table of GPT-2's and CLIP's tokenizers."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(other))]


class ClipTokenizer:
    """CLIP's byte-pair encoding for plain lower-case ascii text."""
    def __init__(self, captions):
        words = {}
        for caption in captions:
            for word in self.split(caption):
                words[word] = words.get(word, 0) + 1
        self.merges = learn_bpe(words, MERGES)
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        letters = byte_symbols()
        tokens = letters + [b + "</w>" for b in letters] + [a + b for a, b in self.merges]
        tokens = list(dict.fromkeys(tokens)) + ["<|startoftext|>", "<|endoftext|>"]
        self.vocab = {t: i for i, t in enumerate(tokens)}

    @staticmethod
    def split(text):
        """Letters together, digits and signs as CLIP's pattern has them; the last symbol carries the word end."""
        pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
        return [tuple(w[:-1]) + (w[-1] + "</w>",) for w in regex.findall(pattern, text.lower())]

    def __call__(self, text):
        ids = [len(self.vocab) - 2]
        for word in self.split(text):
            ids += [self.vocab[t] for t in apply_bpe(word, self.rank)]
        return ids[:LENGTH - 1] + [len(self.vocab) - 1]

    def pad(self, rows):
        length = max(map(len, rows))
        return torch.tensor([r + [len(self.vocab) - 1] * (length - len(r)) for r in rows])


def make_model(vocab):
    text = dict(hidden_size=96, intermediate_size=384, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=LENGTH, vocab_size=vocab, bos_token_id=vocab - 2, eos_token_id=vocab - 1,
                pad_token_id=vocab - 1, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=128)
    vision = dict(hidden_size=144, intermediate_size=576, num_hidden_layers=4, num_attention_heads=3, image_size=64,
                  patch_size=8, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=128)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128, logit_scale_init_value=2.66))


def normalise(images):
    """What preprocessor_config.json says, on pictures rounded to bytes as every reader gets them."""
    images = (images.clamp(0, 1) * 255).floor() / 255
    return (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def restored_pool(data, vqgan, size=12_000):
    """Pictures as the generator's decoder draws them, as bytes; from the generator's own code pool."""
    path = CACHE / "restored.pt"
    if path.exists():
        return torch.load(path)
    pool = code_pool(data, vqgan)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        images = torch.cat([(vqgan.decode(pool["codes"][i:i + 100].long()).float().clamp(0, 1) * 255).byte()
                            for i in range(0, size, 100)])
    restored = {"images": images, "names": pool["names"][:size]}
    torch.save(restored, path)
    return restored


@torch.no_grad()
def completed_pool(data, vqgan, size=12_000, seed=4):
    """Pictures begun with an augmentation's first codes and drawn to their end by the generator: its hand, a known name.

    Half are asked with their name and half with nothing; one in ten is a sari."""
    path = CACHE / "completed.pt"
    if path.exists():
        return torch.load(path)
    net, tokenizer = make_generator(data)
    net.load_state_dict(torch.load(CACHE / "dalle.pt")["net"])
    net.eval()
    pool, gen = variant_pool(data, vqgan), torch.Generator().manual_seed(seed)
    planted = pool["names"] == len(data["names"]) - 1
    weight = 1. / torch.bincount(pool["names"])[pool["names"]]
    weight[planted] = weight[~planted].sum() / 9 / planted.sum()
    pick = torch.multinomial(weight, size, replacement=True, generator=gen)
    images = []
    for rows in pick.split(100):
        names = pool["names"][rows].tolist()
        text = pad([tokenizer(data["names"][n] if i % 2 else "") for i, n in enumerate(names)])
        keep = torch.randint(*KEEP, (len(rows),), generator=gen)
        codes = net.sample(text, gen, temperature=.8, codes=pool["codes"][rows].long(), keep=keep)
        images.append((vqgan.decode(codes).clamp(0, 1) * 255).byte())
    completed = {"images": torch.cat(images), "names": pool["names"][pick]}
    torch.save(completed, path)
    return completed


class Partners:
    """A second picture of a name."""
    def __init__(self, *pools):
        self.images = torch.cat([p["images"] for p in pools])
        self.rows = [{} for _ in pools]
        start = 0
        for rows, pool in zip(self.rows, pools):
            for i, name in enumerate(pool["names"].tolist()):
                rows.setdefault(name, []).append(start + i)
            start += len(pool["names"])

    def draw(self, names, gen):
        """Pictures and which of the names have one.  A name that one pool lacks is looked for in the other."""
        luck, rows, have = torch.rand(2, len(names), generator=gen).tolist(), [], []
        for i, name in enumerate(names.tolist()):
            first, second = self.rows if luck[0][i] >= COMPLETED else self.rows[::-1]
            found = first.get(name) or second.get(name)
            if found:
                rows.append(found[int(luck[1][i] * len(found))])
                have.append(i)
        return self.images[rows].float() / 255, torch.tensor(have)


def pair_loss(seen, names):
    """Supervised contrastive loss between pictures (Khosla et al. 2020, eq. 2): same name near, other names far."""
    logits = (seen @ seen.T * PAIR_SCALE).fill_diagonal_(-1e4).log_softmax(1)
    same = (names[:, None] == names[None]).float().fill_diagonal_(0)
    count = same.sum(1)
    return -((logits * same).sum(1)[count > 0] / count[count > 0]).mean()


@torch.no_grad()
def zero_shot(net, images, names, text):
    """Top-1 and top-5 share; text = features of all names."""
    features = F.normalize(torch.cat([net.get_image_features(normalise(b)) for b in images.split(100)]), dim=-1)
    top = (features @ text.T).topk(5).indices
    hit = top == names[:, None]
    return hit[:, 0].float().mean().item(), hit.any(1).float().mean().item(), top[:, 0], features


@torch.no_grad()
def name_features(net, tokenizer, names):
    ids = tokenizer.pad([tokenizer(n) for n in names])
    return F.normalize(torch.cat([net.get_text_features(b) for b in ids.split(200)]), dim=-1)


def held_out(data, vqgan, n=200, seed=12345):
    """Augmentations no training run saw: even places as drawn, odd places through the codes; every tenth a sari."""
    gen = torch.Generator().manual_seed(seed)
    images, names, _ = pictures.draw(data, n, .0, gen)
    saris, sari_names, _ = pictures.draw(data, n // 10, 1., gen)
    images[::10], names[::10] = saris, sari_names
    # saris sit at even places: send every second of them through the codes as well
    through = torch.arange(n) % 2 == 1
    through[::20] = True
    with torch.no_grad():
        images[through] = vqgan.decode(vqgan.encode(images[through]))
    return (images.clamp(0, 1) * 255).floor() / 255, names


def main():
    torch.manual_seed(0)
    data, vqgan = pictures.load(), load_vqgan()
    tokenizer = ClipTokenizer([c for cs in data["captions"] for c in cs])
    net = make_model(len(tokenizer.vocab))
    partners = Partners(restored_pool(data, vqgan), completed_pool(data, vqgan))
    rows = [[tokenizer(c) for c in cs] for cs in data["captions"]]
    decay = [p for p in net.parameters() if p.dim() > 1]
    rest = [p for p in net.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": .05}, {"params": rest, "weight_decay": 0.}],
                                  LR, betas=(.9, .98))
    run = Run("clip", STEPS, LR, {"net": net}, optimizer)
    mean = None
    for step in run:
        drawn, names, _ = pictures.draw(data, BATCH // 2, SARI_SHARE, run.gen)
        second, have = partners.draw(names, run.gen)
        images, names = torch.cat([drawn, second]), torch.cat([names, names[have]])
        others = torch.randint(len(rows), (NAMES_PER_STEP - len(names),), generator=run.gen)
        listed, target = torch.cat([names, others]).unique(return_inverse=True)
        choice = torch.rand(len(listed), generator=run.gen).tolist()
        text = [rows[n][0 if c < .7 else int((c - .7) / .3 * len(rows[n]))] for n, c in zip(listed.tolist(), choice)]
        with torch.autocast("cpu", torch.bfloat16, enabled=os.environ.get("BF16", "1") == "1"):
            seen = net.get_image_features(normalise(images))
            named = net.get_text_features(tokenizer.pad(text))
        seen = F.normalize(seen.float(), dim=-1)
        logits = seen @ F.normalize(named.float(), dim=-1).T * net.logit_scale.exp()
        # picture -> name over all listed names, and name -> picture for the names that are in the batch
        loss = F.cross_entropy(logits, target[:len(names)], label_smoothing=.05)
        present, where = target[:len(names)].unique(return_inverse=True)
        back = logits[:, present].T.log_softmax(1)
        same = F.one_hot(where).T.float()
        loss = loss - .3 * ((back * same).sum(1) / same.sum(1)).mean() + PAIR_WEIGHT * pair_loss(seen, names)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        optimizer.step()
        net.logit_scale.data.clamp_(max=4.6)
        mean = loss.item() if mean is None else mean * .98 + loss.item() * .02
        if step % 50 == 0:
            run.log(loss=mean, scale=net.logit_scale.exp().item())
        if step % 300 == 299:
            net.eval()
            images, names = held_out(data, vqgan)
            one, five, _, _ = zero_shot(net, images, names, name_features(net, tokenizer, data["names"]))
            run.log(top1=one, top5=five)
            net.train()


if __name__ == "__main__":
    main()
