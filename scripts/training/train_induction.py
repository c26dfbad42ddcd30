#!/usr/bin/env python3
"""Train the bundled induction model and write induction.onnx and induction.json.

The model is a causal decoder of two layers of attention and nothing else, trained on random
tokens in which a segment comes twice:

  prefix, segment, gap, segment again, suffix

Lengths of the segment, the gap and the prefix are drawn for every sequence; otherwise a model
learns the distance of the two copies and never compares tokens. The loss is the cross-entropy
of the second copy from its second token on. Nothing tells any head where to look; what the
heads do is measured afterwards and stored beside the model. It needs torch, numpy and onnx.

  python3 scripts/training/train_induction.py                                          train, measure, export
  python3 scripts/training/train_induction.py --seed 2 --out other/induction.onnx      another seed, elsewhere
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BUNDLED = Path(__file__).resolve().parents[2] / "lib" / "bundled"

VOCABULARY = 64
LENGTH = 48
SEGMENT = (4, 16)  # shortest and longest segment
GAP = (0, 16)  # fewest and most tokens between its copies


# --------------------------------------------------------------------------- sequences


@dataclass
class Batch:
    """Sequences of LENGTH tokens, and where their copies lie."""

    tokens: np.ndarray  # [batch, LENGTH]
    second: np.ndarray  # [batch, LENGTH]: positions of the second copy
    answers: np.ndarray  # [batch, LENGTH]: those of them whose token can be predicted


def draw(rng, count):
    """Random tokens, drawn with replacement, in which one segment comes twice."""
    tokens = rng.integers(0, VOCABULARY, (count, LENGTH))
    segment = rng.integers(SEGMENT[0], SEGMENT[1] + 1, count)
    gap = rng.integers(GAP[0], GAP[1] + 1, count)
    first = rng.integers(0, LENGTH - 2 * segment - gap + 1)
    again = first + segment + gap
    place = np.arange(LENGTH)[None]
    second = (place >= again[:, None]) & (place < (again + segment)[:, None])
    source = np.where(second, place - (segment + gap)[:, None], place)
    tokens = np.take_along_axis(tokens, source, axis=1)
    return Batch(tokens, second, second & (place > again[:, None]))


# --------------------------------------------------------------------------- the model


class Attention(nn.Module):
    def __init__(self, width, heads, head_dim):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.keep_pattern, self.pattern = False, None
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)

    def split(self, x):
        batch, length, _ = x.shape
        return x.view(batch, length, self.heads, self.head_dim).transpose(1, 2)

    def forward(self, x, mask):
        batch, length, _ = x.shape
        q, k, v = self.split(self.q_proj(x)), self.split(self.k_proj(x)), self.split(self.v_proj(x))
        scores = torch.matmul(q, k.transpose(2, 3)) * (1.0 / math.sqrt(self.head_dim))
        pattern = torch.softmax(scores + mask, dim=-1)
        if self.keep_pattern:
            self.pattern = pattern
        mixed = torch.matmul(pattern, v)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_dim))


class Decoder(nn.Module):
    """Attention-only: each layer adds what its heads read to the residual stream."""

    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, config["width"])
        self.positions = nn.Embedding(LENGTH, config["width"])
        self.norms = nn.ModuleList(nn.LayerNorm(config["width"]) for _ in range(config["layers"]))
        self.layers = nn.ModuleList(
            Attention(config["width"], config["heads"], config["head_dim"]) for _ in range(config["layers"])
        )
        self.norm = nn.LayerNorm(config["width"])
        self.lm_head = nn.Linear(config["width"], VOCABULARY, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=config["init"])

    def forward(self, input_ids, attention_mask):
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        causal = position[None, :] <= position[:, None]
        allowed = causal[None, None] & (attention_mask[:, None, None, :] > 0)
        mask = (1.0 - allowed.float()) * -1e9
        x = self.embed(input_ids) + self.positions(position)
        for norm, layer in zip(self.norms, self.layers):
            x = x + layer(norm(x), mask)
        return self.lm_head(self.norm(x))


# --------------------------------------------------------------------------- training


def predictions(model, batch):
    """Logits at the positions before the answers, and the answers."""
    tokens = torch.from_numpy(batch.tokens)
    answers = torch.from_numpy(batch.answers)
    logits = model(tokens, torch.ones_like(tokens))
    return logits[:, :-1][answers[:, 1:]], tokens[answers]


def learning_rate(step, args):
    """Linear warmup, then a cosine down to a twentieth."""
    if step < args.warmup:
        return args.lr * (step + 1) / args.warmup
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return args.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def train(model, args):
    rng = np.random.default_rng(args.seed)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.weight_decay}, {"params": gains, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98),
    )
    began = time.time()
    seen = []
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        logits, target = predictions(model, draw(rng, args.batch))
        loss = F.cross_entropy(logits, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append((loss.item(), (logits.argmax(-1) == target).float().mean().item()))
        if (step + 1) % args.log_every == 0 or step + 1 == args.steps:
            loss, right = np.mean(seen, axis=0)
            seen = []
            print(f"step {step + 1:5d}  loss {loss:.4f}, right {right:.4f}  {time.time() - began:.0f} s", flush=True)


# --------------------------------------------------------------------------- measuring


def mean_mass(pattern, keys, rows):
    """Per head, the mean over the rows of the total attention on their keys."""
    mass = (pattern * keys[:, None]).sum(-1)
    return (mass * rows[:, None]).sum((0, 2)) / rows.sum()


def attention_of(pattern, batch):
    """What one layer's heads attend to; `pattern` is [batch, head, query, key]."""
    tokens = batch.tokens
    place = np.arange(LENGTH)
    every = np.ones_like(batch.second)
    before = np.broadcast_to(place[None, :] == place[:, None] - 1, (len(tokens), LENGTH, LENGTH))
    copies = (tokens[:, :, None] == tokens[:, None, :]) & (place[None, :] < place[:, None])
    followers = np.zeros_like(copies)
    followers[:, :, 1:] = copies[:, :, :-1]
    start = np.broadcast_to(place == 0, before.shape)
    return {
        "previous": mean_mass(pattern, before, every & (place >= 1)),
        "same": mean_mass(pattern, copies, copies.any(-1)),
        "induction": mean_mass(pattern, followers, batch.second),
        "first": mean_mass(pattern, start, every & (place >= 4)),
    }


@torch.no_grad()
def measure(model, args):
    """Accuracy and plain attention on fresh sequences, rounded."""
    batch = draw(np.random.default_rng(args.measure_seed), args.sequences)
    for layer in model.layers:
        layer.keep_pattern = True
    logits, target = predictions(model, batch)
    attention = {}
    for i, layer in enumerate(model.layers):
        figures = attention_of(layer.pattern.numpy(), batch)
        for head in range(layer.heads):
            attention[f"L{i}H{head}"] = {name: round(float(values[head]), 4) for name, values in figures.items()}
        layer.keep_pattern, layer.pattern = False, None
    return round((logits.argmax(-1) == target).float().mean().item(), 4), attention


# --------------------------------------------------------------------------- writing


def export(model, path):
    """Write the model with torch's own exporter; batch and length stay free."""
    import onnx

    ids = torch.zeros((2, 7), dtype=torch.int64)
    free = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        model, (ids, torch.ones_like(ids)), str(path),
        input_names=["input_ids", "attention_mask"], output_names=["logits"],
        dynamic_axes={"input_ids": free, "attention_mask": free, "logits": free},
        opset_version=14, do_constant_folding=True,
    )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    print(f"{path.name}: {path.stat().st_size} bytes")


def write_figures(path, args, accuracy, attention):
    """The figures and how the sequences were drawn, one head a line."""
    known = {
        "seed": args.seed, "steps": args.steps, "accuracy": accuracy, "sequences": args.sequences,
        "vocabulary": VOCABULARY, "length": LENGTH, "segment": SEGMENT, "gap": GAP,
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in known.items()]
    heads = [f"    {json.dumps(head)}: {json.dumps(figures)}" for head, figures in attention.items()]
    text = "\n".join(["{", *lines, '  "attention": {', ",\n".join(heads), "  }", "}"])
    path.write_text(text + "\n")
    print(text)


# --------------------------------------------------------------------------- the command


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=BUNDLED / "induction.onnx", help="the figures are written beside it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--sequences", type=int, default=1000, help="fresh sequences to measure on")
    parser.add_argument("--measure-seed", type=int, default=20_001, help="seed of those sequences")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=16)
    parser.add_argument("--init", type=float, default=0.08, help="standard deviation of the first weights")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--log-every", type=int, default=100)
    return parser.parse_args()


def main():
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = Decoder({name: getattr(args, name) for name in ["layers", "width", "heads", "head_dim", "init"]})
    print(f"{sum(p.numel() for p in model.parameters())} parameters")
    train(model, args)
    model.eval()
    accuracy, attention = measure(model, args)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    export(model, args.out)
    write_figures(args.out.with_suffix(".json"), args, accuracy, attention)


if __name__ == "__main__":
    main()
