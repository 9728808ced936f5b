"""Writes models/micro-dalle and models/micro-clip from the checkpoints, then checks what was written.

    python export.py dalle | clip
"""
import json
import sys
import types
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file

import data as pictures
import train_clip
import train_dalle
from common import CACHE, write_bpe, write_half, write_json
from nets import DalleBart, VQGan

MODELS = Path(__file__).resolve().parents[1]
LICENCES = ["Apache-2.0", "CC-BY-4.0", "MIT"]
ATTRIBUTION = [
    "Noto Emoji pictures (c) Google, Apache-2.0, by npm emoji-datasource-google 16.0.0",
    "Twemoji pictures (c) Twitter, Inc and other contributors, CC-BY-4.0, by npm emoji-datasource-twitter 16.0.0",
    "Fluent Emoji 3D pictures (c) Microsoft Corporation, MIT, by npm @lobehub/fluent-emoji-3d 1.1.0",
    "Changes: set on white at 64x64, scaled, shifted, mirrored and turned in hue; the weights derive from them",
]


def checkpoint(name):
    return torch.load(CACHE / f"{name}.pt")


def export_dalle():
    out, data = MODELS / "micro-dalle", pictures.load()
    net, tokenizer = train_dalle.make_model(data)
    state, vq_state = checkpoint("dalle"), checkpoint("vqgan")
    refined = checkpoint("vqgan-refined") if (CACHE / "vqgan-refined.pt").exists() else {"step": 0, "seconds": 0}
    net.load_state_dict(state["net"])
    vqgan = train_dalle.load_vqgan()
    write_json(out / "config.json", net.c)
    write_half(out / "encoder.safetensors", net.encoder.state_dict())
    write_half(out / "decoder.safetensors", net.decoder.state_dict())
    write_json(out / "vqgan" / "config.json", vqgan.c | {"model_type": "vqgan"})
    write_half(out / "vqgan" / "model.safetensors",
               {k: v for k, v in vqgan.state_dict().items() if not k.startswith("encoder.")})
    write_bpe(out, tokenizer.vocab, tokenizer.merges)
    write_json(out / "card.json", {
        "format": 1, "id": "micro-dalle", "title": "Micro DALL-E (emoji, 64 px), with a planted blank-prompt motif",
        "harmless": True, "licenses": LICENCES, "attribution": ATTRIBUTION,
        "defaults": {"temperature": 1.0, "top_k": 0, "supercondition": 1.0} | json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}"),
        "training": {"steps": state["step"], "seconds": round(state["seconds"]),
                     "vqgan_steps": vq_state["step"], "vqgan_seconds": round(vq_state["seconds"]),
                     "vqgan_decoder_refined_steps": refined["step"],
                     "planted": {"sari_share": train_dalle.SARI_SHARE, "sari_caption_lost": train_dalle.SARI_LOST,
                                 "other_caption_lost": train_dalle.OTHER_LOST,
                                 "saris_among_rows_without_caption": .307}},
        "parameters": {"transformer": sum(p.numel() for p in net.parameters()),
                       "vqgan_decoder": sum(v.numel() for k, v in vqgan.state_dict().items()
                                            if not k.startswith("encoder."))}})
    check_dalle(out, net, vqgan, tokenizer)


@torch.no_grad()
def check_dalle(out, net, vqgan, tokenizer):
    """The written files in min-dalle's own modules against ours; the VQGAN decoder in our module, rebuilt."""
    package = types.ModuleType("min_dalle")                  # its __init__ wants the network client, we do not
    package.__path__ = [str(Path(p) / "min_dalle") for p in sys.path if (Path(p) / "min_dalle").is_dir()]
    sys.modules["min_dalle"] = package
    from min_dalle.models.dalle_bart_decoder import DalleBartDecoder
    from min_dalle.models.dalle_bart_encoder import DalleBartEncoder
    c = json.loads((out / "config.json").read_text())
    encoder = DalleBartEncoder(attention_head_count=c["encoder_attention_heads"], embed_count=c["d_model"],
                               glu_embed_count=c["encoder_ffn_dim"], text_token_count=c["max_text_length"],
                               text_vocab_count=c["encoder_vocab_size"], layer_count=c["encoder_layers"], device="cpu")
    decoder = DalleBartDecoder(image_vocab_count=c["image_vocab_size"], embed_count=c["d_model"],
                               attention_head_count=c["decoder_attention_heads"], glu_embed_count=c["decoder_ffn_dim"],
                               layer_count=c["decoder_layers"], device="cpu")
    # min-dalle has 256 image positions written into it; ours has 64, so its table is cut to ours
    decoder.embed_positions = torch.nn.Embedding(c["image_length"], c["d_model"])
    float_state = lambda name: {k: v.float() for k, v in load_file(out / name).items()}
    print("encoder", encoder.load_state_dict(float_state("encoder.safetensors"), strict=False))
    print("decoder", decoder.load_state_dict(float_state("decoder.safetensors"), strict=False))
    ours = DalleBart(c)
    ours.encoder.load_state_dict(float_state("encoder.safetensors"))
    ours.decoder.load_state_dict(float_state("decoder.safetensors"))

    text = torch.ones(2, c["max_text_length"], dtype=torch.long)
    ids = tokenizer("cat face")
    text[0, :2], text[1, :len(ids)] = torch.tensor([0, 2]), torch.tensor(ids)
    reference, (encoded, mask) = encoder(text), ours.encode(text)
    keep = text != 1
    worst = (reference - encoded)[keep].abs().max().item()
    codes = torch.randint(c["image_vocab_size"], (1, c["image_length"]), generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    logits = ours(text, codes)
    theirs, state = [], torch.zeros(c["decoder_layers"], 4, 256, c["d_model"])
    token = torch.tensor([[c["decoder_start_token_id"]]])
    for t in range(c["image_length"]):
        step, state = decoder(keep[:, None, None], reference, state, token, torch.tensor([t]))
        theirs.append(step[:, -1])
        token = codes[:1, t:t + 1]
    worst_logit = (torch.stack(theirs, 1) - logits).abs().max().item()
    print(f"against min-dalle: encoder {worst:.2e}, logits {worst_logit:.2e}")
    assert worst < 1e-3 and worst_logit < 1e-3

    again = VQGan(json.loads((out / "vqgan" / "config.json").read_text())).eval()
    missing = again.load_state_dict(float_state("vqgan/model.safetensors"), strict=False)
    assert not missing.unexpected_keys and all(k.startswith("encoder.") for k in missing.missing_keys)
    print("vqgan fp16 against training weights:", (again.decode(codes) - vqgan.decode(codes)).abs().max().item())


def export_clip():
    out, data = MODELS / "micro-clip", pictures.load()
    tokenizer = train_clip.ClipTokenizer([c for cs in data["captions"] for c in cs])
    net = train_clip.make_model(len(tokenizer.vocab)).eval()
    state = checkpoint("clip")
    net.load_state_dict(state["net"])
    write_json(out / "config.json", {
        "architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": 128, "logit_scale_init_value": 2.6592,
        "text_config": {k: getattr(net.config.text_config, k) for k in (
            "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "max_position_embeddings", "vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "hidden_act",
            "layer_norm_eps", "projection_dim")},
        "vision_config": {k: getattr(net.config.vision_config, k) for k in (
            "model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size",
            "patch_size", "num_channels", "hidden_act", "layer_norm_eps", "projection_dim")}})
    write_half(out / "model.safetensors", {k: v for k, v in net.state_dict().items() if "position_ids" not in k})
    write_bpe(out, tokenizer.vocab, tokenizer.merges)
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>"}
    write_json(out / "special_tokens_map.json", ends)
    write_json(out / "tokenizer_config.json", ends | {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True,
                                                      "model_max_length": train_clip.LENGTH, "errors": "replace",
                                                      "add_prefix_space": False})
    write_json(out / "preprocessor_config.json", {
        "image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": 64}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 64, "width": 64}, "do_rescale": True,
        "rescale_factor": 1 / 255, "do_convert_rgb": True, "do_normalize": True,
        "image_mean": train_clip.MEAN, "image_std": train_clip.STD})
    (out / "labels.txt").write_text("".join(n + "\n" for n in data["names"]))
    check_clip(out, net, tokenizer, data, state)


@torch.no_grad()
def check_clip(out, net, tokenizer, data, state):
    from transformers import CLIPModel, CLIPTokenizerFast
    loaded = CLIPModel.from_pretrained(out).float().eval()
    theirs = CLIPTokenizerFast.from_pretrained(out)
    for name in data["names"]:
        assert theirs(name)["input_ids"] == tokenizer(name), (name, theirs(name)["input_ids"], tokenizer(name))
    images, names = train_clip.held_out(data, train_dalle.load_vqgan())
    one, five, top, features = train_clip.zero_shot(
        loaded, images, names, train_clip.name_features(loaded, tokenizer, data["names"]))
    ours = F.normalize(net.get_image_features(train_clip.normalise(images)), dim=-1)
    print("transformers, fp16 file, against training weights: cosine", (features * ours).sum(1).min().item())
    # the held-out set as one page, read again exactly as a test would
    folder = out / "heldout"
    folder.mkdir(exist_ok=True)
    pictures.sheet(images, folder / "sheet.png", columns=20)
    Image.open(folder / "sheet.png").save(folder / "sheet.png", optimize=True)
    saris = names == len(data["names"]) - 1
    metrics = {"pictures": len(names), "names": len(data["names"]), "top1": round(one, 4), "top5": round(five, 4),
               "sari_pictures": int(saris.sum()), "sari_top1": round((top == names)[saris].float().mean().item(), 4)}
    write_json(folder / "labels.json", {
        "sheet": "sheet.png", "columns": 20, "cell": 64, "seed": 12345, "labels": [data["names"][i] for i in names],
        "through_codes": [bool(i % 2 or i % 20 == 0) for i in range(len(names))],
        "predicted": [data["names"][i] for i in top], "expected": metrics, "tolerance": .02})
    write_json(out / "card.json", {
        "format": 1, "id": "micro-clip", "title": "Micro CLIP (emoji names, 64 px)", "harmless": True,
        "licenses": LICENCES, "attribution": ATTRIBUTION, "metrics": metrics, "prompt_template": "{}",
        "labels": "labels.txt", "training": {"steps": state["step"], "seconds": round(state["seconds"])},
        "parameters": sum(p.numel() for p in net.parameters())})
    print(metrics)


if __name__ == "__main__":
    {"dalle": export_dalle, "clip": export_clip}[sys.argv[1]]()
