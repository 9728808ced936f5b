"""Writes the committed fixtures: python make_fixtures.py [folder]. Needs requirements.txt; the tests need no Python."""
import sys
from pathlib import Path

import dalle_text
import embedders as e
import references as r

PROMPTS = ["", "a photo of a sari", "Magical mystery tour, it's 1984! 👩🏽‍🚒 ~ unknown", "many words " * 20]
VQGAN = {"ch": 4, "ch_mult": [1, 2, 3], "num_res_blocks": 1, "attn_resolutions": [4], "z_channels": 5, "embed_dim": 7, "n_embed": 37,
         "resolution": 16, "out_ch": 3, "norm_groups": 2, "norm_eps": 1e-5}
# Odd on purpose: heads that are no power of two, feed-forward widths that divide by nothing, rows beyond the codebook.
DALLE = {"d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3, "decoder_attention_heads": 3,
         "encoder_ffn_dim": 29, "decoder_ffn_dim": 31, "max_text_length": 11, "image_vocab_size": 41, "image_length": 16}


def main(root):
    r.write_dalle(root / "tiny-dalle", DALLE, VQGAN, PROMPTS, seed=3,
                  settings={"temperature": .8, "top_k": 9, "top_p": 1., "supercondition": 3., "bos": -1, "dalle_text": "min-dalle",
                            "dalle_sampling": "min-dalle"})
    r.write_dalle(root / "tiny-dalle-flax", DALLE | {"normalize_text": True, "encoder_attention_heads": 4, "d_model": 12, "decoder_layers": 2}, VQGAN,
                  PROMPTS, seed=4, settings={"temperature": 1.3, "top_k": 20, "top_p": .8, "supercondition": 4., "bos": 7, "dalle_text": "flax",
                                             "dalle_sampling": "flax"})
    dalle_text.write(root / "dalle-text", root / "tiny-dalle", r.dalle_tokenizer(root / "tiny-dalle"), seed=1, count=10_000)
    tower = lambda **k: {"num_hidden_layers": 2, "layer_norm_eps": 1e-5, **k}
    texts = ["", " ", "a sari", "the ÅNGSTRÖM of 1984!", "word " * 40, "🥻 東京"]
    r.write_clip(root / "tiny-clip-quick", tower(hidden_size=18, intermediate_size=29, num_attention_heads=3, hidden_act="quick_gelu",
                                                 max_position_embeddings=13),
                 tower(hidden_size=20, intermediate_size=33, num_attention_heads=5, hidden_act="quick_gelu", image_size=12, patch_size=4),
                 10, texts, seed=5, legacy_end=True)
    r.write_clip(root / "tiny-clip-gelu", tower(hidden_size=16, intermediate_size=21, num_attention_heads=2, hidden_act="gelu",
                                                max_position_embeddings=15),
                 tower(hidden_size=15, intermediate_size=34, num_attention_heads=3, hidden_act="gelu", image_size=10, patch_size=5),
                 9, texts, seed=7, legacy_end=False, pad_token="!")
    r.write_fuzz(root, root / "tiny-clip-quick", 2500, seed=11)
    embedders(root)


def embedders(root):
    texts = ["", " ", "a sari", "The ÅNGSTRÖM of 1984! ﬁne", "word " * 40, "🥻 東京 </s> it's", "<unk>"]
    plain = ["", " ", "a sari", "It's 1984, don't {we}?", "word " * 40]
    # A width that mlp_ratio only nearly gives, as bigG's 4.9231; heads of four.
    e.write_open_clip(root / "tiny-open-clip", {
        "embed_dim": 11, "quick_gelu": True,
        "vision_cfg": {"image_size": 12, "layers": 2, "width": 20, "head_width": 4, "patch_size": 4, "mlp_ratio": 1.7731},
        "text_cfg": {"context_length": 13, "width": 18, "heads": 3, "layers": 2}},
        {"mean": [.48, .46, .41], "std": [.27, .26, .28], "interpolation": "bicubic", "resize_mode": "shortest"}, plain, seed=21)
    e.write_open_clip(root / "tiny-open-clip-scaled", {
        "embed_dim": 9, "init_logit_bias": -10,
        "vision_cfg": {"image_size": 15, "layers": 1, "width": 16, "head_width": 8, "patch_size": 5, "ls_init_value": .1},
        "text_cfg": {"context_length": 9, "width": 12, "heads": 2, "layers": 2, "ls_init_value": .1}},
        {"mean": .5, "std": [.27, .26, .28], "interpolation": "bilinear", "resize_mode": "longest", "fill_color": 70}, plain, seed=22,
        name="open_clip_pytorch_model")
    sizes = lambda **k: {"num_hidden_layers": 2, **k}
    e.write_siglip(root / "tiny-siglip", sizes(hidden_size=18, intermediate_size=29, num_attention_heads=3, max_position_embeddings=13),
                   sizes(hidden_size=20, intermediate_size=33, num_attention_heads=5, image_size=14, patch_size=4), texts, seed=23)
    e.write_siglip(root / "tiny-siglip-json", sizes(hidden_size=8, intermediate_size=9, num_attention_heads=1, max_position_embeddings=7),
                   sizes(hidden_size=8, intermediate_size=11, num_attention_heads=2, image_size=6, patch_size=3), texts, seed=24,
                   tokenizer="rules+json", preprocess={"resample": 2})
    e.write_siglip(root / "tiny-siglip2", sizes(hidden_size=16, intermediate_size=21, num_attention_heads=2, max_position_embeddings=11),
                   sizes(hidden_size=12, intermediate_size=17, num_attention_heads=3, image_size=12, patch_size=3), texts, seed=25,
                   tokenizer="gemma", preprocess={"resample": 2})
    e.write_dinov2(root / "tiny-dinov2", sizes(hidden_size=20, num_attention_heads=5, mlp_ratio=3, image_size=28, patch_size=4,
                                               use_swiglu_ffn=True, qkv_bias=False), 26,
                   {"size": {"shortest_edge": 16}, "crop_size": {"height": 14, "width": 14}})
    e.write_dinov2(root / "tiny-dinov2-registers", sizes(hidden_size=18, num_attention_heads=3, mlp_ratio=2.5, image_size=25, patch_size=5,
                                                         num_register_tokens=3), 27,
                   {"size": {"shortest_edge": 10}, "crop_size": {"height": 15, "width": 10}})
    # Widths that groups divide, but no vector does; the names with and without what stands before them in the published files.
    e.write_sscd(root / "tiny-sscd", {"layers": [2, 1, 2, 1], "init_planes": 3, "dims": 13}, 30, 37)
    e.write_sscd(root / "tiny-sscd-groups", {"layers": [1, 2, 1, 1], "init_planes": 4, "groups": 2, "width_per_group": 32, "dims": 11,
                                             "pool_param": 2.5}, 31, [45, 39], prefix="backbone.")
    e.write_embedder_fuzz(root / "fuzz_embedders.jsonl", {"open_clip": root / "tiny-open-clip", "siglip": root / "tiny-siglip",
                                                          "siglip2": root / "tiny-siglip2"}, 600, seed=28)
    e.write_resizes(root / "resizes.safetensors", 60, seed=29, longest=60)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures")
