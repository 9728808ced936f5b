"""Images a second of transformers and open_clip, preprocessing included, for model_bench's `embed` section.
    python3 embed_speed.py FOLDER IMAGES DTYPE THREADS ROUNDS DEVICE
FOLDER is a CLIP in Hugging Face's layout, IMAGES a safetensors file with "images" uint8 [n, 3, h, w] and "rows", the worker's
vectors of them. Prints one JSON object: for each peer its fastest pass and how far its vectors are from the worker's. Needs torch,
transformers, torchvision, open_clip_torch 3.3 and safetensors; a peer that is not installed is left out."""
import json
import sys
import time

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

try:
    from open_clip.model import CLIP
    from open_clip.transform import PreprocessCfg, image_transform_v2
except ImportError:
    CLIP = None


def to_open_clip(state, config):
    """Hugging Face's tensors under open_clip's names."""
    out = {"logit_scale": state["logit_scale"], "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
           "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
           "text_projection": state["text_projection.weight"].t().contiguous(), "visual.proj": state["visual_projection.weight"].t().contiguous(),
           "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
           "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
           "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"]}
    for mine, theirs in [("ln_final", "text_model.final_layer_norm"), ("visual.ln_pre", "vision_model.pre_layrnorm"),
                         ("visual.ln_post", "vision_model.post_layernorm")]:
        for kind in ("weight", "bias"):
            out[f"{mine}.{kind}"] = state[f"{theirs}.{kind}"]
    for mine, theirs, layers in [("transformer", "text_model", config.text_config.num_hidden_layers),
                                 ("visual.transformer", "vision_model", config.vision_config.num_hidden_layers)]:
        for i in range(layers):
            a, b = f"{mine}.resblocks.{i}", f"{theirs}.encoder.layers.{i}"
            for kind in ("weight", "bias"):
                out[f"{a}.attn.in_proj_{kind}"] = torch.cat([state[f"{b}.self_attn.{p}_proj.{kind}"] for p in "qkv"])
                for x, y in [("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("attn.out_proj", "self_attn.out_proj"), ("mlp.c_fc", "mlp.fc1"),
                             ("mlp.c_proj", "mlp.fc2")]:
                    out[f"{a}.{x}.{kind}"] = state[f"{b}.{y}.{kind}"]
    return out


def open_clip_of(model):
    t, v = model.config.text_config, model.config.vision_config
    made = CLIP(embed_dim=model.config.projection_dim, quick_gelu=True,
                vision_cfg={"image_size": v.image_size, "layers": v.num_hidden_layers, "width": v.hidden_size,
                            "head_width": v.hidden_size // v.num_attention_heads, "patch_size": v.patch_size,
                            "mlp_ratio": v.intermediate_size / v.hidden_size},
                text_cfg={"context_length": t.max_position_embeddings, "vocab_size": t.vocab_size, "width": t.hidden_size,
                          "heads": t.num_attention_heads, "layers": t.num_hidden_layers,
                          "mlp_ratio": t.intermediate_size / t.hidden_size})
    made.load_state_dict(to_open_clip(model.state_dict(), model.config))
    return made.eval()


def main(folder, images, dtype, threads, rounds, device):
    torch.set_num_threads(int(threads))
    dtype = getattr(torch, dtype)
    given = load_file(images)
    pictures = [i.permute(1, 2, 0).contiguous().numpy() for i in given["images"]]
    model = transformers.CLIPModel.from_pretrained(folder, attn_implementation="sdpa").eval()
    size = model.config.vision_config.image_size
    other = open_clip_of(model).to(device, dtype) if CLIP else None
    model = model.to(device, dtype)

    def hugging_face(kind):
        processor = getattr(transformers, kind)(size={"shortest_edge": size}, crop_size=size)

        def run():
            pixels = processor(images=[Image.fromarray(p) for p in pictures], return_tensors="pt")["pixel_values"]
            made = model.get_image_features(pixels.to(device, dtype))
            return made if torch.is_tensor(made) else made.pooler_output
        return run

    peers = {"transformers": hugging_face("CLIPImageProcessor")}
    if getattr(transformers, "CLIPImageProcessorFast", None):
        peers["transformers, fast"] = hugging_face("CLIPImageProcessorFast")
    if other:
        transform = image_transform_v2(PreprocessCfg(size=size), is_train=False)
        peers["open_clip"] = lambda: other.encode_image(torch.stack([transform(Image.fromarray(p)) for p in pictures]).to(device, dtype))
    best, away = {}, {}
    with torch.inference_mode():
        for i in range(int(rounds) + 1):  # the first warms up
            for name, run in peers.items():
                begin = time.perf_counter()
                rows = torch.nn.functional.normalize(run().float(), dim=-1).cpu()
                seconds = time.perf_counter() - begin
                best[name] = seconds if i < 2 else min(best[name], seconds)
                away[name] = float((1 - (rows.double() * given["rows"].double()).sum(-1)).max())
    print(json.dumps({name: {"images_per_second": len(pictures) / best[name], "cosine_distance": max(0, away[name])} for name in peers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
