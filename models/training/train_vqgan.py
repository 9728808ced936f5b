"""VQ autoencoder: 64x64 picture -> 8x8 codes of 512 -> picture.  Only the decoder side is exported.

With REFINE=1 a finished run is taken on with the codes frozen: only the decoder learns, so a transformer trained on
these codes stays valid.
"""
import os

import torch
import torch.nn.functional as F

import data as pictures
from common import CACHE, Run
from nets import VQGan

STEPS, BATCH, LR = int(os.environ.get("STEPS", 1800)), 32, 2e-3
SARI_SHARE = .08
CONTINUOUS = 120


def edges(x):
    return torch.cat([(x[..., 1:] - x[..., :-1]).flatten(1), (x[..., 1:, :] - x[..., :-1, :]).flatten(1)], 1)


@torch.no_grad()
def update_codebook(net, book, latents, which, run, decay=.97):
    if run.step == CONTINUOUS:                                # start at latents that the encoder really gives
        book.total = latents[torch.randperm(len(latents), generator=run.gen)[:512]].clone()
        book.count = torch.ones(512)
    elif run.step > CONTINUOUS:
        book.count.mul_(decay).add_(torch.bincount(which, minlength=512).float(), alpha=1 - decay)
        book.total.mul_(decay).index_add_(0, which, latents, alpha=1 - decay)
        if run.step % 10 == 0 and run.progress() < .8:        # a code nobody uses restarts at a latent of this batch
            dead = (book.count < .15).nonzero().flatten()
            book.total[dead] = latents[torch.randint(len(latents), (len(dead),), generator=run.gen)]
            book.count[dead] = 1.
    net.embedding.weight.data = net.on_sphere(book.total)


def main():
    torch.manual_seed(0)
    data = pictures.load()
    net = VQGan()
    # running sums behind the codebook (exponential means instead of a gradient: steadier at small batches)
    book = torch.nn.Module()
    book.register_buffer("count", torch.ones(512))
    book.register_buffer("total", net.embedding.weight.data.clone())
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], LR, betas=(.9, .99), weight_decay=1e-4)
    refine = os.environ.get("REFINE") == "1"
    if refine:
        net.load_state_dict(torch.load(CACHE / "vqgan.pt")["net"])
        net.encoder.eval().requires_grad_(False)
    run = Run("vqgan-refined" if refine else "vqgan", STEPS, LR / 2 if refine else LR, {"net": net, "book": book}, optimizer)
    for step in run:
        images, _, _ = pictures.draw(data, BATCH, SARI_SHARE, run.gen)
        with torch.autocast("cpu", torch.bfloat16, enabled=os.environ.get("BF16", "1") == "1"):
            z = net.latents(images)
            tokens = net.nearest(z.detach())
            code = net.embedding(tokens)
            if step < CONTINUOUS and not refine:              # a picture code first, then its codebook
                code = z.detach()
            out = net.decode_latents(z + (code - z).detach()).float()
        commit = F.mse_loss(z, code)
        # edges count extra: plain L1 blurs outlines, which is what a drawing consists of
        loss = F.l1_loss(out, images) + .5 * F.l1_loss(edges(out), edges(images)) + F.mse_loss(out, images)
        optimizer.zero_grad()
        (loss + .05 * commit).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.)
        optimizer.step()
        if not refine:
            update_codebook(net, book, z.detach().flatten(0, 1), tokens.flatten(), run)
        if step % 50 == 0:
            run.log(loss=loss.item(), commit=commit.item(), used=(book.count > .15).sum().item())
        if step % 200 == 0:
            pictures.sheet(torch.cat([images[:16], out[:16].detach()]), CACHE / "sheet-vqgan.png")


if __name__ == "__main__":
    main()
