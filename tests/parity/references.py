"""The reference implementations at small random sizes: min-dalle 0.4.11 and transformers 4.57, unmodified but for the sizes
they hard-code. Writes, for one configuration, a model folder as the worker loads it and the inputs and outputs to compare.

min-dalle hard-codes 256 image tokens, 32 norm groups, 512 channels of attention and a 16-wide square; `small_vqgan` rewrites
those numbers in its source before running it, so that every operation stays the reference's own.
"""
import copy
import inspect
import json
import random

import torch
import min_dalle.models.dalle_bart_decoder as decoder_source
import min_dalle.models.vqgan_detokenizer as vqgan_source
from min_dalle.models.dalle_bart_encoder import DalleBartEncoder
from min_dalle.text_tokenizer import TextTokenizer
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast

import dalle_text

torch.set_grad_enabled(False)

# Trained without a scale in the published weights, hence left out of the folder (and ones in the reference).
NO_SCALE = ("pre_self_attn_layer_norm", "pre_encoder_attn_layer_norm", "glu.ln0", "glu.ln1", "final_ln")


def randomise(module, gen):
    """Every parameter, norms and biases too: default initial values hide errors."""
    for name, p in module.named_parameters():
        if p.dim() > 1:
            p.copy_(torch.randn(p.shape, generator=gen) * p[0].numel() ** -.5)
        elif name.endswith("weight"):
            p.copy_(1 + .3 * torch.randn(p.shape, generator=gen))
        else:
            p.copy_(.3 * torch.randn(p.shape, generator=gen))


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n")


def write_tensors(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path)


# ---------------------------------------------------------------- text

WORDS = ("a photo of the armchair in shape avocado woman sari face firefighter starry night garden earthly delights magical "
         "mystery tour dark side moon portrait zurich lake historical black white photorealistic don't we'll it's i'd 1984 2x4 "
         "half-open semi; colon: quote\" back\\slash under_score <s> </s> <pad> emoji naïve café ÅNGSTRÖM straße ΣΊΣΥΦΟΣ İstanbul "
         "K ﬁne ½ ² Ⅷ ٣٤ 東京 タワー 한국 Привет שלום مرحبا नमस्ते ไทย 👩🏽‍🚒 🧕 ❤️ 🥻 e\u0301 \u1e9b\u0323 'S 'Ll !!'s $5.00 #tag @user "
         "\u200b \ufeff \u00a0 \u0085 \u2028 \t \n \r\n \x0b \x1f <|startoftext|> <|endoftext|> <|END").split(" ")


def fuzz_text(rng):
    if rng.random() < .03:
        return rng.choice(["", " ", "   ", "\t", "\n", "🥻", "é", "'", "''", "!", "x" * 90, "word " * 80, " lead", "trail "])
    parts = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < .6:
            parts.append(rng.choice(WORDS))
        elif kind < .8:
            parts.append("".join(rng.choice("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789'.,;:!?-_ ") for _ in range(rng.randint(1, 9))))
        else:
            parts.append("".join(chr(rng.choice([rng.randint(33, 0x2ff), rng.randint(0x370, 0x5ff), rng.randint(0x1e00, 0x2fff),
                                                 rng.randint(0x3040, 0x30ff), rng.randint(0x1f300, 0x1faff)]))
                                 for _ in range(rng.randint(1, 4))))
    return rng.choice([" ", " ", " ", "  ", "", "\n"]).join(parts)


def learn_merges(words, count):
    words, merges = [list(w) for w in words], []
    for _ in range(count):
        pairs = {}
        for w in words:
            for pair in zip(w, w[1:]):
                pairs[pair] = pairs.get(pair, 0) + 1
        if not pairs:
            break
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        for w in words:
            i = 0
            while i + 1 < len(w):
                if (w[i], w[i + 1]) == best:
                    w[i:i + 2] = [w[i] + w[i + 1]]
                i += 1
    return merges


def write_bpe(folder, tokens, merges):
    write_json(folder / "vocab.json", {t: i for i, t in enumerate(dict.fromkeys(tokens))})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf8")


def dalle_bpe(folder, rng):
    """Bytes as both implementations spell them, but for some: what is unknown is told apart too."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
    table = bytes_to_unicode()
    ascii_words = [w.lower().encode("ascii", "ignore").decode() for w in WORDS]
    in_bytes = ["".join(table[b] for b in w.encode()) for w in WORDS if not w.isascii()]
    words = [rng.choice(["Ġ", "Ġ", ""]) + w for w in ascii_words + in_bytes if w]
    left_out = set("~^`") | {table[b] for b in rng.sample(range(128, 256), 9)}
    merges = [m for m in learn_merges(words, 150) if not left_out & set(m[0] + m[1])]
    characters = [c for c in table.values() if c not in left_out]
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    write_bpe(folder, special + characters + [a + b for a, b in merges], merges)


def clip_bpe(folder):
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
    table = bytes_to_unicode()
    spell = lambda w: [table[b] for b in w.lower().encode()]
    words = [s[:-1] + [s[-1] + "</w>"] for s in (spell(w) for w in WORDS if w.isalpha()) if s]
    merges = learn_merges(words, 250)
    letters = list(table.values())
    tokens = letters + [c + "</w>" for c in letters] + [a + b for a, b in merges] + ["<|startoftext|>", "<|endoftext|>"]
    write_bpe(folder, tokens, merges)


def dalle_tokenizer(folder):
    merges = (folder / "merges.txt").read_text(encoding="utf8").split("\n")[1:-1]
    return TextTokenizer(json.loads((folder / "vocab.json").read_text(encoding="utf8")), merges)



# ---------------------------------------------------------------- DALL-E

def vqgan_blocks(c, attention):
    """The classes of min-dalle's vqgan_detokenizer with sizes freed; attention blocks have `attention` channels."""
    namespace = {"__name__": "small_vqgan"}
    source = inspect.getsource(vqgan_source)
    source = source.replace("m, n = 2 ** log2_count_in, 2 ** log2_count_out", "m, n = log2_count_in, log2_count_out")
    source = source.replace("n = 2 ** log2_count\n", "n = log2_count\n")
    source = source.replace("nn.GroupNorm(2 ** 5, m)", f"nn.GroupNorm({c['norm_groups']}, m, eps={c['norm_eps']})")
    source = source.replace("nn.GroupNorm(2 ** 5, n)", f"nn.GroupNorm({c['norm_groups']}, n, eps={c['norm_eps']})")
    source = source.replace("n = 2 ** 9\n", f"n = {attention}\n").replace("n, m = 2 ** 9, x.shape[0]", f"n, m = {attention}, x.shape[0]")
    source = source.replace("ResnetBlock(9, 9)", f"ResnetBlock({attention}, {attention})")
    source = source.replace("x.to(torch.float32)", "x")  # for float64; else it changes nothing
    assert "2 ** log2" not in source
    exec(compile(source, "small_vqgan", "exec"), namespace)
    return namespace


def small_vqgan(c):
    """VQGanDetokenizer's blocks with c's sizes in the place of the hard-coded ones."""
    top = c["ch"] * c["ch_mult"][-1]
    namespace = vqgan_blocks(c, top)

    class Level(torch.nn.Module):
        """UpsampleBlock with its number of blocks freed; the loop is the reference's."""
        def __init__(self, cin, cout, attends, upsamples):
            super().__init__()
            self.block = torch.nn.ModuleList([namespace["ResnetBlock"](cin if i == 0 else cout, cout)
                                              for i in range(c["num_res_blocks"] + 1)])
            if attends:
                self.attn = torch.nn.ModuleList([vqgan_blocks(c, cout)["AttentionBlock"]() for _ in self.block])
            if upsamples:
                self.upsample = namespace["Upsample"](cout)
            self.has_attention, self.has_upsample = attends, upsamples

        def forward(self, h):
            for j in range(len(self.block)):
                h = self.block[j].forward(h)
                if self.has_attention:
                    h = self.attn[j].forward(h)
            return self.upsample.forward(h) if self.has_upsample else h

    class Decoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            levels = len(c["ch_mult"])
            self.conv_in = torch.nn.Conv2d(c["z_channels"], top, 3, padding=1)
            self.mid = namespace["MiddleLayer"]()
            self.up = torch.nn.ModuleList([
                Level(c["ch"] * c["ch_mult"][min(i + 1, levels - 1)], c["ch"] * c["ch_mult"][i],
                      c["resolution"] >> i in c["attn_resolutions"], i > 0) for i in range(levels)])
            self.norm_out = torch.nn.GroupNorm(c["norm_groups"], c["ch"] * c["ch_mult"][0], eps=c["norm_eps"])
            self.conv_out = torch.nn.Conv2d(c["ch"] * c["ch_mult"][0], 3, 3, padding=1)

        def forward(self, z):
            z = self.mid.forward(self.conv_in.forward(z))
            for level in reversed(self.up):
                z = level.forward(z)
            z = self.norm_out.forward(z)
            z *= torch.sigmoid(z)
            return self.conv_out.forward(z)

    net = torch.nn.Module()
    net.embedding = torch.nn.Embedding(c["n_embed"], c["embed_dim"])
    net.post_quant_conv = torch.nn.Conv2d(c["embed_dim"], c["z_channels"], 1)
    net.decoder = Decoder()

    def pixels(codes, net=net):
        side = c["resolution"] >> (len(c["ch_mult"]) - 1)
        z = net.embedding(codes).view(len(codes), side, side, -1).permute(0, 3, 1, 2).contiguous()
        return net.decoder(net.post_quant_conv(z))
    return net, pixels


def without_scales(state):
    return {k: v for k, v in state.items() if not k.endswith(tuple(f"{n}.weight" for n in NO_SCALE))}


def scales_to_ones(module):
    for name, p in module.named_parameters():
        if name.endswith(tuple(f"{n}.weight" for n in NO_SCALE)):
            p.fill_(1)


def encode(encoder, rows, mask):
    """DalleBartEncoder.forward with the mask given: it would take padding in a text for padding after it."""
    state = encoder.layernorm_embedding(encoder.embed_tokens(rows) + encoder.embed_positions(torch.arange(rows.shape[1])))
    for layer in encoder.layers:
        state = layer.forward(state, mask)
    return encoder.final_ln(state)


def rounding(found, exact):
    return (found.double() - exact).abs().max().float()


def draw_min_dalle(step, settings, noise):
    """sample_tokens' own lines, with the generator given."""
    step = step[:1] * (1 - settings["supercondition"]) + step[1:] * settings["supercondition"]
    ordered, _ = step.sort(descending=True)
    kept = step >= ordered[:, settings["top_k"] - 1]
    step -= ordered[:, [0]]
    step /= settings["temperature"]
    step.exp_()
    step *= kept.to(torch.float32)
    return torch.multinomial(step, 1, generator=noise)[0, 0]


def draw_flax(step, settings, noise):
    """_sample's guidance and transformers' Flax warpers (temperature, top_k, top_p) as they are written, in torch."""
    scores = step[0] + settings["supercondition"] * (step[1] - step[0])
    scores = scores / settings["temperature"]
    ordered, order = scores.sort(descending=True, stable=True)
    scores = torch.full_like(scores, -torch.inf).scatter(0, order[:settings["top_k"]], ordered[:settings["top_k"]])
    ordered, order = scores.sort(descending=True, stable=True)
    mask = (ordered.softmax(-1).cumsum(-1) < settings["top_p"]).roll(1)
    mask[0] = True
    scores = torch.full_like(scores, -torch.inf).scatter(0, order, torch.where(mask, ordered, -torch.inf))
    return torch.multinomial(scores.softmax(-1)[None], 1, generator=noise)[0, 0]


def write_dalle(folder, config, vqgan, prompts, seed, settings):
    """The model folder, and expected.safetensors beside it. `settings` are those of the worker."""
    gen = torch.Generator().manual_seed(seed)
    dalle_bpe(folder, random.Random(seed))
    c = {"model_type": "dallebart", "decoder_start_token_id": config["image_vocab_size"],
         "encoder_vocab_size": len(json.loads((folder / "vocab.json").read_text(encoding="utf8"))), **config}
    write_json(folder / "config.json", c)
    write_json(folder / "vqgan" / "config.json", vqgan)
    length, steps, vocab = c["max_text_length"], c["image_length"], c["image_vocab_size"]

    decoder_source.IMAGE_TOKEN_COUNT = steps
    encoder = DalleBartEncoder(c["encoder_layers"], c["d_model"], c["encoder_attention_heads"], c["encoder_vocab_size"], length,
                               c["encoder_ffn_dim"], "cpu")
    decoder = decoder_source.DalleBartDecoder(vocab, c["d_model"], c["decoder_attention_heads"], c["decoder_ffn_dim"],
                                              c["decoder_layers"], "cpu")
    pixel_net, pixels = small_vqgan(vqgan)
    for module in (encoder, decoder, pixel_net):
        randomise(module, gen)
        scales_to_ones(module)
    write_tensors(folder / "encoder.safetensors", without_scales(encoder.state_dict()))
    write_tensors(folder / "decoder.safetensors", without_scales(decoder.state_dict()))
    write_tensors(folder / "vqgan" / "model.safetensors", pixel_net.state_dict())

    tokenizer, flax_tokenizer = dalle_tokenizer(folder), dalle_text.flax_tokenizer(folder)
    normalize = dalle_text.normalizer() if c.get("normalize_text") else lambda t: t
    flax = settings["dalle_text"] == "flax"
    draw = draw_flax if settings["dalle_sampling"] == "flax" else draw_min_dalle
    start = c["decoder_start_token_id"] if settings["bos"] < 0 else settings["bos"]
    # The same in float64 says how far float32's rounding alone takes a configuration: some are badly conditioned.
    exact_encoder, exact_decoder, exact_net = (copy.deepcopy(m).double() for m in (encoder, decoder, pixel_net))
    out = {}
    for i, prompt in enumerate(prompts):
        both = dalle_text.flax_rows(flax_tokenizer, normalize, prompt, length) if flax else dalle_text.min_dalle_rows(tokenizer, prompt, length)
        # Row 0 unconditional, row 1 conditional.
        rows, read = (torch.tensor([both[1][k], both[0][k]]) for k in (0, 1))
        mask = read.bool()[:, None, None, :]
        encoded = encode(encoder, rows, mask)
        if not flax:
            assert torch.equal(encoded, encoder(rows))
        forced = torch.randint(vocab, (steps,), generator=gen)

        def teach(decoder, encoded):
            state = torch.zeros(c["decoder_layers"], 4, steps, c["d_model"], dtype=encoded.dtype)
            logits, token = [], torch.tensor([[start]])
            for t in range(steps):
                step, state = decoder(attention_mask=mask, encoder_state=encoded, attention_state=state, prev_tokens=token,
                                      token_index=torch.tensor([t]))
                logits.append(step[:, 0])
                token = forced[t].view(1, 1)
            return torch.stack(logits, 1)
        logits, exact = teach(decoder, encoded), encode(exact_encoder, rows, mask)
        out |= {f"{i}.rows": rows, f"{i}.read": read, f"{i}.encoded": encoded, f"{i}.forced": forced, f"{i}.logits": logits,
                f"{i}.encoded_rounding": rounding(encoded, exact), f"{i}.logits_rounding": rounding(logits, teach(exact_decoder, exact))}

        # Sampling, with the codebook's size for 2 ** 14.
        noise = torch.Generator().manual_seed(seed + i)
        state = torch.zeros(c["decoder_layers"], 4, steps, c["d_model"])
        token, codes = torch.tensor([[start]]), []
        for t in range(steps):
            step, state = decoder(attention_mask=mask, encoder_state=encoded, attention_state=state, prev_tokens=token,
                                  token_index=torch.tensor([t]))
            codes.append(draw(step[:, -1, :vqgan["n_embed"]], settings, noise))
            token = codes[-1].view(1, 1)
        codes = torch.stack(codes)
        out |= {f"{i}.codes": codes, f"{i}.pixels": pixels(codes[None]),
                f"{i}.pixels_rounding": rounding(pixels(codes[None]), pixels(codes[None], exact_net)),
                f"{i}.image": (pixels(codes[None]).clip(0, 1) * 255).to(torch.uint8)}
    write_tensors(folder / "expected.safetensors", out)
    write_json(folder / "expected.json", {"prompts": prompts, "seed": seed, "settings": settings})


# ---------------------------------------------------------------- CLIP

def write_clip(folder, text, vision, projection, texts, seed, legacy_end, pad_token=None):
    gen = torch.Generator().manual_seed(seed)
    clip_bpe(folder)
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf8"))
    end = vocab["<|endoftext|>"]
    text = {"vocab_size": len(vocab), "eos_token_id": 2 if legacy_end else end, **text}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
    # Set after construction too: the nested defaults of the class would otherwise win over equal values.
    config.text_config.projection_dim = config.vision_config.projection_dim = projection
    config._attn_implementation = "eager"
    model = CLIPModel(config).eval()
    randomise(model, gen)
    write_json(folder / "config.json", {"model_type": "clip", "projection_dim": projection, "text_config": text, "vision_config": vision})
    size = vision["image_size"]
    preprocess = {"do_resize": True, "size": {"shortest_edge": size}, "do_center_crop": True, "crop_size": {"height": size, "width": size},
                  "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
                  "image_mean": [.48, .46, .41], "image_std": [.27, .26, .28]}
    write_json(folder / "preprocessor_config.json", preprocess)
    pad = pad_token or "<|endoftext|>"
    write_json(folder / "special_tokens_map.json", {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
                                                    "unk_token": "<|endoftext|>", "pad_token": pad})
    write_tensors(folder / "model.safetensors", model.state_dict())
    tokenizer = clip_tokenizer(folder)
    ids = []
    for t in texts:
        row = tokenizer(t, truncation=True, max_length=text["max_position_embeddings"])["input_ids"]
        ids.append(row + [vocab[pad]] * (text["max_position_embeddings"] - len(row)))
    ids = torch.tensor(ids)
    unit = lambda x: x / x.norm(dim=-1, keepdim=True)
    images = torch.randint(256, (3, 3, size, size), generator=gen).to(torch.uint8)
    mean, std = (torch.tensor(preprocess[k]).view(3, 1, 1) for k in ("image_mean", "image_std"))
    prepared = (images.float() * preprocess["rescale_factor"] - mean) / std
    # Another size, as the reference prepares it.
    odd = torch.randint(256, (1, 3, size + 3, size * 2), generator=gen).to(torch.uint8)
    picture = Image.fromarray(odd[0].permute(1, 2, 0).contiguous().numpy())
    middle = CLIPImageProcessor(**preprocess)(images=picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    write_tensors(folder / "expected.safetensors", {
        "ids": ids, "text": unit(model.get_text_features(input_ids=ids)), "images": images,
        "vision": unit(model.get_image_features(pixel_values=prepared)),
        "odd_images": odd, "odd_vision": unit(model.get_image_features(pixel_values=middle))})
    write_json(folder / "expected.json", {"texts": texts})


def clip_tokenizer(folder):
    return CLIPTokenizerFast(vocab_file=str(folder / "vocab.json"), merges_file=str(folder / "merges.txt"), unk_token="<|endoftext|>",
                             bos_token="<|startoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")


def write_fuzz(folder, clip_folder, count, seed):
    """One JSON array a line: text, CLIP's ids."""
    rng = random.Random(seed)
    clip = clip_tokenizer(clip_folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "fuzz.jsonl", "w", encoding="utf8") as out:
        for _ in range(count):
            text = fuzz_text(rng)
            row = [text, clip(text)["input_ids"]]
            out.write(json.dumps(row, ensure_ascii=True, separators=(",", ":")) + "\n")
