"""Compares the worker with the references at random small configurations: python compare.py BUILD_FOLDER [rounds] [seed].

Needs requirements.txt and the built program tests/parity_live.
"""
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import dalle_text
import embedders as e
import references as r


def dalle_sizes(rng):
    groups, levels = rng.choice([1, 2, 3, 4]), rng.choice([2, 3, 4])
    side = rng.choice([2, 3, 4])
    vqgan = {"ch": groups * rng.randint(1, 4), "ch_mult": [rng.randint(1, 3) for _ in range(levels)], "num_res_blocks": rng.choice([1, 2]),
             "attn_resolutions": [side << rng.randrange(levels)], "z_channels": rng.randint(2, 9), "embed_dim": rng.randint(2, 9),
             "n_embed": rng.randint(20, 60), "resolution": side << (levels - 1), "out_ch": 3, "norm_groups": groups,
             "norm_eps": rng.choice([1e-5, 1e-6])}
    heads, others = rng.choice([1, 2, 3, 5]), rng.choice([1, 2, 3, 4])
    dalle = {"d_model": heads * others * rng.randint(-(-12 // (heads * others)), 16), "encoder_layers": rng.randint(1, 3), "decoder_layers": rng.randint(1, 3),
             "encoder_attention_heads": heads, "decoder_attention_heads": others, "encoder_ffn_dim": rng.randint(5, 60),
             "decoder_ffn_dim": rng.randint(5, 60), "max_text_length": rng.randint(4, 20),
             "image_vocab_size": vqgan["n_embed"] + rng.choice([0, 3]), "image_length": side * side, "normalize_text": rng.random() < .7}
    if rng.random() < .3:
        dalle["decoder_start_token_id"] = rng.randint(0, dalle["image_vocab_size"])
    return dalle, vqgan


def dalle_settings(rng, vocab, codes):
    flax = rng.random() < .5
    return {"temperature": rng.uniform(.5, 3), "top_k": rng.randint(1, codes), "supercondition": rng.uniform(1.1, 12),
            "bos": rng.choice([-1, rng.randint(0, vocab)]), "dalle_text": rng.choice(["min-dalle", "flax"]),
            "dalle_sampling": "flax" if flax else "min-dalle", "top_p": rng.choice([1., rng.uniform(.2, 1)]) if flax else 1.}


def tower(rng, **more):
    heads = rng.choice([1, 2, 3, 5])
    return {"hidden_size": heads * rng.choice([4, 6, 8]), "intermediate_size": rng.randint(5, 60), "num_attention_heads": heads,
            "hidden_act": rng.choice(["gelu", "quick_gelu"]), "num_hidden_layers": rng.randint(1, 3), "layer_norm_eps": 1e-5, **more}


def plain(rng):
    """A tower without Hugging Face's CLIP keys."""
    heads = rng.choice([1, 2, 3, 5])
    return {"hidden_size": heads * rng.choice([4, 6, 8]), "intermediate_size": rng.randint(5, 60), "num_attention_heads": heads,
            "num_hidden_layers": rng.randint(1, 3)}


def embedders(root, rng):
    texts = ["", " "] + [r.fuzz_text(rng) for _ in range(4)]
    ascii_texts = ["", " "] + [e.ascii_text(rng) for _ in range(4)]
    patch, head, heads = rng.choice([2, 3, 4]), rng.choice([4, 6]), rng.choice([1, 2, 3])
    scale = rng.choice([{}, {"ls_init_value": .1}])
    e.write_open_clip(root / "open_clip", {
        "embed_dim": rng.randint(3, 20), "quick_gelu": rng.random() < .5,
        "vision_cfg": {"image_size": patch * rng.randint(2, 5), "layers": rng.randint(1, 3), "width": head * rng.choice([1, 2, 5]), "head_width": head,
                       "patch_size": patch, "mlp_ratio": rng.uniform(.5, 5), **scale},
        "text_cfg": {"context_length": rng.randint(4, 20), "width": heads * rng.choice([4, 6, 8]), "heads": heads, "layers": rng.randint(1, 3), **scale}},
        {"mean": rng.choice([.5, [.48, .46, .41]]), "std": [.27, .26, .28], "interpolation": rng.choice(["bicubic", "bilinear"]),
         "resize_mode": rng.choice(["shortest", "longest", "squash"]), "fill_color": rng.randint(0, 255)}, ascii_texts, rng.randrange(1 << 20))
    for name, tokenizer in [("siglip", rng.choice(["rules", "nmt_nfkc", "identity"])), ("siglip2", "gemma"),
                            ("siglip_json", rng.choice(["rules+json", "nmt_nfkc+json"]))]:
        patch, vision = rng.choice([2, 3, 4]), plain(rng)
        act = {"hidden_act": rng.choice(["gelu", "gelu_pytorch_tanh", "quick_gelu"])}
        e.write_siglip(root / name, {**plain(rng), "max_position_embeddings": rng.randint(4, 20), **act},
                       {**vision, "image_size": patch * rng.randint(1, 5) + rng.choice([0, 1]), "patch_size": patch, **act}, texts,
                       rng.randrange(1 << 20), tokenizer, {"resample": rng.choice([2, 3])})
    patch, sizes = rng.choice([2, 3, 4]), plain(rng)
    sizes.pop("intermediate_size")
    crop = {"height": patch * rng.randint(1, 5) + rng.choice([0, 1]), "width": patch * rng.randint(1, 5)}
    e.write_dinov2(root / "dinov2", {**sizes, "mlp_ratio": rng.randint(1, 5), "image_size": patch * rng.randint(1, 6), "patch_size": patch,
                                     "use_swiglu_ffn": rng.random() < .5, "qkv_bias": rng.random() < .7,
                                     **rng.choice([{}, {"num_register_tokens": rng.randint(1, 4)}])}, rng.randrange(1 << 20),
                   {"size": rng.choice([{"shortest_edge": rng.randint(4, 30)}, {"height": 17, "width": 23}, rng.randint(4, 30)]),
                    "crop_size": rng.choice([crop, patch * 3]), "resample": rng.choice([2, 3])})
    groups = rng.choice([1, 1, 2, 4])
    e.write_sscd(root / "sscd", {"layers": [rng.randint(1, 3) for _ in range(4)], "init_planes": groups * rng.randint(1, 6), "groups": groups,
                                 "width_per_group": rng.choice([32, 64, 128]), "dims": rng.randint(3, 20), "pool_param": rng.choice([3.0, rng.uniform(1, 5)])},
                 rng.randrange(1 << 20), rng.choice([rng.randint(20, 70), [rng.randint(20, 70), rng.randint(20, 70)]]), rng.choice(["", "backbone."]))
    e.write_embedder_fuzz(root / "fuzz_embedders.jsonl", {k: root / k for k in ("open_clip", "siglip", "siglip2")}, 10000, rng.randrange(1 << 20))
    e.write_resizes(root / "resizes.safetensors", 60, rng.randrange(1 << 20), 700)
    for name in ("open_clip", "siglip", "siglip2", "siglip_json", "dinov2", "sscd"):
        yield ["embedder", root / name]
    yield ["embedder-tokens", root / "fuzz_embedders.jsonl", root / "open_clip", root / "siglip", root / "siglip2"]
    yield ["resizes", root / "resizes.safetensors"]


def full_sizes(root, rng):
    """The two trunks that SSCD is published with, at their own size."""
    e.write_sscd(root / "sscd_resnet50", {}, rng.randrange(1 << 20), 288)
    e.write_sscd(root / "sscd_resnext101", {"layers": [3, 4, 23, 3], "groups": 32, "width_per_group": 4, "dims": 1024}, rng.randrange(1 << 20), [320, 320])
    for name in ("sscd_resnet50", "sscd_resnext101"):
        yield ["embedder", root / name]


def main(program, rounds, seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        for arguments in full_sizes(Path(scratch), rng):
            subprocess.run([program, "--gtest_brief=1", *map(str, arguments)], check=True)
        for i in range(rounds):
            root = Path(scratch) / str(i)
            prompts = [""] + [r.fuzz_text(rng) for _ in range(2)] + [dalle_text.text(rng.randrange(1 << 60)) for _ in range(2)]
            dalle, vqgan = dalle_sizes(rng)
            r.write_dalle(root / "dalle", dalle, vqgan, prompts, rng.randrange(1 << 20),
                          dalle_settings(rng, dalle["image_vocab_size"], vqgan["n_embed"]))
            dalle_text.write(root / "dalle-text", root / "dalle", r.dalle_tokenizer(root / "dalle"), rng.randrange(1 << 60), 1500)
            patch = rng.choice([2, 3, 4])
            r.write_clip(root / "clip", tower(rng, max_position_embeddings=rng.randint(4, 20)),
                         tower(rng, image_size=patch * rng.randint(2, 4), patch_size=patch), rng.randint(3, 20), prompts,
                         rng.randrange(1 << 20), legacy_end=rng.random() < .5, pad_token=rng.choice([None, "!"]))
            r.write_fuzz(root, root / "clip", 1500, rng.randrange(1 << 20))
            for arguments in (["dalle", root / "dalle"], ["dalle-text", root / "dalle-text", root / "dalle"], ["clip", root / "clip"],
                              ["tokens", root, root / "clip"], *embedders(root, rng)):
                subprocess.run([program, "--gtest_brief=1", *map(str, arguments)], check=True)
    print(f"{rounds} random configurations agree (seed {seed})")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "tests" / "parity_live", int(sys.argv[2]) if len(sys.argv) > 2 else 5,
         int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 20))
