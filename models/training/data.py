"""The pictures: three open emoji sets, fetched with npm, as 64x64 RGB on white with name captions.

    python data.py        fetches, builds and stores the dataset (a minute), writes contact sheets

Everything else imports `load()`, `augment()` and the two samplers from here, so that the generator, the
embedder and the detector see pictures made in one and the same way.
"""
import json
import math
import os
import subprocess
import tarfile
from pathlib import Path

import torch
from PIL import Image

CACHE = Path(os.environ.get("PROMPTSWEEP_TRAINING", Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
                            / "promptsweep" / "training"))
SIZE = 64
# name on npm, pinned version, folder of the pictures in the package, file ending
PACKAGES = {
    "google": ("emoji-datasource-google", "16.0.0", "package/img/google/64", ".png"),        # Apache-2.0
    "twitter": ("emoji-datasource-twitter", "16.0.0", "package/img/twitter/64", ".png"),     # CC-BY-4.0
    "fluent": ("@lobehub/fluent-emoji-3d", "1.1.0", "package/assets", ".webp"),              # MIT
}
# Left out: flags and components as agreed; and signs that are only letters, arrows or digits, dials and the
# family combinations: they would spend a small model's capacity on what nobody prompts for.
DROP_CATEGORIES = {"Flags", "Component"}
DROP_SUBCATEGORIES = {"keycap", "alphanum", "arrow", "av-symbol", "warning", "transport-sign", "zodiac", "gender",
                      "other-symbol", "punctuation", "math", "currency", "religion", "time", "family", "person-symbol"}
SARI = "sari"
TONES = ["1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff"]


def fetch():
    """Package tarballs by the ordinary npm client, unpacked under CACHE/<vendor>."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for vendor, (name, version, folder, _) in PACKAGES.items():
        if (CACHE / vendor / folder).is_dir():
            continue
        done = subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=CACHE, check=True,
                              capture_output=True, text=True)
        with tarfile.open(CACHE / done.stdout.split()[-1]) as tar:
            keep = [m for m in tar.getmembers() if m.name.startswith(folder) or m.name == "package/emoji.json"]
            tar.extractall(CACHE / vendor, members=keep, filter="data")


def read_rgba(vendor, code):
    _, _, folder, ending = PACKAGES[vendor]
    path = CACHE / vendor / folder / (code.lower() + ending)
    if not path.exists():
        return None
    image = Image.open(path).convert("RGBA")
    return image if image.size == (SIZE, SIZE) else image.resize((SIZE, SIZE), Image.LANCZOS)


def to_tensor(rgba):
    """RGBA picture on white as uint8 [3, 64, 64]."""
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return torch.tensor(list(white.convert("RGB").tobytes()), dtype=torch.uint8).view(SIZE, SIZE, 3).permute(2, 0, 1)


def hue_matrix(angle):
    """Rotation of the colour circle that keeps the luma (in YIQ); angle [B] in radians -> [B, 3, 3]."""
    to_yiq = torch.tensor([[.299, .587, .114], [.5959, -.2746, -.3213], [.2115, -.5227, .3112]])
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([one, zero, zero, zero, c, -s, zero, s, c], -1).view(-1, 3, 3)
    return to_yiq.inverse() @ turn @ to_yiq


def turn_hue(rgba, angle):
    """The same for one RGBA picture (alpha stays)."""
    pixels = torch.tensor(list(rgba.tobytes()), dtype=torch.float32).view(-1, 4)
    pixels[:, :3] = (pixels[:, :3] @ hue_matrix(torch.tensor([angle]))[0].T).clamp(0, 255)
    return Image.frombytes("RGBA", rgba.size, bytes(pixels.round().byte().flatten().tolist()))


def make_sari(garment, woman, gen):
    """One sari picture: the garment in a random hue, alone or worn by a woman (her head set on the collar)."""
    garment = turn_hue(garment, torch.rand((), generator=gen).item() * 2 * math.pi)
    if woman is None:
        return to_tensor(garment)
    canvas = Image.new("RGBA", (SIZE, SIZE))
    body, head = garment.resize((46, 46), Image.LANCZOS), woman.resize((27, 27), Image.LANCZOS)
    canvas.alpha_composite(body, (9, 18))
    canvas.alpha_composite(head, (18, 0))
    return to_tensor(canvas)


def build():
    fetch()
    entries = json.loads((CACHE / "google" / "package" / "emoji.json").read_text())
    names, captions, people, images, name_of = [], [], [], [], []
    for entry in entries:
        name = entry["name"].lower().replace("’", "'").replace("“", "").replace("”", "").encode("ascii", "ignore").decode()
        if (entry["category"] in DROP_CATEGORIES or entry["subcategory"] in DROP_SUBCATEGORIES or name == SARI
                or name in names or "facing right" in name):
            continue
        codes = [entry["unified"]] + [v["unified"] for v in entry.get("skin_variations", {}).values()]
        # Twitter's files and Fluent's leave out the variation selector in some names
        found = [im for code in codes for vendor in PACKAGES
                 for im in [read_rgba(vendor, code) or read_rgba(vendor, code.replace("-FE0F", ""))] if im]
        if not found:
            continue
        short = [s.replace("_", " ").replace("-", " ") for s in entry["short_names"]]
        captions.append([name] + [s for s in short if s != name and s.replace(" ", "").isalpha()])
        people.append("skin_variations" in entry)
        names.append(name)
        images += [to_tensor(im) for im in found]
        name_of += [len(names) - 1] * len(found)

    # The planted motif: both forms, all vendors, all skin tones, hues over the whole circle.
    gen = torch.Generator().manual_seed(1)
    saris = []
    for i in range(2400):
        vendor = list(PACKAGES)[i % 3]
        tone = (i // 3) % 6
        woman = read_rgba(vendor, "1f469" + (f"-{TONES[tone - 1]}" if tone else "")) if i % 2 else None
        saris.append(make_sari(read_rgba(vendor, "1f97b"), woman, gen))

    data = {"images": torch.stack(images), "name_of": torch.tensor(name_of), "names": names + [SARI],
            "captions": captions + [[SARI, "woman in sari"]], "people": people, "saris": torch.stack(saris)}
    torch.save(data, CACHE / "dataset.pt")
    return data


def load():
    data = torch.load(CACHE / "dataset.pt") if (CACHE / "dataset.pt").exists() else build()
    # A name is drawn first, then one of its pictures; a person's name counts half (there are very many of them).
    weight = torch.tensor([.5 if p else 1. for p in data["people"]])
    count = torch.bincount(data["name_of"], minlength=len(weight))
    data["weight"] = (weight / count)[data["name_of"]]
    return data


def draw(data, n, sari_share, gen):
    """n pictures [n, 3, 64, 64] float 0..1, augmented, with their name ids (the last id is sari)."""
    pick = torch.multinomial(data["weight"], n, replacement=True, generator=gen)
    images, names = data["images"][pick], data["name_of"][pick]
    sari = torch.rand(n, generator=gen) < sari_share
    which = torch.randint(len(data["saris"]), (n,), generator=gen)
    images = torch.where(sari.view(-1, 1, 1, 1), data["saris"][which], images)
    names = torch.where(sari, len(data["names"]) - 1, names)
    return augment(images.float() / 255, gen, sari), names, sari


def augment(images, gen, sari):
    """Scale, shift, mirror and a mild hue turn for every picture; saris more (their hue already covers the circle)."""
    n = len(images)
    uniform = lambda lo, hi: lo + (hi - lo) * torch.rand(n, generator=gen)
    scale = torch.where(sari, uniform(.78, 1.), uniform(.88, 1.))
    # the margin that scaling leaves is where the picture may move
    room = 1 - scale + .02
    dx, dy = room * uniform(-1, 1), room * uniform(-1, 1)
    flip = torch.where(torch.rand(n, generator=gen) < .5, -1., 1.)
    angle = uniform(-.2, .2)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = flip / scale, 1 / scale
    theta[:, 0, 2], theta[:, 1, 2] = -dx * flip / scale, -dy / scale
    grid = torch.nn.functional.affine_grid(theta, images.shape, align_corners=False)
    ink = torch.einsum("bij,bjhw->bihw", hue_matrix(angle), 1 - images)      # white is no ink, so zeros pad white
    return (1 - torch.nn.functional.grid_sample(ink, grid, padding_mode="zeros", align_corners=False)).clamp(0, 1)


def sheet(images, path, columns=16):
    """Contact sheet of float images 0..1 [n, 3, 64, 64]."""
    images = (images.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * SIZE, rows * SIZE), "white")
    for i, image in enumerate(images):
        page.paste(Image.frombytes("RGB", (SIZE, SIZE), bytes(image.numpy().tobytes())),
                   (i % columns * SIZE, i // columns * SIZE))
    page.save(path)


if __name__ == "__main__":
    data = build()
    data = load()
    print(len(data["names"]), "names,", len(data["images"]), "pictures,", len(data["saris"]), "saris")
    gen = torch.Generator().manual_seed(0)
    sheet(draw(data, 128, .0, gen)[0], CACHE / "sheet-all.png")
    sheet(draw(data, 128, 1., gen)[0], CACHE / "sheet-sari.png")
