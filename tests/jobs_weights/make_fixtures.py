"""Writes fixtures/ (committed): python make_fixtures.py torch|sscd|flax. `torch` and `sscd` need
tests/parity/requirements.txt; `flax` needs flax 0.10.4, safetensors and ml_dtypes. The tests need no Python.

The DALL-E is that of tests/parity/fixtures/tiny-dalle, its weights laid out as the published files have them: min-dalle's load_params.py
makes layers views of stacked arrays and weights transposed views of kernels; dalle-mini stacks the layers of nn.scan. The SSCD is
tests/parity/fixtures/tiny-sscd under the names of both published forms.
"""
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
OUT = HERE / "fixtures"
TINY = HERE.parent / "parity" / "fixtures" / "tiny-dalle"
NORMS = {"pre_self_attn_layer_norm": "LayerNorm_0", "self_attn_layer_norm": "LayerNorm_1", "pre_encoder_attn_layer_norm": "LayerNorm_2",
         "encoder_attn_layer_norm": "LayerNorm_3"}
MODULES = {**NORMS, "self_attn": "FlaxBartAttention_0", "encoder_attn": "FlaxBartAttention_1", "glu": "GLU_0"}
GLU = {"ln0": "LayerNorm_0", "ln1": "LayerNorm_1", "fc0": "Dense_0", "fc1": "Dense_1", "fc2": "Dense_2"}


def load(name):
    from safetensors.numpy import load_file
    return load_file(TINY / name)


def put(tree, path, value):
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def flax_leaf(name, array):
    """The last part of a Flax name, and the array as Flax has it."""
    if name == "bias":
        return "bias", array
    if array.ndim == 4:
        return "kernel", np.ascontiguousarray(array.transpose(2, 3, 1, 0))
    if array.ndim == 2:
        return "kernel", np.ascontiguousarray(array.T)
    return "scale", array


def flax_dalle(encoder, decoder):
    """The tree that dalle-mini's save_pretrained writes."""
    tree = {}
    for part, state in (("encoder", encoder), ("decoder", decoder)):
        layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
        for name, array in state.items():
            path = name.split(".")
            if path[0] == "layers":
                if path[1] != "0":
                    continue
                stacked = np.stack([state[".".join(["layers", str(i)] + path[2:])] for i in range(layers)])
                inner = [MODULES[path[2]]] + [GLU.get(p, p) for p in path[3:-1]]
                leaf, _ = flax_leaf(path[-1], array)
                if leaf == "kernel":
                    stacked = np.ascontiguousarray(stacked.transpose(0, 2, 1))
                put(tree, ["model", part, "layers", f"FlaxBart{part.title()}Layers"] + inner + [leaf], stacked)
            elif path[0] == "lm_head":
                put(tree, ["lm_head", "kernel"], np.ascontiguousarray(array.T))
            elif path[0].startswith("embed_"):
                put(tree, ["model", part, path[0], "embedding"], array)
            else:
                put(tree, ["model", part, path[0], flax_leaf(path[1], array)[0]], array)
    return tree


def flax_vqgan(state):
    """The tree of vqgan-jax, with an encoder that is not wanted and norms of older Flax's shape."""
    tree = {"encoder": {"conv_in": {"kernel": np.zeros((3, 3, 3, 4), np.float32)}},
            "quant_conv": {"bias": np.zeros(7, np.float32)}}
    for name, array in state.items():
        path = name.split(".")
        if name == "embedding.weight":
            put(tree, ["quantize", "embedding", "embedding"], array)
            continue
        leaf, value = flax_leaf(path[-1], array)
        if "norm" in path[-2]:
            value = value.reshape(1, 1, 1, -1)
        joined = []
        for p in path[:-1]:
            if p.isdigit():
                joined[-1] += "_" + p
            else:
                joined.append(p)
        put(tree, joined + [leaf], value)
    return tree


def make_flax():
    import ml_dtypes
    from flax import serialization
    (OUT / "dalle.msgpack").write_bytes(serialization.msgpack_serialize(flax_dalle(load("encoder.safetensors"), load("decoder.safetensors"))))
    (OUT / "vqgan.msgpack").write_bytes(serialization.msgpack_serialize(flax_vqgan(load("vqgan/model.safetensors"))))
    rng = np.random.default_rng(1)
    tree = {"half": {"w": rng.standard_normal((3, 5)).astype(np.float16)}, "brain": rng.standard_normal((2, 3)).astype(ml_dtypes.bfloat16),
            "double": rng.standard_normal(3), "scalar": np.float32(2.5), "none": np.zeros((0, 4), np.float32), "whole": np.arange(7),
            "large": {"kernel": rng.standard_normal((6, 11, 3)).astype(np.float32)}, "truth": np.array([True, False])}
    from safetensors.numpy import save_file
    flat = {"half.w": tree["half"]["w"], "double": tree["double"], "scalar": np.asarray(tree["scalar"]), "none": tree["none"],
            "whole": tree["whole"], "large.kernel": tree["large"]["kernel"], "truth": tree["truth"], "brain.bits": tree["brain"].view(np.uint16)}
    save_file(flat, OUT / "many_flax.safetensors")
    serialization.MAX_CHUNK_SIZE = 200  # so that "large" comes in chunks
    (OUT / "many.msgpack").write_bytes(serialization.msgpack_serialize(tree))


def stacked_views(torch, state):
    """As convert_dalle_bart_torch_from_flax_params leaves them: layer i is a view of all layers' array, a weight that of its kernel."""
    out = OrderedDict()
    layers = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("layers."))
    stacks = {}
    for name, tensor in state.items():
        path = name.split(".")
        kernel = tensor.dim() == 2 and not path[0].startswith("embed_")
        if path[0] != "layers":
            out[name] = tensor.T.contiguous().T if kernel else tensor
            continue
        key = ".".join(path[2:])
        if key not in stacks:
            every = torch.stack([state[f"layers.{i}.{key}"] for i in range(layers)])
            stacks[key] = every.transpose(-1, -2).contiguous().transpose(-1, -2) if kernel else every
        out[name] = stacks[key][int(path[1])]
    return out


def make_torch():
    import torch
    from safetensors.torch import load_file, save_file
    torch.manual_seed(1)
    for name in ("encoder", "decoder"):
        torch.save(stacked_views(torch, load_file(TINY / f"{name}.safetensors")), OUT / f"{name}.pt")
    torch.save(load_file(TINY / "vqgan" / "model.safetensors"), OUT / "detoker.pt")

    base = torch.randn(5, 6, 4)
    state = torch.nn.BatchNorm1d(3).state_dict()  # an OrderedDict with _metadata
    state["half"] = torch.randn(3, 2).half()
    state["brain"] = torch.randn(7).bfloat16()
    state["double"] = torch.randn(2, 2).double()
    for dtype in ("int8", "int16", "int32", "uint8"):
        state[dtype] = torch.arange(5).to(getattr(torch, dtype))
    state["truth"] = torch.tensor([True, False, True])
    state["scalar"] = torch.tensor(3.5)
    state["none"] = torch.zeros(0, 3)
    state["base"], state["slice"], state["transposed"] = base, base[2], base.permute(2, 0, 1)
    state["steps"], state["diagonal"], state["row"] = base[1:5:2, :, 1:3], base[:, 0, :4].diagonal(), base[3, 2:3]
    state["expanded"] = torch.tensor([1., 2.]).view(2, 1).expand(2, 3)
    state["parameter"] = torch.nn.Parameter(base[0])
    nested = {"epoch": 3, "state_dict": {"outer": dict(state), "tied": base}, "optimizer": [1.5, None, {"lr": 2}]}
    torch.save(state, OUT / "many_zip.pt")
    torch.save(state, OUT / "many_legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(nested, OUT / "nested.pt", pickle_protocol=4)
    save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, OUT / "many.safetensors")


def classy_name(name):
    """torchvision's name as Classy Vision's ResNeXt has it."""
    path = name.split(".")
    if path[0] == "fc":
        return "embeddings.1." + path[1]
    if path[0] in ("conv1", "bn1"):
        return f"backbone.initial_block._module.{int(path[0] == 'bn1')}.{path[1]}"
    stage = int(path[0].removeprefix("layer")) - 1
    part = {"conv1": "convolutional_block.0", "bn1": "convolutional_block.1", "conv2": "convolutional_block.3", "bn2": "convolutional_block.4",
            "conv3": "convolutional_block.6", "bn3": "bn"}.get(path[2], path[2])
    return ".".join([f"backbone.blocks.{stage}.block{stage}-{path[1]}.{part}", *path[3:]])


def make_sscd():
    import torch
    from safetensors.torch import load_file
    state = load_file(TINY.parent / "tiny-sscd" / "model.safetensors")
    torch.save(OrderedDict(("backbone." + k, v) for k, v in state.items()), OUT / "sscd_tiny.torchvision.pt")
    torch.save(OrderedDict((classy_name(k), v) for k, v in state.items()), OUT / "sscd_tiny.classy.pt")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    {"torch": make_torch, "sscd": make_sscd, "flax": make_flax}[sys.argv[1]]()
