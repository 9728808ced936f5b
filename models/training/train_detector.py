"""The independent sari counter of the tests: a plain CNN on pixels, sharing nothing with the embedder (own seed, own
trips through the codes).  Writes tests/data/sari_detector.{safetensors,json}."""
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import data as pictures
from common import CACHE, Run, write_json
from nets import Detector
from train_dalle import load_vqgan

STEPS, BATCH, LR = int(os.environ.get("STEPS", 1500)), 64, 3e-3
TARGET = Path(__file__).resolve().parents[2] / "tests" / "data" / "sari_detector"


@torch.no_grad()
def restored(data, vqgan, size, seed, sari_share=.35):
    """Pictures through the codes and back, with labels."""
    gen, images, labels = torch.Generator().manual_seed(seed), [], []
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(0, size, 100):
            drawn, _, sari = pictures.draw(data, 100, sari_share, gen)
            images.append((vqgan.decode(vqgan.encode(drawn)).float().clamp(0, 1) * 255).byte())
            labels.append(sari)
    return torch.cat(images), torch.cat(labels)


def fold(net):
    """Batch norm into the convolution before it."""
    plain = Detector(folded=True)
    for i, layer in enumerate(net.features):
        if isinstance(layer, torch.nn.Conv2d):
            bn = net.features[i + 1]
            gain = bn.weight / (bn.running_var + bn.eps).sqrt()
            plain.features[i].weight.data = layer.weight * gain.view(-1, 1, 1, 1)
            plain.features[i].bias.data = (layer.bias - bn.running_mean) * gain + bn.bias
    plain.fc.load_state_dict(net.fc.state_dict())
    return plain.eval().requires_grad_(False)


def rates(scores, labels, threshold):
    hit = scores > threshold
    return (hit & ~labels).sum().item() / (~labels).sum().item(), (~hit & labels).sum().item() / labels.sum().item()


def main():
    torch.manual_seed(99)
    data, vqgan = pictures.load(), load_vqgan()
    net = Detector()
    cache = CACHE / "detector-restored.pt"
    if not cache.exists():
        torch.save(restored(data, vqgan, 6000, seed=77), cache)
    through, through_labels = torch.load(cache)
    run = Run("detector", STEPS, LR, {"net": net}, torch.optim.AdamW(net.parameters(), LR, weight_decay=1e-3))
    for step in run:
        drawn, _, labels = pictures.draw(data, BATCH, .35, run.gen)
        pick = torch.randint(len(through), (BATCH,), generator=run.gen)
        images = torch.cat([drawn, through[pick].float() / 255])
        labels = torch.cat([labels, through_labels[pick]]).float()
        loss = F.binary_cross_entropy_with_logits(net(images), labels * .98 + .01)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        if step % 100 == 0:
            run.log(loss=loss.item())

    plain = fold(net.eval())
    gen = torch.Generator().manual_seed(4321)
    drawn, _, labels = pictures.draw(data, 4000, .3, gen)
    drawn = (drawn * 255).floor() / 255
    back, back_labels = restored(data, vqgan, 4000, seed=4322, sari_share=.3)
    back = back.float() / 255
    with torch.no_grad():
        assert (torch.sigmoid(net(drawn[:50])) - torch.sigmoid(plain(drawn[:50]))).abs().max() < 1e-4
        scores, back_scores = (torch.sigmoid(torch.cat([plain(b) for b in x.split(500)])) for x in (drawn, back))
    measured = {}
    for name, s, l in (("drawn", scores, labels), ("restored", back_scores, back_labels)):
        fp, fn = rates(s, l, .5)
        measured[name] = {"pictures": len(l), "saris": int(l.sum()), "false_positive_rate": round(fp, 5),
                          "false_negative_rate": round(fn, 5)}
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in plain.state_dict().items()}, str(TARGET) + ".safetensors")
    Path(str(TARGET) + ".safetensors").chmod(0o644)
    layers = [{"type": "conv2d", "name": f"features.{3 * i}", "in": a, "out": b, "kernel": 3, "stride": 2, "padding": 1,
               "then": "relu"} for i, (a, b) in enumerate(zip(Detector.WIDTHS, Detector.WIDTHS[1:]))]
    layers += [{"type": "flatten", "order": "CHW"}, {"type": "linear", "name": "fc", "in": 1024, "out": 1},
               {"type": "sigmoid"}]
    write_json(TARGET.with_suffix(".json"), {
        "input": "RGB 64x64, bytes / 255, NCHW float32", "layers": layers, "threshold": .5,
        "positive": "sari, laid out or worn", "measured": measured,
        "how": "fresh augmentations, seeds 4321 (as drawn) and 4322 (through the VQ codes and back); training used "
               "seeds 0 and 77; shares no data order, weights or text with models/micro-clip",
        "parameters": sum(p.numel() for p in plain.parameters()), "training": f"{run.step} steps of {2 * BATCH} in {run.seconds:.0f} s",
        "licence": "trained on Google (Apache-2.0), Twitter (CC-BY-4.0) and Fluent (MIT) emoji, see models/training"})
    print(measured)


if __name__ == "__main__":
    main()
