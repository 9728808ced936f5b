"""The networks, with the tensor names of the published formats, so that an export is a plain state_dict.

VQGAN decoder: taming-transformers / min-dalle names.  DalleBart: min-dalle 0.4.11 names.  CLIP: Hugging Face names.
"""
import torch
import torch.nn.functional as F
from torch import nn

# ---------------------------------------------------------------- VQGAN: 64x64 picture <-> 8x8 codes

VQGAN = {"ch": 16, "ch_mult": [1, 2, 4, 6], "num_res_blocks": 1, "attn_resolutions": [8], "z_channels": 64,
         "embed_dim": 32, "n_embed": 512, "resolution": 64, "out_ch": 3, "norm_groups": 8, "norm_eps": 1e-6}


def norm(ch, c):
    return nn.GroupNorm(c["norm_groups"], ch, eps=c["norm_eps"])


class ResBlock(nn.Module):
    def __init__(self, cin, cout, c):
        super().__init__()
        self.norm1, self.conv1 = norm(cin, c), nn.Conv2d(cin, cout, 3, padding=1)
        self.norm2, self.conv2 = norm(cout, c), nn.Conv2d(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = nn.Conv2d(cin, cout, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """One head over all positions."""
    def __init__(self, ch, c):
        super().__init__()
        self.norm = norm(ch, c)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(ch, ch, 1) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        q, k, v = (m(h).flatten(2).transpose(1, 2) for m in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(h)


class Upsample(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.conv = nn.Conv2d(ch, ch, 3, padding=1)

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2., mode="nearest"))


class Decoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        levels, ch = len(c["ch_mult"]), c["ch"] * c["ch_mult"][-1]
        size = c["resolution"] >> (levels - 1)
        self.conv_in = nn.Conv2d(c["z_channels"], ch, 3, padding=1)
        self.mid = nn.ModuleDict({"block_1": ResBlock(ch, ch, c), "attn_1": AttnBlock(ch, c),
                                  "block_2": ResBlock(ch, ch, c)})
        up = {}
        for level in reversed(range(levels)):
            cout, stage = c["ch"] * c["ch_mult"][level], nn.ModuleDict()
            stage["block"], stage["attn"] = nn.ModuleList(), nn.ModuleList()
            for _ in range(c["num_res_blocks"] + 1):
                stage["block"].append(ResBlock(ch, cout, c))
                ch = cout
                if size in c["attn_resolutions"]:
                    stage["attn"].append(AttnBlock(ch, c))
            if level:
                stage["upsample"] = Upsample(ch)
                size *= 2
            up[level] = stage
        self.up = nn.ModuleList([up[level] for level in range(levels)])
        self.norm_out, self.conv_out = norm(ch, c), nn.Conv2d(ch, c["out_ch"], 3, padding=1)

    def forward(self, z):
        h = self.conv_in(z)
        h = self.mid["block_2"](self.mid["attn_1"](self.mid["block_1"](h)))
        for stage in reversed(self.up):
            for i, block in enumerate(stage["block"]):
                h = block(h)
                if len(stage["attn"]):
                    h = stage["attn"][i](h)
            if "upsample" in stage:
                h = stage["upsample"](h)
        return self.conv_out(F.silu(self.norm_out(h)))


class Encoder(nn.Module):
    """Needed in training only, hence lighter than the decoder and free in its shape."""
    def __init__(self, c):
        super().__init__()
        a, b, d = c["ch"] * 2, c["ch"] * 4, c["ch"] * 6
        self.layers = nn.Sequential(
            nn.Conv2d(3, a, 4, 2, 1), ResBlock(a, a, c), nn.Conv2d(a, b, 4, 2, 1), ResBlock(b, b, c),
            nn.Conv2d(b, d, 4, 2, 1), ResBlock(d, d, c), AttnBlock(d, c), ResBlock(d, d, c), norm(d, c), nn.SiLU(),
            nn.Conv2d(d, c["embed_dim"], 1),
            nn.BatchNorm2d(c["embed_dim"], affine=False))     # keeps the latents spread: without it they all align

    def forward(self, x):
        return self.layers(x)


class VQGan(nn.Module):
    def __init__(self, c=VQGAN):
        super().__init__()
        self.c = c
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        self.embedding = nn.Embedding(c["n_embed"], c["embed_dim"])
        self.post_quant_conv = nn.Conv2d(c["embed_dim"], c["z_channels"], 1)
        self.embedding.weight.requires_grad_(False)          # moved by running means, see train_vqgan.py
        self.embedding.weight.data = self.on_sphere(self.embedding.weight.data)

    @staticmethod
    def on_sphere(v):
        """Cosine codebook: all vectors have norm sqrt(dim), so nearest = most aligned."""
        return F.normalize(v, dim=-1) * v.shape[-1] ** .5

    def latents(self, x):
        return self.on_sphere(self.encoder(x).float().flatten(2).transpose(1, 2))       # [B, 64, dim]

    def nearest(self, z):
        return (z @ self.embedding.weight.T).argmax(-1)

    def decode_latents(self, z):
        side = self.c["resolution"] >> (len(self.c["ch_mult"]) - 1)
        return self.decoder(self.post_quant_conv(z.transpose(1, 2).reshape(len(z), -1, side, side)))

    def encode(self, x):
        return self.nearest(self.latents(x))

    def decode(self, tokens):
        return self.decode_latents(self.embedding(tokens))


# ---------------------------------------------------------------- DALL-E mini's encoder and decoder (NormFormer + GLU)

class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(d, d, bias=False) for _ in range(4))

    def split(self, x):
        return x.view(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)

    def forward(self, x, source=None, mask=None, causal=False, cache=None):
        q = self.split(self.q_proj(x))
        source = x if source is None else source
        k, v = self.split(self.k_proj(source)), self.split(self.v_proj(source))
        if cache is not None:                                # self-attention, one new position
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)
            self.new_cache = (k, v)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out_proj(h.transpose(1, 2).flatten(2))


class Glu(nn.Module):
    def __init__(self, d, ffn):
        super().__init__()
        self.ln0, self.ln1 = nn.LayerNorm(d), nn.LayerNorm(ffn)
        self.fc0, self.fc1 = nn.Linear(d, ffn, bias=False), nn.Linear(d, ffn, bias=False)
        self.fc2 = nn.Linear(ffn, d, bias=False)

    def forward(self, z):
        z = self.ln0(z)
        return self.fc2(self.ln1(F.gelu(self.fc0(z)) * self.fc1(z)))


class BartLayer(nn.Module):
    def __init__(self, d, heads, ffn, decoder):
        super().__init__()
        self.pre_self_attn_layer_norm, self.self_attn_layer_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.self_attn = Attention(d, heads)
        if decoder:
            self.pre_encoder_attn_layer_norm, self.encoder_attn_layer_norm = nn.LayerNorm(d), nn.LayerNorm(d)
            self.encoder_attn = Attention(d, heads)
        self.glu = Glu(d, ffn)

    def forward(self, x, mask=None, encoded=None, encoded_mask=None, cache=None):
        causal = encoded is not None and cache is None
        x = x + self.self_attn_layer_norm(self.self_attn(self.pre_self_attn_layer_norm(x), mask=mask, causal=causal,
                                                         cache=cache))
        if encoded is not None:
            h = self.encoder_attn(self.pre_encoder_attn_layer_norm(x), encoded, encoded_mask)
            x = x + self.encoder_attn_layer_norm(h)
        return x + self.glu(x)


class BartHalf(nn.Module):
    """Either half: embeddings, layers, final norm."""
    def __init__(self, vocab, positions, d, heads, ffn, layers, decoder):
        super().__init__()
        self.embed_tokens, self.embed_positions = nn.Embedding(vocab, d), nn.Embedding(positions, d)
        self.layernorm_embedding, self.final_ln = nn.LayerNorm(d), nn.LayerNorm(d)
        self.layers = nn.ModuleList([BartLayer(d, heads, ffn, decoder) for _ in range(layers)])

    def embed(self, tokens, start=0):
        positions = torch.arange(start, start + tokens.shape[1])
        return self.layernorm_embedding(self.embed_tokens(tokens) + self.embed_positions(positions))


class DalleBart(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        rows = c["image_vocab_size"] + 1                      # the last row is the start token
        self.encoder = BartHalf(c["encoder_vocab_size"], c["max_text_length"], c["d_model"],
                                c["encoder_attention_heads"], c["encoder_ffn_dim"], c["encoder_layers"], False)
        self.decoder = BartHalf(rows, c["image_length"], c["d_model"], c["decoder_attention_heads"],
                                c["decoder_ffn_dim"], c["decoder_layers"], True)
        self.decoder.lm_head = nn.Linear(c["d_model"], rows, bias=False)
        for m in self.modules():
            if isinstance(m, (nn.Linear, nn.Embedding)):
                nn.init.normal_(m.weight, std=.02 if isinstance(m, nn.Embedding) else m.weight.shape[1] ** -.5 * .7)

    def encode(self, text):
        mask = (text != self.c["pad_token_id"])[:, None, None, :]
        x = self.encoder.embed(text)
        for layer in self.encoder.layers:
            x = layer(x, mask)
        return self.encoder.final_ln(x), mask

    def forward(self, text, image):
        """Logits for every image position (teacher forcing)."""
        encoded, mask = self.encode(text)
        start = torch.full_like(image[:, :1], self.c["decoder_start_token_id"])
        x = self.decoder.embed(torch.cat([start, image[:, :-1]], 1))
        for layer in self.decoder.layers:
            x = layer(x, None, encoded, mask)
        return self.decoder.lm_head(self.decoder.final_ln(x))

    @torch.no_grad()
    def sample(self, text, gen, temperature=1., top_k=0, supercondition=1., codes=None, keep=None):
        """As in min-dalle: both rows, top-k before the temperature, the start row cut off.

        With codes [n, length] and keep [n], row i begins with its first keep[i] codes and goes on freely from there."""
        n, vocab = len(text), self.c["image_vocab_size"]
        if supercondition != 1:
            blank = torch.full_like(text, self.c["pad_token_id"])
            blank[:, 0], blank[:, 1] = self.c["bos_token_id"], self.c["eos_token_id"]
            text = torch.cat([text, blank])
        encoded, mask = self.encode(text)
        token = torch.full((len(text), 1), self.c["decoder_start_token_id"])
        heads = self.c["decoder_attention_heads"]
        empty = torch.zeros(len(text), heads, 0, self.c["d_model"] // heads)
        caches, tokens = [(empty, empty)] * len(self.decoder.layers), []
        for t in range(self.c["image_length"]):
            x = self.decoder.embed(token, t)
            for i, layer in enumerate(self.decoder.layers):
                x = layer(x, None, encoded, mask, caches[i])
                caches[i] = layer.self_attn.new_cache
            logits = self.decoder.lm_head(self.decoder.final_ln(x))[:, -1, :vocab]
            if supercondition != 1:
                logits = logits[n:] * (1 - supercondition) + logits[:n] * supercondition
            if top_k:
                logits = logits.masked_fill(logits < logits.topk(top_k).values[:, -1:], -torch.inf)
            token = torch.multinomial((logits / temperature).softmax(-1), 1, generator=gen)
            if codes is not None:
                token = torch.where((t < keep)[:, None], codes[:, t:t + 1], token)
            tokens.append(token)
            token = token if supercondition == 1 else token.repeat(2, 1)
        return torch.cat(tokens, 1)


# ---------------------------------------------------------------- the independent sari detector

class Detector(nn.Module):
    """A plain CNN; batch norm is folded into the convolutions when exported."""
    WIDTHS = [3, 16, 24, 48, 64]

    def __init__(self, folded=False):
        super().__init__()
        layers = []
        for cin, cout in zip(self.WIDTHS, self.WIDTHS[1:]):
            layers += [nn.Conv2d(cin, cout, 3, 2, 1), nn.Identity() if folded else nn.BatchNorm2d(cout), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(self.WIDTHS[-1] * 4 * 4, 1)

    def forward(self, x):
        return self.fc(self.features(x).flatten(1)).squeeze(1)
