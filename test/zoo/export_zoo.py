"""Exports small models of many architectures with torch.onnx, each with attention written as its family writes it.

    python3 export_zoo.py FOLDER

Weights are random; what matters is the shape of the graph: where heads lie, what is added to the scores, and what
happens to queries and keys before they meet. Every model is exported with free batch and sequence axes.
"""

import math
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

warnings.filterwarnings("ignore")
D, H, VOCAB = 32, 4, 50
HEAD = D // H


def split(x, heads=H):
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def join(x):
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def causal_bias(length, past=0):
    total = length + past
    later = torch.arange(total)[None, :] > torch.arange(past, total)[:, None]
    return torch.zeros(length, total).masked_fill(later, torch.finfo(torch.float32).min)


def rotate(x, positions, dims=None, base=100.0):
    dims = dims or x.shape[-1]
    angle = positions[:, None] / base ** (torch.arange(0, dims, 2) / dims)
    cos, sin = torch.cat([angle.cos()] * 2, -1), torch.cat([angle.sin()] * 2, -1)
    turned, rest = x[..., :dims], x[..., dims:]
    a, b = turned.chunk(2, -1)
    turned = turned * cos + torch.cat([-b, a], -1) * sin
    return torch.cat([turned, rest], -1)


class Layer(nn.Module):
    """Projections of one attention layer."""

    def __init__(self, heads=H, kv_heads=H, width=D, head=HEAD, bias=True):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.q = nn.Linear(width, heads * head, bias=bias)
        self.k = nn.Linear(width, kv_heads * head, bias=bias)
        self.v = nn.Linear(width, kv_heads * head, bias=bias)
        self.o = nn.Linear(heads * head, width, bias=bias)

    def rows(self, x, y=None):
        y = x if y is None else y
        return split(self.q(x), self.heads), split(self.k(y), self.kv_heads), split(self.v(y), self.kv_heads)


class Words(nn.Module):
    """Embedding, one block, logits."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, D)
        self.norm = nn.LayerNorm(D)
        self.logits = nn.Linear(D, VOCAB)
        self.layers = nn.ModuleList(self.layer() for _ in range(2))

    def layer(self):
        return Layer()

    def padding(self, mask):
        return (1.0 - mask[:, None, None, :].float()) * torch.finfo(torch.float32).min

    def forward(self, input_ids, attention_mask):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = x + self.attend(layer, self.norm(x), attention_mask)
        return self.logits(x)


class Bert(Words):
    def attend(self, layer, x, mask):
        q, k, v = layer.rows(x)
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ v))


class DistilBert(Words):
    """Scales queries and masks with masked_fill."""

    def attend(self, layer, x, mask):
        q, k, v = layer.rows(x)
        scores = (q / math.sqrt(HEAD)) @ k.transpose(2, 3)
        hidden = (mask == 0).view(x.shape[0], 1, 1, -1).expand_as(scores)
        return layer.o(join(scores.masked_fill(hidden, torch.finfo(torch.float32).min).softmax(-1) @ v))


class Bart(Words):
    """Folds heads into the batch and unfolds them for the mask."""

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        fold = lambda y: split(y).reshape(b * H, -1, HEAD)
        q, k, v = fold(layer.q(x) * HEAD**-0.5), fold(layer.k(x)), fold(layer.v(x))
        scores = torch.bmm(q, k.transpose(1, 2))
        scores = scores.view(b, H, n, n) + self.padding(mask)
        pattern = scores.view(b * H, n, n).softmax(-1)
        return layer.o(join(torch.bmm(pattern, v).view(b, H, n, HEAD)))


class Gpt2(Words):
    """One projection for all, a causal buffer, torch.where."""

    def layer(self):
        layer = nn.Module()
        layer.qkv, layer.o = nn.Linear(D, 3 * D), nn.Linear(D, D)
        return layer

    def attend(self, layer, x, mask):
        q, k, v = (split(y) for y in layer.qkv(x).split(D, dim=2))
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
        n = x.shape[1]
        seen = torch.tril(torch.ones(64, 64, dtype=torch.bool))[:n, :n]
        scores = torch.where(seen, scores, torch.tensor(torch.finfo(torch.float32).min)) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ v))


class NeoX(Words):
    """Queries, keys and values of a head side by side; a quarter of the head rotates."""

    def layer(self):
        layer = nn.Module()
        layer.qkv, layer.o = nn.Linear(D, 3 * D), nn.Linear(D, D)
        return layer

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        qkv = layer.qkv(x).view(b, n, H, 3 * HEAD)
        q, k, v = (y.permute(0, 2, 1, 3) for y in qkv.chunk(3, -1))
        positions = torch.arange(n, dtype=torch.float32)
        q, k = rotate(q, positions, HEAD // 4), rotate(k, positions, HEAD // 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD) + causal_bias(n) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ v))


class Bloom(Words):
    """ALiBi through baddbmm, heads folded, softmax in float32."""

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q, k, v = (y.reshape(b * H, n, HEAD) for y in layer.rows(x))
        slopes = torch.tensor([2.0 ** (-8 * (h + 1) / H) for h in range(H)])
        position = (mask.cumsum(-1) - 1) * mask
        alibi = (slopes[None, :, None] * position[:, None, :].float()).reshape(b * H, 1, n)
        scores = alibi.baddbmm(batch1=q, batch2=k.transpose(1, 2), beta=1.0, alpha=1 / math.sqrt(HEAD))
        scores = scores.view(b, H, n, n) + causal_bias(n) + self.padding(mask)
        pattern = scores.softmax(-1, dtype=torch.float32).view(b * H, n, n)
        return layer.o(join(torch.bmm(pattern, v).view(b, H, n, HEAD)))


class Gemma2(Words):
    """Grouped heads, softcap, a sliding window, q/k norm, scale of its own."""

    def layer(self):
        layer = Layer(kv_heads=2, bias=False)
        layer.q_norm, layer.k_norm = nn.LayerNorm(HEAD), nn.LayerNorm(HEAD)
        return layer

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q, k, v = layer.rows(x)
        positions = torch.arange(n, dtype=torch.float32)
        q, k = rotate(layer.q_norm(q), positions), rotate(layer.k_norm(k), positions)
        repeat = lambda y: y[:, :, None].expand(b, 2, H // 2, n, HEAD).reshape(b, H, n, HEAD)
        scores = q @ repeat(k).transpose(2, 3) * 0.4
        scores = torch.tanh(scores / 5.0) * 5.0
        i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
        seen = (j <= i) & (j > i - 4)
        scores = scores + torch.zeros(n, n).masked_fill(~seen, torch.finfo(torch.float32).min) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ repeat(v)))


class Falcon(Words):
    """One key head for all query heads, broadcast."""

    def layer(self):
        return Layer(kv_heads=1)

    def attend(self, layer, x, mask):
        n = x.shape[1]
        q, k, v = layer.rows(x)
        positions = torch.arange(n, dtype=torch.float32)
        q, k = rotate(q, positions), rotate(k, positions)
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD) + causal_bias(n) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ v))


class GroupedProduct(Words):
    """Queries of a group side by side, five axes, keys never repeated."""

    def layer(self):
        return Layer(kv_heads=2)

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q, k, v = layer.rows(x)
        q = q.view(b, 2, H // 2, n, HEAD)
        scores = q @ k[:, :, None].transpose(-1, -2) / math.sqrt(HEAD)
        scores = scores + causal_bias(n) + self.padding(mask)[:, :, None]
        return layer.o(join((scores.softmax(-1) @ v[:, :, None]).reshape(b, H, n, HEAD)))


class T5(Words):
    """No scale; a learned bias by relative position, in buckets."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Embedding(8, H)

    def attend(self, layer, x, mask):
        n = x.shape[1]
        q, k, v = layer.rows(x)
        distance = (torch.arange(n)[None, :] - torch.arange(n)[:, None]).clamp(-4, 3) + 4
        bias = self.bias(distance).permute(2, 0, 1)[None]
        scores = q @ k.transpose(3, 2) + (bias + self.padding(mask))
        return layer.o(join(scores.float().softmax(-1).type_as(scores) @ v))


class Deberta(Words):
    """Content to position and position to content beside content to content."""

    def __init__(self):
        super().__init__()
        self.relative = nn.Parameter(torch.randn(2 * 8, D))

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q, k, v = layer.rows(x)
        scale = 1 / math.sqrt(3 * HEAD)
        scores = q @ (k * scale).transpose(-1, -2)
        at = ((torch.arange(n)[:, None] - torch.arange(n)[None, :]).clamp(-8, 7) + 8).expand(b, H, n, n)
        k_relative = layer.k(self.relative).view(1, 16, H, HEAD).transpose(1, 2)
        q_relative = layer.q(self.relative).view(1, 16, H, HEAD).transpose(1, 2)
        to_position = torch.gather(q @ k_relative.transpose(-1, -2) * scale, -1, at)
        from_position = torch.gather(k @ q_relative.transpose(-1, -2) * scale, -1, at).transpose(-1, -2)
        scores = scores + (to_position + from_position) + self.padding(mask)
        return layer.o(join(scores.softmax(-1) @ v))


class TorchEncoder(Words):
    """torch's own nn.MultiheadAttention: sequence first, packed projection, heads folded."""

    def layer(self):
        return nn.MultiheadAttention(D, H)

    def attend(self, layer, x, mask):
        x = x.transpose(0, 1)
        out, _ = layer(x, x, x, key_padding_mask=mask == 0)
        return out.transpose(0, 1)


class Sinks(Words):
    """A learned logit of each head stands behind the scores and takes its share of the softmax."""

    def __init__(self):
        super().__init__()
        self.sinks = nn.Parameter(torch.randn(H))

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q, k, v = layer.rows(x)
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD) + causal_bias(n) + self.padding(mask)
        scores = torch.cat([scores, self.sinks.view(1, H, 1, 1).expand(b, H, n, 1)], -1)
        scores = scores - scores.max(-1, keepdim=True).values
        return layer.o(join(scores.softmax(-1)[..., :-1] @ v))


class BigCode(Words):
    """One key head; positions and heads of the queries in one axis."""

    def layer(self):
        return Layer(kv_heads=1)

    def attend(self, layer, x, mask):
        b, n, _ = x.shape
        q = layer.q(x).view(b, n * H, HEAD)
        k, v = layer.k(x), layer.v(x)
        scores = torch.bmm(q, k.transpose(1, 2)).view(b, n, H, n) / math.sqrt(HEAD)
        scores = scores + causal_bias(n)[None, :, None, :] + self.padding(mask)
        return layer.o(torch.bmm(scores.softmax(-1).view(b, n * H, n), v).view(b, n, D))


class Vit(nn.Module):
    """Patches by convolution, a class token, no mask."""

    inputs = {"pixel_values": torch.randn(2, 3, 16, 16)}
    free = {"pixel_values": {0: "batch"}}

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, D, 4, 4)
        self.first = nn.Parameter(torch.randn(1, 1, D))
        self.layer = Layer()
        self.logits = nn.Linear(D, 10)

    def forward(self, pixel_values):
        x = self.patches(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1)
        q, k, v = self.layer.rows(x)
        x = x + self.layer.o(join((q @ k.transpose(-1, -2) / math.sqrt(HEAD)).softmax(-1) @ v))
        return self.logits(x[:, 0])


class Wav2Vec(nn.Module):
    """Sound: only many samples make a frame."""

    inputs = {"input_values": torch.randn(2, 4000)}
    free = {"input_values": {0: "batch", 1: "sequence_length"}}

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv1d(1, D, 10, 5), nn.Conv1d(D, D, 8, 8)
        self.layer = Layer()
        self.logits = nn.Linear(D, 7)

    def forward(self, input_values):
        x = self.second(self.first(input_values[:, None]).relu()).transpose(1, 2)
        q, k, v = self.layer.rows(x)
        return self.logits(x + self.layer.o(join((q @ k.transpose(-1, -2) / math.sqrt(HEAD)).softmax(-1) @ v)))


class Clip(nn.Module):
    """A tower for text and one for images, with batches of their own."""

    inputs = {"input_ids": torch.randint(0, VOCAB, (2, 6)), "pixel_values": torch.randn(2, 3, 16, 16)}
    free = {
        "input_ids": {0: "text_batch_size", 1: "sequence_length"},
        "pixel_values": {0: "image_batch_size", 2: "height", 3: "width"},
    }

    def __init__(self):
        super().__init__()
        self.embed, self.patches = nn.Embedding(VOCAB, D), nn.Conv2d(3, D, 8, 8)
        self.text, self.image = Layer(), Layer()

    def attend(self, layer, x, bias=0.0):
        q, k, v = layer.rows(x)
        return x + layer.o(join((q @ k.transpose(-1, -2) / math.sqrt(HEAD) + bias).softmax(-1) @ v))

    def forward(self, input_ids, pixel_values):
        text = self.attend(self.text, self.embed(input_ids), causal_bias(input_ids.shape[1]))[:, -1]
        image = self.attend(self.image, self.patches(pixel_values).flatten(2).transpose(1, 2)).mean(1)
        return text @ image.t()


class Conformer(nn.Module):
    """Audio: convolution before and between, relative positions with two biases on the queries."""

    inputs = {"features": torch.randn(2, 14, 8)}
    free = {"features": {0: "batch", 1: "time"}}

    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(8, D, 3, padding=1)
        self.layer = Layer()
        self.u, self.w = nn.Parameter(torch.randn(H, 1, HEAD)), nn.Parameter(torch.randn(H, 1, HEAD))
        self.between = nn.Conv1d(D, D, 3, padding=1, groups=D)
        self.relative = nn.Parameter(torch.randn(2 * 32, HEAD))

    def forward(self, features):
        x = self.front(features.transpose(1, 2)).transpose(1, 2)
        q, k, v = self.layer.rows(x)
        n = x.shape[1]
        at = ((torch.arange(n)[:, None] - torch.arange(n)[None, :]) + 32).expand(x.shape[0], H, n, n)
        positions = torch.gather((q + self.w) @ self.relative.t(), -1, at)
        scores = ((q + self.u) @ k.transpose(-1, -2) + positions) / math.sqrt(HEAD)
        x = x + self.layer.o(join(scores.softmax(-1) @ v))
        return self.between(x.transpose(1, 2)).transpose(1, 2)


class Detr(nn.Module):
    """Learned queries attend to the positions of an image; then to one another."""

    inputs = {"pixel_values": torch.randn(2, 3, 16, 16)}
    free = {"pixel_values": {0: "batch"}}

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, D, 4, 4)
        self.queries = nn.Parameter(torch.randn(5, D))
        self.own, self.cross = Layer(), Layer()
        self.logits = nn.Linear(D, 7)

    def attend(self, layer, x, y):
        q, k, v = layer.rows(x, y)
        return layer.o(join((q * HEAD**-0.5 @ k.transpose(-1, -2)).softmax(-1) @ v))

    def forward(self, pixel_values):
        image = self.patches(pixel_values).flatten(2).transpose(1, 2)
        image = image + self.attend(self.own, image, image)
        x = self.queries.expand(image.shape[0], -1, -1) + torch.zeros(1)
        return self.logits(x + self.attend(self.cross, x, image))


class Whisper(nn.Module):
    """A decoder that attends to itself and to the states of an encoder."""

    inputs = {
        "decoder_input_ids": torch.randint(0, VOCAB, (2, 6)),
        "encoder_hidden_states": torch.randn(2, 9, D),
    }
    free = {
        "decoder_input_ids": {0: "batch", 1: "decoder_sequence_length"},
        "encoder_hidden_states": {0: "batch", 1: "encoder_sequence_length"},
    }

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, D)
        self.own, self.cross = Layer(), Layer()
        self.logits = nn.Linear(D, VOCAB)

    def attend(self, layer, x, y=None, bias=None):
        b, n = x.shape[:2]
        y = x if y is None else y
        fold = lambda z: split(z).reshape(b * H, -1, HEAD)
        q, k, v = fold(layer.q(x) * HEAD**-0.5), fold(layer.k(y)), fold(layer.v(y))
        scores = torch.bmm(q, k.transpose(1, 2))
        if bias is not None:
            scores = (scores.view(b, H, n, n) + bias).view(b * H, n, n)
        return layer.o(join(torch.bmm(scores.softmax(-1), v).view(b, H, n, HEAD)))

    def forward(self, decoder_input_ids, encoder_hidden_states):
        x = self.embed(decoder_input_ids)
        x = x + self.attend(self.own, x, bias=causal_bias(x.shape[1]))
        x = x + self.attend(self.cross, x, encoder_hidden_states)
        return self.logits(x)


class Swin(nn.Module):
    """Attention inside windows, which are folded into the batch."""

    inputs = {"pixel_values": torch.randn(2, 3, 16, 16)}
    free = {"pixel_values": {0: "batch"}}

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, D, 2, 2)
        self.layer = Layer()
        self.logits = nn.Linear(D, 10)

    def forward(self, pixel_values):
        x = self.patches(pixel_values)
        b = x.shape[0]
        windows = x.view(b, D, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(b * 4, 16, D)
        q, k, v = self.layer.rows(windows)
        windows = windows + self.layer.o(join((q @ k.transpose(-1, -2) / math.sqrt(HEAD)).softmax(-1) @ v))
        return self.logits(windows.view(b, 64, D).mean(1))


class LlamaWithCache(Words):
    """Rotation before the cache, and the cache as inputs and outputs."""

    def layer(self):
        return Layer(kv_heads=2, bias=False)

    def forward(self, input_ids, attention_mask, past_key_values):
        x = self.embed(input_ids)
        b, n = input_ids.shape
        past = past_key_values[0][0].shape[2]
        total = past + n
        present = []
        for layer, (past_key, past_value) in zip(self.layers, past_key_values):
            q, k, v = layer.rows(self.norm(x))
            positions = torch.arange(past, total, dtype=torch.float32)
            q, k = rotate(q, positions), rotate(k, positions)
            k, v = torch.cat([past_key, k], 2), torch.cat([past_value, v], 2)
            present.append((k, v))
            repeat = lambda y: y[:, :, None].expand(b, 2, H // 2, total, HEAD).reshape(b, H, total, HEAD)
            later = torch.arange(total)[None, :] > torch.arange(past, total)[:, None]
            bias = torch.zeros(n, total).masked_fill(later, torch.finfo(torch.float32).min)
            scores = q @ repeat(k).transpose(2, 3) / math.sqrt(HEAD) + bias + self.padding(attention_mask)
            x = x + layer.o(join(scores.softmax(-1) @ repeat(v)))
        return self.logits(x), present


def export(model, name, folder, inputs, free, outputs=("logits",), opset=14, **options):
    model.eval()
    torch.onnx.export(
        model,
        tuple(inputs.values()) if isinstance(inputs, dict) else inputs,
        str(folder / f"{name}.onnx"),
        input_names=options.pop("input_names", None) or list(inputs),
        output_names=list(outputs),
        dynamic_axes=free,
        opset_version=opset,
        **options,
    )


WORDS = {
    "bert": Bert,
    "distilbert": DistilBert,
    "bart": Bart,
    "gpt2": Gpt2,
    "neox": NeoX,
    "bloom": Bloom,
    "gemma2": Gemma2,
    "falcon": Falcon,
    "grouped": GroupedProduct,
    "t5": T5,
    "deberta": Deberta,
    "torch-encoder": TorchEncoder,
    "sinks": Sinks,
    "bigcode": BigCode,
}
TENSORS = {
    "vit": Vit,
    "conformer": Conformer,
    "detr": Detr,
    "whisper": Whisper,
    "swin": Swin,
    "wav2vec": Wav2Vec,
    "clip": Clip,
}


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    ids, mask = torch.randint(0, VOCAB, (2, 6)), torch.ones(2, 6, dtype=torch.long)
    words = {"input_ids": ids, "attention_mask": mask}
    axes = {0: "batch", 1: "sequence"}
    for seed, (name, family) in enumerate(WORDS.items()):
        torch.manual_seed(seed)
        free = {"input_ids": axes, "attention_mask": axes, "logits": axes}
        export(family(), name, folder, words, free)
    for seed, (name, family) in enumerate(TENSORS.items()):
        torch.manual_seed(100 + seed)
        export(family(), name, folder, family.inputs, {**family.free, "logits": {0: "batch"}})
    torch.manual_seed(200)
    past = [(torch.randn(2, 2, 3, HEAD), torch.randn(2, 2, 3, HEAD)) for _ in range(2)]
    names = [f"past_key_values.{i}.{side}" for i in range(2) for side in ("key", "value")]
    presents = [f"present.{i}.{side}" for i in range(2) for side in ("key", "value")]
    free = {"input_ids": axes, "attention_mask": {0: "batch", 1: "total"}}
    free.update({name: {0: "batch", 2: "past"} for name in names})
    free.update({name: {0: "batch", 2: "total"} for name in presents})
    export(
        LlamaWithCache(),
        "llama-with-cache",
        folder,
        (ids, torch.ones(2, 9, dtype=torch.long), past),
        free,
        outputs=("logits", *presents),
        input_names=["input_ids", "attention_mask", *names],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
