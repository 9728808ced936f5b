"""DALL-E mini or mega at their published sizes with random weights, for model_bench:
    python min_dalle_speed.py write FOLDER [--size mini|mega]                  the model folder, as the worker loads it
    python min_dalle_speed.py run FOLDER --batch N --threads N --dtype T --device D --steps N
`run` loads those weights into min-dalle 0.4.11 and prints one JSON line: wall and processor seconds of each part, and
the process's peak memory.
Needs torch, min-dalle, emoji and safetensors."""
import argparse
import json
import os
import resource
import time

import torch
from safetensors import safe_open
from safetensors.torch import save_file

torch.set_grad_enabled(False)
SIZES = {"mini": {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 2730, "text_vocab": 50264, "vocab": 16384},
         "mega": {"d_model": 2048, "layers": 24, "heads": 32, "ffn": 4096, "text_vocab": 50272, "vocab": 16415}}
TEXT, IMAGE, CODES = 64, 256, 16384
VQGAN = {"ch": 128, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16], "z_channels": 256, "embed_dim": 256,
         "n_embed": CODES, "resolution": 256, "out_ch": 3, "norm_groups": 32, "norm_eps": 1e-5}
PROMPT = "a photo of a sari"


def networks(c, device):
    from min_dalle.models import DalleBartDecoder, DalleBartEncoder, VQGanDetokenizer
    with torch.device(device):
        return {"encoder.safetensors": DalleBartEncoder(c["encoder_layers"], c["d_model"], c["encoder_attention_heads"], c["encoder_vocab_size"],
                                                        TEXT, c["encoder_ffn_dim"], device),
                "decoder.safetensors": DalleBartDecoder(c["image_vocab_size"], c["d_model"], c["decoder_attention_heads"], c["decoder_ffn_dim"],
                                                        c["decoder_layers"], device),
                "vqgan/model.safetensors": VQGanDetokenizer()}


def write(folder, size):
    s = SIZES[size]
    config = {"model_type": "dallebart", "d_model": s["d_model"], "encoder_vocab_size": s["text_vocab"], "max_text_length": TEXT,
              "image_vocab_size": s["vocab"], "image_length": IMAGE, "decoder_start_token_id": s["vocab"]}
    for side in ("encoder", "decoder"):
        config |= {f"{side}_layers": s["layers"], f"{side}_attention_heads": s["heads"], f"{side}_ffn_dim": s["ffn"]}
    generator = torch.Generator().manual_seed(1)
    os.makedirs(os.path.join(folder, "vqgan"), exist_ok=True)
    for name, network in networks(config, "meta").items():
        tensors = {}
        for key, p in network.state_dict().items():
            noise = torch.randn(p.shape, generator=generator)
            if p.dim() > 1:
                noise *= p[0].numel() ** -.5
            else:
                noise = .1 * noise + key.endswith("weight")
            tensors[key] = noise
        save_file(tensors, os.path.join(folder, name))
    words = ["<s>", "<pad>", "</s>", "<unk>", "\u0120"] + [chr(c) for c in range(33, 127)]
    for name, value in {"config.json": config, "vqgan/config.json": VQGAN, "vocab.json": {w: i for i, w in enumerate(words)}}.items():
        with open(os.path.join(folder, name), "w", encoding="utf8") as out:
            json.dump(value, out, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf8") as out:
        out.write("#version: 0.2\n\u0120 a\n")


def load(folder, config, dtype, device):
    loaded = {}
    for name, network in networks(config, device).items():
        network = network.eval() if name.startswith("vqgan") else network.to(dtype).eval()
        with safe_open(os.path.join(folder, name), "pt", device=device) as tensors:
            network.load_state_dict({key: tensors.get_tensor(key) for key in tensors.keys()})
        loaded[name] = network
    return loaded.values()


def run(folder, batch, dtype, device, steps):
    """generate_raw_image_stream's own lines, with the time taken around its parts."""
    from min_dalle.text_tokenizer import TextTokenizer
    on = torch.device(device)

    def clocks():
        if on.type == "cuda":
            torch.cuda.synchronize(on)
        return time.time(), time.process_time()
    took = lambda since: [now - then for now, then in zip(clocks(), since)]
    with open(os.path.join(folder, "config.json"), encoding="utf8") as file:
        config = json.load(file)
    start = clocks()
    encoder, decoder, detokenizer = load(folder, config, dtype, device)
    loading = took(start)
    with open(os.path.join(folder, "vocab.json"), encoding="utf8") as file:
        vocab = json.load(file)
    with open(os.path.join(folder, "merges.txt"), encoding="utf8") as file:
        tokens = TextTokenizer(vocab, file.read().split("\n")[1:-1]).tokenize(PROMPT)
    rows = torch.ones(2, TEXT, dtype=torch.long)
    rows[0, :2] = torch.tensor([tokens[0], tokens[-1]])
    rows[1, :len(tokens)] = torch.tensor(tokens)
    rows = rows.to(on)
    # As min-dalle itself computes on a GPU.
    autocast = lambda: torch.autocast(on.type, dtype=dtype, enabled=on.type == "cuda" and dtype != torch.float32)
    start = clocks()
    with autocast():
        encoded = encoder.forward(rows)
    text = took(start)
    expanded = [0] * batch + [1] * batch
    rows, encoded = rows[expanded], encoded[expanded]
    mask = rows.not_equal(1)[:, None, None, :]
    state = torch.zeros(config["decoder_layers"], batch * 4, IMAGE, config["d_model"], device=on)
    images = torch.full((batch, IMAGE + 1), config["decoder_start_token_id"], dtype=torch.long, device=on)
    torch.manual_seed(1)
    settings = torch.tensor([1, 256, 16], dtype=torch.float32, device=on)
    indices = torch.arange(IMAGE, device=on)
    total = [0, 0]
    for i in range(steps):
        start = clocks()
        with autocast():
            images[:, i + 1], state = decoder.sample_tokens(settings=settings, attention_mask=mask, encoder_state=encoded, attention_state=state,
                                                            prev_tokens=images[:, [i]], token_index=indices[[i]])
        if i > 0:  # the first warms up
            total = [a + b for a, b in zip(total, took(start))]
    step = [t / max(1, steps - 1) for t in total]
    # It makes square grids only, and each picture in turn costs the same.
    start = clocks()
    for i in range(batch):
        detokenizer.forward(False, images[i:i + 1, 1:].clamp(max=CODES - 1))
    pixels = took(start)
    out = {"steps": steps, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch": torch.__version__}
    for name, (wall, processor) in {"load": loading, "text": text, "step": step, "pixels": pixels}.items():
        out |= {name: wall, name + "_processor": processor}
    print(json.dumps(out))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["write", "run"])
    parser.add_argument("folder")
    parser.add_argument("--size", choices=list(SIZES), default="mini")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=24)
    args = parser.parse_args()
    if args.command == "write":
        return write(args.folder, args.size)
    import min_dalle  # noqa: F401  sets the number of threads to the machine's when imported
    torch.set_num_threads(args.threads)
    return run(args.folder, args.batch, getattr(torch, args.dtype), args.device, args.steps)


if __name__ == "__main__":
    main()
