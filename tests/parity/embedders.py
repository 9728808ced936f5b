"""The reference embedders at small random sizes: open_clip 3.3 (its own layout), SigLIP, SigLIP 2 and DINOv2 of transformers 4.57,
unmodified, and SSCD on the ResNet of torchvision 0.26. Each `write_*` writes a model folder as the worker loads it and expected.safetensors and expected.json beside it:
images of several sizes, what the reference's own preprocessing makes of them, unit vectors, texts and their ids.

No published vocabulary is needed: small ones are made here.
"""
import base64
import gzip
import io
import json
import random
import string

import numpy as np
import sentencepiece
import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from tokenizers import Tokenizer
from torchvision import transforms
from torchvision.models.resnet import Bottleneck, ResNet
from transformers import (BitImageProcessor, Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel,
                          GemmaTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipTokenizer)

import references as r

# Height and width of pictures: as the model wants them, wide, high, one pixel, smaller, and larger.
SIZES = [(12, 12), (5, 40), (61, 3), (1, 1), (7, 9), (33, 26)]

unit = lambda x: x / x.norm(dim=-1, keepdim=True)


def random_images(gen, sizes=SIZES):
    return [torch.randint(256, (2, 3, h, w), generator=gen).to(torch.uint8) for h, w in sizes]


def pictures(images):
    return [Image.fromarray(np.ascontiguousarray(i.permute(1, 2, 0).numpy())) for i in images]


def write_expected(folder, images, prepare, embed, texts=(), ids=None, text_vectors=None):
    """`prepare` makes a pixel tensor of pictures, `embed` vectors of it."""
    out = {}
    for i, batch in enumerate(images):
        pixels = prepare(pictures(batch))
        out |= {f"images.{i}": batch, f"pixels.{i}": pixels, f"vision.{i}": unit(embed(pixels))}
    if ids is not None:
        out |= {"ids": ids, "text": unit(text_vectors)}
    r.write_tensors(folder / "expected.safetensors", out)
    r.write_json(folder / "expected.json", {"texts": list(texts), "sizes": len(images)})


def processor(cls, settings):
    made = cls.from_dict(dict(settings))
    # Told, or a picture of 1 or 3 pixels would be taken for its channels.
    return lambda images: made(images=images, return_tensors="pt", input_data_format="channels_last")["pixel_values"]


# ---------------------------------------------------------------- open_clip

def open_clip_tokenizer(folder, length):
    """open_clip's tokenizer of the folder's merges; its vocabulary must come out as vocab.json."""
    merges = (folder / "merges.txt").read_text(encoding="utf8").rstrip("\n")
    packed = io.BytesIO(gzip.compress(merges.encode()))
    tokenizer = SimpleTokenizer(bpe_path=packed, context_length=length)
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    rename = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    assert {rename.get(k, k): v for k, v in tokenizer.encoder.items()} == vocab, "a merge gives a token that was there"
    return tokenizer


def open_clip_bpe(folder):
    r.clip_bpe(folder)
    merges = [tuple(line.split(" ")) for line in (folder / "merges.txt").read_text(encoding="utf8").split("\n")[1:-1]]
    from open_clip.tokenizer import bytes_to_unicode
    letters = list(bytes_to_unicode().values())
    seen, kept = set(letters) | {c + "</w>" for c in letters}, []
    for a, b in merges:
        if a in seen and b in seen and a + b not in seen:
            seen.add(a + b)
            kept.append((a, b))
    r.write_bpe(folder, letters + [c + "</w>" for c in letters] + [a + b for a, b in kept] + ["<|startoftext|>", "<|endoftext|>"], kept)


def write_open_clip(folder, model_cfg, preprocess_cfg, texts, seed, name="open_clip_model"):
    gen = torch.Generator().manual_seed(seed)
    open_clip_bpe(folder)
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    model_cfg["text_cfg"]["vocab_size"] = len(vocab)
    model = CLIP(**json.loads(json.dumps(model_cfg))).eval()
    r.randomise(model, gen)
    r.write_json(folder / "open_clip_config.json", {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    r.write_tensors(folder / f"{name}.safetensors", model.state_dict())
    size = model_cfg["vision_cfg"]["image_size"]
    transform = image_transform_v2(PreprocessCfg(**{**preprocess_cfg, "size": size}), is_train=False)
    ids = open_clip_tokenizer(folder, model_cfg["text_cfg"]["context_length"])(texts)
    # Its round() gives no height at all to a picture this long.
    sizes = [s for s in SIZES if preprocess_cfg["resize_mode"] != "longest" or max(s) * 2 < min(s) * size * 2]
    write_expected(folder, random_images(gen, sizes), lambda images: torch.stack([transform(i) for i in images]), model.encode_image,
                   texts, ids, model.encode_text(ids))


# ---------------------------------------------------------------- SigLIP

# A small character map of the kind nmt_nfkc is: one to one, one to many, many to one, to a space, to nothing.
RULES = {"ﬁ": "fi", "ß": "ss", "e\u0301": "é", "\u00a0": " ", "\u2028": " ", "\t": " ", "\u200b": "", "Ａ": "A", "①": "1", "e\u0301\u0302": "ê",
         "²": "2", "…": "...", "\ufeff": ""}


def write_spiece(folder, normalization, vocab=220, seed=0):
    """spiece.model, as SigLIP's: pad 0, end 1, unknown 2."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    words = [w.lower().translate(str.maketrans("", "", string.punctuation)) for w in r.WORDS]
    words = [w for w in words if w.isalnum() and w.isascii() or w in ("café", "东京", "東京", "naïve")]
    sentences = [" ".join(rng.choice(words) for _ in range(rng.randint(2, 6))) for _ in range(400)]
    rules = {}
    if normalization == "rules":
        rows = "".join(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n" for a, b in RULES.items())
        (folder / "rules.tsv").write_text(rows, encoding="utf8")
        rules = {"normalization_rule_tsv": str(folder / "rules.tsv")}
    else:
        rules = {"normalization_rule_name": normalization}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="unigram", vocab_size=vocab, pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, hard_vocab_limit=False, num_threads=1, minloglevel=2, character_coverage=.999, **rules)
    (folder / "rules.tsv").unlink(missing_ok=True)
    # What the trainer was told (a path among it) is no part of the model.
    from transformers.convert_slow_tokenizer import import_protobuf
    proto = import_protobuf().ModelProto.FromString(model.getvalue())
    kind = proto.trainer_spec.model_type
    proto.ClearField("trainer_spec")
    proto.trainer_spec.model_type = kind
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    (folder / "spiece.model").write_bytes(proto.SerializeToString())
    r.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "SiglipTokenizer"})


def siglip_tokenizer(folder):
    return SiglipTokenizer(vocab_file=str(folder / "spiece.model"))


def spiece_to_json(folder):
    """The same vocabulary as a tokenizer.json, in the place of spiece.model."""
    from transformers.convert_slow_tokenizer import import_protobuf
    proto = import_protobuf().ModelProto.FromString((folder / "spiece.model").read_bytes())
    specials = [{"id": i, "content": p.piece, "special": True, "normalized": False} for i, p in enumerate(proto.pieces) if p.type != 1]
    r.write_json(folder / "tokenizer.json", {
        "version": "1.0", "added_tokens": specials,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()}]},
        "pre_tokenizer": {"type": "Metaspace"},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [[p.piece, p.score] for p in proto.pieces], "byte_fallback": False}})
    (folder / "spiece.model").unlink()


def write_gemma(folder, merges=230, seed=0):
    """tokenizer.json in the form of Gemma's. Merges are learnt here: the tokenizers package's trainer orders equals by chance."""
    rng = random.Random(seed)
    words = [w.lower() for w in r.WORDS if w.strip()]
    sentences = ["▁".join(rng.choice(words) for _ in range(rng.randint(1, 4))) for _ in range(150)]
    learnt = r.learn_merges(sentences, merges)
    letters = sorted({c for s in sentences for c in s if c.isascii() or c in "▁éß"})
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    # Runs of line ends and HTML, as Gemma has them: in the vocabulary, and taken out before anything else.
    taken_out = ["\n", "\n\n", "\n\n\n", "<table>", "</b>", "▁▁"]
    known = set(letters)
    kept = []
    for a, b in learnt:
        if a in known and b in known:
            known.add(a + b)
            kept.append([a, b])
    tokens = specials + [f"<0x{b:02X}>" for b in range(256)] + taken_out + letters + [a + b for a, b in kept]
    vocab = {t: i for i, t in enumerate(dict.fromkeys(tokens))}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    r.write_json(folder / "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": vocab[t], "content": t, "special": t in specials, **plain} for t in specials + taken_out],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": kept}})
    r.write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": False, "add_eos_token": True,
                                                    "padding_side": "right"})


def gemma_tokenizer(folder):
    """As the folder says, and lower-casing, which SigLIP 2 was trained with."""
    made = json.loads((folder / "tokenizer.json").read_text(encoding="utf8"))
    made["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, made["normalizer"]]}
    inner = Tokenizer.from_str(json.dumps(made))
    return GemmaTokenizerFast(tokenizer_object=inner, add_bos_token=False, add_eos_token=True, padding_side="right")


def write_siglip(folder, text, vision, texts, seed, tokenizer="rules", preprocess=None):
    """`tokenizer`: "gemma", or how SentencePiece normalises; then "+json" has the vocabulary in tokenizer.json."""
    gen = torch.Generator().manual_seed(seed)
    if tokenizer == "gemma":
        write_gemma(folder, seed=seed)
        reference = gemma_tokenizer(folder)
    else:
        write_spiece(folder, tokenizer.removesuffix("+json"), seed=seed)
        reference = siglip_tokenizer(folder)
        if tokenizer.endswith("+json"):
            spiece_to_json(folder)
    text = {"vocab_size": len(reference) + 3, "projection_size": vision["hidden_size"], **text}
    config = SiglipConfig(text_config=text, vision_config=vision)
    config._attn_implementation = "eager"
    model = SiglipModel(config).eval()
    r.randomise(model, gen)
    r.write_json(folder / "config.json", {"model_type": "siglip", "text_config": text, "vision_config": vision})
    size = {"height": vision["image_size"], "width": vision["image_size"]}
    preprocess = {"image_processor_type": "SiglipImageProcessor", "do_resize": True, "size": size, "resample": 3, "do_rescale": True,
                  "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [.5, .5, .5], "image_std": [.5, .4, .5], **(preprocess or {})}
    r.write_json(folder / "preprocessor_config.json", preprocess)
    r.write_tensors(folder / "model.safetensors", model.state_dict())
    length = text["max_position_embeddings"]
    ids = torch.tensor([reference(t, padding="max_length", truncation=True, max_length=length)["input_ids"] for t in texts])
    write_expected(folder, random_images(gen), processor(SiglipImageProcessor, preprocess),
                   lambda pixels: model.get_image_features(pixel_values=pixels), texts, ids, model.get_text_features(input_ids=ids))


# ---------------------------------------------------------------- DINOv2

def write_dinov2(folder, sizes, seed, preprocess):
    gen = torch.Generator().manual_seed(seed)
    registers = "num_register_tokens" in sizes
    config = (Dinov2WithRegistersConfig if registers else Dinov2Config)(**sizes)
    config._attn_implementation = "eager"
    model = (Dinov2WithRegistersModel if registers else Dinov2Model)(config).eval()
    r.randomise(model, gen)
    r.write_json(folder / "config.json", {"model_type": config.model_type, **sizes})
    preprocess = {"image_processor_type": "BitImageProcessor", "do_resize": True, "resample": 3, "do_center_crop": True, "do_rescale": True,
                  "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [.485, .456, .406], "image_std": [.229, .224, .225],
                  "do_convert_rgb": True, **preprocess}
    r.write_json(folder / "preprocessor_config.json", preprocess)
    r.write_tensors(folder / "model.safetensors", model.state_dict())
    write_expected(folder, random_images(gen), processor(BitImageProcessor, preprocess),
                   lambda pixels: model(pixel_values=pixels).pooler_output)


# ---------------------------------------------------------------- SSCD

class GlobalGeMPool2d(torch.nn.Module):
    """sscd/models/gem_pooling.py of facebookresearch/sscd-copy-detection."""

    def __init__(self, pooling_param):
        super().__init__()
        self.pooling_param = pooling_param

    def forward(self, x):
        n, c, h, w = x.size()
        x = x.reshape(n, c, h * w)
        mean = x.clamp(min=1e-6).pow(self.pooling_param).mean(dim=2)
        return mean.pow(1.0 / self.pooling_param)


def sscd(sizes, gen):
    """sscd/models/model.py with torchvision's blocks, of any width: its own constructor knows one alone."""
    layers, planes, dims = sizes["layers"], sizes["init_planes"], sizes["dims"]
    net = ResNet(Bottleneck, layers, num_classes=dims, groups=sizes["groups"], width_per_group=sizes["width_per_group"])
    if planes != 64:
        net.inplanes = planes
        net.conv1, net.bn1 = torch.nn.Conv2d(3, planes, 7, 2, 3, bias=False), torch.nn.BatchNorm2d(planes)
        for i, count in enumerate(layers):
            setattr(net, f"layer{i + 1}", net._make_layer(Bottleneck, planes << i, count, stride=1 if i == 0 else 2))
        net.fc = torch.nn.Linear(planes * 32, dims)
    net.avgpool = GlobalGeMPool2d(sizes["pool_param"])
    r.randomise(net, gen)
    for name, statistic in net.named_buffers():
        if name.endswith("running_mean"):
            statistic.copy_(.3 * torch.randn(statistic.shape, generator=gen))
        elif name.endswith("running_var"):
            statistic.copy_(.5 + torch.rand(statistic.shape, generator=gen))
        else:
            statistic.fill_(7)
    model = torch.nn.Module()
    model.backbone = net
    return model.eval()


def write_sscd(folder, sizes, seed, size, prefix=""):
    """`size` as torchvision's Resize takes it: the short side, or both. `prefix` of the names in model.safetensors."""
    gen = torch.Generator().manual_seed(seed)
    sizes = {"layers": [3, 4, 6, 3], "init_planes": 64, "groups": 1, "width_per_group": 64, "dims": 512, "pool_param": 3.0} | sizes
    model = sscd(sizes, gen)
    r.write_json(folder / "config.json", {"model_type": "sscd", **sizes})
    mean, std = [.485, .456, .406], [.229, .224, .225]
    r.write_json(folder / "preprocessor_config.json", {
        "do_resize": True, "size": {"shortest_edge": size} if isinstance(size, int) else {"height": size[0], "width": size[1]}, "resample": 2,
        "do_center_crop": False, "do_rescale": True, "do_normalize": True, "image_mean": mean, "image_std": std})
    r.write_tensors(folder / "model.safetensors",
                    {prefix + k.removeprefix("backbone."): v for k, v in model.state_dict().items()})
    transform = transforms.Compose([transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(mean=mean, std=std)])
    write_expected(folder, random_images(gen, [(12, 12), (5, 20), (31, 9), (1, 1), (33, 26)]),
                   lambda images: torch.stack([transform(i) for i in images]), model.backbone)
    return model


# ---------------------------------------------------------------- tokens and resizing

def ascii_text(rng):
    letters = string.ascii_letters + string.digits + "'.,:;!?-_()[]{}#$%*+/=@^`|~\"\\ "
    return rng.choice(["", " ", "\n", " a"]) + "".join(rng.choice(letters) for _ in range(rng.randint(0, 30))) + rng.choice(["", " it's", " 'LL"])


def write_embedder_fuzz(path, folders, count, seed):
    """One JSON object a line: which tokenizer, text, ids. `folders` gives one folder for each of open_clip, siglip and siglip2."""
    rng = random.Random(seed)
    clip, spiece, gemma = open_clip_tokenizer(folders["open_clip"], 77), siglip_tokenizer(folders["siglip"]), gemma_tokenizer(folders["siglip2"])
    encode = {"open_clip": lambda t: [clip.sot_token_id] + clip.encode(t) + [clip.eot_token_id],
              "siglip": lambda t: spiece(t)["input_ids"], "siglip2": lambda t: gemma(t)["input_ids"]}
    with open(path, "w", encoding="utf8") as out:
        for kind, ids_of in encode.items():
            for _ in range(count):
                text = ascii_text(rng) if kind == "open_clip" else r.fuzz_text(rng)
                out.write(json.dumps([kind, text, ids_of(text)], ensure_ascii=True, separators=(",", ":")) + "\n")


def write_resizes(path, cases, seed, longest):
    """Pillow's own resize of random pictures: "i.in", "i.out" of the kernel in the name."""
    rng, gen, out = random.Random(seed), torch.Generator().manual_seed(seed), {}
    side = lambda: rng.choice([1, 2, rng.randint(1, longest), rng.randint(1, longest), rng.randint(1, longest // 4)])
    for i in range(cases):
        height, width = side(), side()
        new = (side(), side()) if rng.random() < .9 else (width, height)
        kind, resample = rng.choice([("bicubic", Image.Resampling.BICUBIC), ("bilinear", Image.Resampling.BILINEAR)])
        # Hard edges overshoot most.
        image = torch.randint(256, (1, 3, height, width), generator=gen) if rng.random() < .5 else 255 * torch.randint(2, (1, 3, height, width), generator=gen)
        image = image.to(torch.uint8)
        picture = pictures(image)[0]
        # Pillow 12.3 takes the columns of a picture this tall first, those before it the rows of every picture.
        if height > 100 * width:
            picture = picture.resize((new[0], height), resample=resample)
        resized = np.asarray(picture.resize(new, resample=resample))
        out |= {f"{i}.{kind}.in": image, f"{i}.{kind}.out": torch.from_numpy(resized.copy()).permute(2, 0, 1)[None]}
    r.write_tensors(path, out)
