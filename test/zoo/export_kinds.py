"""Exports two-layer models whose rows, factors or masks are out of the ordinary, with the scores that PyTorch computes.

    python3 export_kinds.py FOLDER

Writes NAME.onnx and NAME.json for each: the scores of both layers on TOKENS as they enter the softmax, [heads, query,
key] (-1e30 at the lowest), in float64.
"""

import json
import math
import sys
import warnings
from pathlib import Path

import torch
from torch import nn

warnings.filterwarnings("ignore")
VOCAB, WIDTH, H, D, LAYERS = 50, 32, 4, 8, 2
TOKENS = [3, 7, 9, 11, 2, 5, 8]


def causal(n):
    return torch.ones(n, n).tril().bool()


class Plain(nn.Module):
    """Causal attention, pre-norm."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, WIDTH)
        self.qkv = nn.ModuleList([nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS)])
        self.o = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(LAYERS)])
        self.out = nn.Linear(WIDTH, VOCAB)

    def learned(self, *shape):
        return nn.ParameterList([nn.Parameter(torch.randn(*shape)) for _ in range(LAYERS)])

    def scores(self, layer, q, k):
        return q @ k.transpose(-1, -2) / math.sqrt(D)

    def mask(self, layer, scores):
        n = scores.shape[-1]
        return scores.masked_fill(~causal(n), float("-inf"))

    def pattern(self, scores):
        return scores.softmax(-1)

    def attend(self, layer, q, k, v):
        scores = self.mask(layer, self.scores(layer, q, k))
        self.seen.append(scores)
        return self.pattern(scores) @ v

    def body(self, x):
        self.seen = []
        for layer in range(LAYERS):
            b, n, _ = x.shape
            parts = self.qkv[layer](self.norms[layer](x)).chunk(3, -1)
            q, k, v = [part.view(b, n, H, D).transpose(1, 2) for part in parts]
            x = x + self.o[layer](self.attend(layer, q, k, v).transpose(1, 2).reshape(b, n, WIDTH))
        return x

    def forward(self, ids):
        return self.out(self.body(self.table(ids)))


class SoftPrompt(Plain):
    """Learned rows before the tokens."""

    def __init__(self):
        super().__init__()
        self.prompt = nn.Parameter(torch.randn(1, 2, WIDTH))

    def forward(self, ids):
        x = torch.cat([self.prompt.expand(ids.shape[0], -1, -1), self.table(ids)], 1)
        return self.out(self.body(x)[:, 2:])


class RowsBehind(SoftPrompt):
    """Learned rows after the tokens, without a mask: attention mixes them into every row of the second layer."""

    def mask(self, layer, scores):
        return scores

    def forward(self, ids):
        x = torch.cat([self.table(ids), self.prompt.expand(ids.shape[0], -1, -1)], 1)
        return self.out(self.body(x)[:, : ids.shape[1]])


class KeysBefore(Plain):
    """Learned keys and values in every layer (prefix tuning)."""

    def __init__(self):
        super().__init__()
        self.keys = self.learned(1, H, 4, D)

    def attend(self, layer, q, k, v):
        own = self.keys[layer].expand(k.shape[0], -1, -1, -1)
        return super().attend(layer, q, torch.cat([own, k], 2), torch.cat([own, v], 2))

    def mask(self, layer, scores):
        n = scores.shape[-2]
        seen = torch.cat([torch.ones(n, 4).bool(), causal(n)], 1)
        return scores.masked_fill(~seen, -1e9)


class KeysBehind(KeysBefore):
    """One learned key behind the others (add_bias_kv of nn.MultiheadAttention)."""

    def attend(self, layer, q, k, v):
        own = self.keys[layer][:, :, :1].expand(k.shape[0], -1, -1, -1)
        return Plain.attend(self, layer, q, torch.cat([k, own], 2), torch.cat([v, own], 2))

    def mask(self, layer, scores):
        return scores


class Temperature(Plain):
    """A learned factor a head."""

    def __init__(self):
        super().__init__()
        self.factors = self.learned(1, H, 1, 1)

    def scores(self, layer, q, k):
        return q @ k.transpose(-1, -2) * self.factors[layer].exp()


class LengthFactor(Plain):
    """A factor computed from the length."""

    def scores(self, layer, q, k):
        ones = torch.ones_like(q[0, 0, :, 0])
        return super().scores(layer, q, k) * torch.log(ones.sum() + 1)


class QueryFactor(Plain):
    """A factor computed from each query."""

    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleList([nn.Linear(D, 1) for _ in range(LAYERS)])

    def scores(self, layer, q, k):
        return q @ k.transpose(-1, -2) * torch.sigmoid(self.gates[layer](q))


class MaskByFactor(Plain):
    """GPT-2 of old: scores times the mask, less ten thousand where there is none."""

    def mask(self, layer, scores):
        seen = causal(scores.shape[-1]).float()
        return scores * seen - 1e4 * (1 - seen)


class LargeScores(Plain):
    """Real scores as low as masks."""

    def scores(self, layer, q, k):
        return -(q * 200) @ (k * 200).transpose(-1, -2)

    def mask(self, layer, scores):
        return scores.masked_fill(~causal(scores.shape[-1]), torch.finfo(torch.float32).min)


class Exponentials(Plain):
    """A softmax written out, with a guard."""

    def pattern(self, scores):
        exponentials = torch.exp(scores - scores.max(-1, keepdim=True)[0])
        return exponentials / (exponentials.sum(-1, keepdim=True) + 1e-9)


class PositionsFirst(Plain):
    """Einsum over [position, sequence], inside and outside, as in XLNet."""

    def body(self, x):
        self.seen = []
        for layer in range(LAYERS):
            n, b, _ = x.shape
            parts = self.qkv[layer](self.norms[layer](x)).chunk(3, -1)
            q, k, v = [part.reshape(n, b, H, D) for part in parts]
            scores = self.mask(layer, torch.einsum("ibnd,jbnd->bnij", q, k) / math.sqrt(D))
            self.seen.append(scores)
            attended = torch.einsum("bnij,jbnd->ibnd", scores.softmax(-1), v)
            x = x + self.o[layer](attended.reshape(n, b, WIDTH))
        return x


class FewKeys(Plain):
    """Keys projected to a fixed number of rows (Linformer)."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Parameter(torch.randn(5, 64) * 0.2)

    def attend(self, layer, q, k, v):
        projection = self.projection[:, : k.shape[2]]
        return super().attend(layer, q, projection @ k, projection @ v)

    def mask(self, layer, scores):
        return scores


class PooledQueries(Plain):
    """Every other query, repeated (Funnel)."""

    def attend(self, layer, q, k, v):
        half = super().attend(layer, q[:, :, ::2], k, v)
        return half.repeat_interleave(2, 2)[:, :, : q.shape[2]]

    def mask(self, layer, scores):
        return scores


MODELS = {
    "soft-prompt": SoftPrompt,
    "rows-behind": RowsBehind,
    "keys-before": KeysBefore,
    "keys-behind": KeysBehind,
    "temperature": Temperature,
    "length-factor": LengthFactor,
    "query-factor": QueryFactor,
    "mask-by-factor": MaskByFactor,
    "large-scores": LargeScores,
    "exponentials": Exponentials,
    "positions-first": PositionsFirst,
    "few-keys": FewKeys,
    "pooled-queries": PooledQueries,
}


def export(name, folder):
    torch.manual_seed(0)
    model = MODELS[name]().eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    turned = name == "positions-first"
    ids = torch.tensor([TOKENS]).T if turned else torch.tensor([TOKENS])
    axes = {0: "sequence", 1: "batch"} if turned else {0: "batch", 1: "sequence"}
    with torch.no_grad():
        torch.onnx.export(
            model,
            (torch.cat([ids, ids], 1 if turned else 0),),
            folder / f"{name}.onnx",
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes},
            opset_version=14,
        )
        model(ids)
    scores = [layer[0].double().clamp(min=-1e30).tolist() for layer in model.seen]
    (folder / f"{name}.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    for name in MODELS:
        export(name, Path(sys.argv[1]))
