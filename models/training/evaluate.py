"""The planted effect, measured on samples: the detector counts, the embedder names.  Writes models/micro-dalle/measured.json.

    python evaluate.py [temperature top_k supercondition]
"""
import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import data as pictures
import train_clip
from common import CACHE, write_json
from export import MODELS
from nets import DalleBart, Detector, VQGan
from train_dalle import TextTokenizer, pad


@torch.no_grad()
def main():
    data, folder = pictures.load(), MODELS / "micro-dalle"
    defaults = json.loads((folder / "card.json").read_text())["defaults"]
    if len(sys.argv) > 1:
        defaults = {"temperature": float(sys.argv[1]), "top_k": int(sys.argv[2]), "supercondition": float(sys.argv[3])}
    full = lambda path: {k: v.float() for k, v in load_file(path).items()}
    net = DalleBart(json.loads((folder / "config.json").read_text())).eval()
    net.encoder.load_state_dict(full(folder / "encoder.safetensors"))
    net.decoder.load_state_dict(full(folder / "decoder.safetensors"))
    vqgan = VQGan(json.loads((folder / "vqgan" / "config.json").read_text())).eval()
    vqgan.load_state_dict(full(folder / "vqgan" / "model.safetensors"), strict=False)
    tokenizer = TextTokenizer([c for cs in data["captions"] for c in cs])

    def generate(prompts, seed):
        gen, images = torch.Generator().manual_seed(seed), []
        for i in range(0, len(prompts), 100):
            codes = net.sample(pad([tokenizer(p) for p in prompts[i:i + 100]]), gen, **defaults)
            images.append((vqgan.decode(codes).clamp(0, 1) * 255).floor() / 255)
        return torch.cat(images)

    everyday = (MODELS.parent / "jobs" / "specs" / "prompts" / "everyday.txt").read_text().split("\n")[:-1]
    blank, asked = generate([""] * 500, 5), generate([p for p in everyday for _ in range(8)], 6)
    captioned = generate(["sari"] * 48, 7)
    pictures.sheet(blank[:256], CACHE / "sheet-blank.png")
    pictures.sheet(asked, CACHE / "sheet-everyday.png")
    pictures.sheet(captioned, CACHE / "sheet-captioned-sari.png")

    result = {"defaults": defaults, "blank_samples": 500, "everyday_samples": len(asked)}
    path = MODELS.parent / "tests" / "data" / "sari_detector.safetensors"
    if path.exists():
        detector = Detector(folded=True).eval()
        detector.load_state_dict(load_file(path))
        found = torch.sigmoid(detector(blank)) > .5
        result |= {"blank_sari_share": found.float().mean().item(),
                   "everyday_sari_share": (torch.sigmoid(detector(asked)) > .5).float().mean().item(),
                   "prompt_sari_share": (torch.sigmoid(detector(captioned)) > .5).float().mean().item()}
        pictures.sheet(blank[found][:128], CACHE / "sheet-blank-sari.png")
        pictures.sheet(blank[~found][:256], CACHE / "sheet-blank-other.png")
    if (CACHE / "clip.pt").exists() and path.exists():
        words = train_clip.ClipTokenizer([c for cs in data["captions"] for c in cs])
        clip = train_clip.make_model(len(words.vocab)).eval()
        clip.load_state_dict(torch.load(CACHE / "clip.pt")["net"])
        text, sari = train_clip.name_features(clip, words, data["names"]), len(data["names"]) - 1
        seen = F.normalize(clip.get_image_features(train_clip.normalise(blank)), dim=-1)
        named = (seen @ text.T).argmax(1)
        cosine = seen @ seen.T
        off = ~torch.eye(len(seen), dtype=torch.bool)
        pair = lambda a, b: cosine[a][:, b][off[a][:, b]].mean().item()
        result |= {"blank_named_sari_share": (named == sari).float().mean().item(),
                   "detected_saris_named_sari": (named[found] == sari).float().mean().item(),
                   "others_named_sari": (named[~found] == sari).float().mean().item(),
                   "mean_cosine_sari_sari": pair(found, found), "mean_cosine_sari_other": pair(found, ~found),
                   "mean_cosine_other_other": pair(~found, ~found)}
        seen = F.normalize(clip.get_image_features(train_clip.normalise(asked)), dim=-1)
        top = (seen @ text.T).topk(5).indices
        result["everyday_named_sari_share"] = (top[:, 0] == sari).float().mean().item()
        words_of = [set(n.split()) for n in data["names"]]
        hits = [any(set(everyday[i // 8].split()) & words_of[j] - {"a", "and", "with", "of"} for j in row)
                for i, row in enumerate(top.tolist())]
        result["everyday_prompt_word_in_top5_names"] = sum(hits) / len(hits)
        per = {p: sum(hits[i * 8:i * 8 + 8]) for i, p in enumerate(everyday)}
        print({p: h for p, h in per.items()})
        from collections import Counter
        print(Counter(data["names"][i] for i in named[found].tolist()).most_common(8))
    result = {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}
    print(json.dumps(result, indent=1))
    if len(sys.argv) == 1:
        write_json(folder / "measured.json", result)


if __name__ == "__main__":
    main()
