#!/usr/bin/env python3
"""Train the bundled decoder and write boxes.onnx and boxes.tokenizer.json.

The model is a small decoder of the usual kind (RMSNorm, rotary positions, grouped keys,
SwiGLU), trained from scratch on two families of prompts:

  boxes       The apple is in Box O, the pear is in Box A. Which box is the pear in? Box
  categories  Items:
              - apple
              - hammer
              Question: which item is a fruit?
              Answer:

The words are those of words.json. It needs torch, numpy and onnx, and one CPU core;
--evaluate needs onnxruntime as well.

  python3 scripts/training/train_transformer.py                                       train, measure, export
  python3 scripts/training/train_transformer.py --evaluate lib/bundled/boxes.onnx     measure an exported model
"""

import argparse
import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

BUNDLED = Path(__file__).resolve().parents[2] / "lib" / "bundled"

SPECIAL = ["<unk>", "<pad>", "<s>"]

# The wording, piece by piece; names in braces are slots. Training texts go on asking after
# the first answer, prompts end just before it.
FIRST_PAIR = "The {object} is in Box {box}"
NEXT_PAIR = ", the {object} is in Box {box}"
BOX_QUESTION = ". Which box is the {asked} in? Box {answer}"
LIST_HEAD = "Items:"
LIST_ITEM = "\n- {item}"
CATEGORY_QUESTION = "\nQuestion: which item is a {category}?\nAnswer: {answer}"

ROUTES = ["both", "order", "names"]
FEWEST_PAIRS, MOST_PAIRS = 2, 8
FEWEST_ITEMS, MOST_ITEMS = 3, 8


# --------------------------------------------------------------------------- words and prompts


def split_words(text):
    """Split as the tokenizer's `Whitespace` pre-tokenizer does: words, and runs of punctuation."""
    return re.findall(r"\w+|[^\w\s]+", text)


class Vocabulary:
    """Every word of words.json and of the wording, one token each."""

    def __init__(self, words):
        self.categories = list(words["categories"])
        wording = [FIRST_PAIR, NEXT_PAIR, BOX_QUESTION, LIST_HEAD, LIST_ITEM, CATEGORY_QUESTION]
        template = [w for piece in wording for w in split_words(re.sub(r"\{\w+\}", " ", piece))]
        members = [w for name in self.categories for w in words["categories"][name]]
        self.words = list(
            dict.fromkeys(SPECIAL + template + words["boxes"] + words["objects"] + self.categories + members)
        )
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.objects = self.encode_words(words["objects"])
        self.boxes = self.encode_words(words["boxes"])
        self.category_names = self.encode_words(self.categories)
        self.members = np.stack([self.encode_words(words["categories"][name]) for name in self.categories])

    def encode_words(self, words):
        return np.array([self.ids[w] for w in words], dtype=np.int64)

    def encode(self, text):
        return [self.ids["<s>"]] + [self.ids.get(w, self.ids["<unk>"]) for w in split_words(text)]


@dataclass
class Hop:
    """Where a head is shown to look, by `guidance`, while training begins."""

    layer: int
    head: int
    rows: np.ndarray  # the columns that look
    targets: np.ndarray  # [batch, rows]: the column each of them looks at
    closed_by: str = ""  # the route (see `two_readings`) on which this cannot be seen


@dataclass
class Batch:
    """Token sequences of equal length, and what is known of them."""

    tokens: np.ndarray  # [batch, length]
    answers: np.ndarray  # the columns that hold answers
    object_at: np.ndarray = None  # boxes only: the columns of the list's objects,
    box_at: np.ndarray = None  # of its boxes,
    twins: np.ndarray = None  # [batch, pairs]: the objects as the list's own tokens see them
    hops: tuple = ()


class Columns:
    """A batch of token sequences of equal length, written a column at a time."""

    def __init__(self, vocabulary, batch):
        self.vocabulary = vocabulary
        self.batch = batch
        self.columns = [np.full(batch, vocabulary.ids["<s>"])]
        self.answers = []
        self.places = {}

    def say(self, piece, **slots):
        """Append one piece of the wording; a slot's value is one token per sequence."""
        for word in re.findall(r"\{\w+\}|\w+|[^\w\s{}]+", piece):
            if word.startswith("{"):
                name = word[1:-1]
                if name == "answer":
                    self.answers.append(len(self.columns))
                self.places[name] = len(self.columns)
                self.columns.append(slots[name])
            else:
                self.columns.append(np.full(self.batch, self.vocabulary.ids[word]))

    def finish(self, **known):
        return Batch(np.stack(self.columns, axis=1), np.array(self.answers), **known)


def choose(rng, batch, population, count):
    """`count` different indices below `population` for each of `batch` rows."""
    return np.argsort(rng.random((batch, population)), axis=1)[:, :count]


def swap_some(rng, batch, pairs, rate):
    """Permutations of `pairs` places that are the identity but for a few swaps of two places."""
    rows = np.arange(batch)
    places = np.tile(np.arange(pairs), (batch, 1))
    order = choose(rng, batch, pairs, pairs)
    for first in range(0, pairs - 1, 2):
        i, j = order[:, first], order[:, first + 1]
        swapped = rng.random(batch) < rate
        places[rows[swapped], i[swapped]] = j[swapped]
        places[rows[swapped], j[swapped]] = i[swapped]
    return places


def boxes_batch(rng, vocabulary, batch, pairs, questions, lies=0.0):
    """One list of pairs a sequence, and questions about it; see `two_readings` for the lies.

    Objects are asked with replacement: without it the later answers could be had by elimination,
    and a model learns that long before it learns to look.
    """
    rows = np.arange(batch)[:, None]
    objects = vocabulary.objects[choose(rng, batch, len(vocabulary.objects), pairs)]
    boxes = vocabulary.boxes[choose(rng, batch, len(vocabulary.boxes), pairs)]
    asked = rng.integers(0, pairs, (batch, questions))
    for_questions = swap_some(rng, batch, pairs, lies)
    for_list = swap_some(rng, batch, pairs, lies)
    out = Columns(vocabulary, batch)
    object_at, box_at, asked_at = [], [], []
    for i in range(pairs):
        out.say(NEXT_PAIR if i else FIRST_PAIR, object=objects[rows[:, 0], for_questions[:, i]], box=boxes[:, i])
        object_at.append(out.places["object"])
        box_at.append(out.places["box"])
    for i in range(questions):
        out.say(BOX_QUESTION, asked=objects[rows[:, 0], asked[:, i]], answer=boxes[rows[:, 0], asked[:, i]])
        asked_at.append(out.places["asked"])
    object_at, box_at, last = np.array(object_at), np.array(box_at), np.array(out.answers) - 1
    twin_at = len(out.columns) - 1 + np.arange(pairs)
    boxes_and_questions = np.concatenate([box_at, last])
    their_objects = np.tile(np.concatenate([twin_at, asked_at]), (batch, 1))
    in_list = object_at[for_questions[rows, asked]]  # a swap is its own inverse
    hops = (
        Hop(0, 0, boxes_and_questions, their_objects, closed_by="order"),
        Hop(-2, 0, last, in_list, closed_by="names"),
        Hop(-1, 0, last, box_at[asked]),
    )
    return out.finish(object_at=object_at, box_at=box_at, twins=objects[rows, for_list], hops=hops)


def categories_batch(rng, vocabulary, batch, items, questions):
    """A list in which each asked category has exactly one item, and one question for each."""
    rows = np.arange(batch)
    kinds, size = vocabulary.members.shape
    order = choose(rng, batch, kinds, kinds)
    asked = order[:, :questions]
    others = order[rows[:, None], rng.integers(questions, kinds, (batch, items - questions))]
    kind = np.concatenate([asked, others], axis=1)
    # Words are dealt from shuffled categories, so none is dealt twice.
    shuffled = np.argsort(rng.random((batch, kinds, size)), axis=2)
    dealt = np.zeros((batch, kinds), dtype=np.int64)
    listed = np.empty((batch, items), dtype=np.int64)
    for i in range(items):
        k = kind[:, i]
        listed[:, i] = vocabulary.members[k, shuffled[rows, k, dealt[rows, k]]]
        dealt[rows, k] += 1
    answers = listed[:, :questions]
    place = choose(rng, batch, items, items)
    listed = np.take_along_axis(listed, place, axis=1)
    out = Columns(vocabulary, batch)
    out.say(LIST_HEAD)
    item_at, category_at = [], []
    for i in range(items):
        out.say(LIST_ITEM, item=listed[:, i])
        item_at.append(out.places["item"])
    for i in range(questions):
        out.say(CATEGORY_QUESTION, category=vocabulary.category_names[asked[:, i]], answer=answers[:, i])
        category_at.append(out.places["category"])
    last = np.array(out.answers) - 1
    answer_at = np.array(item_at)[np.argsort(place, axis=1)[:, :questions]]
    hops = Hop(0, 2, last, np.tile(category_at, (batch, 1))), Hop(-1, 2, last, answer_at)
    return out.finish(hops=hops)


# --------------------------------------------------------------------------- the model


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate_half(x):
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


class Attention(nn.Module):
    """Plain attention; each key head serves `heads / kv_heads` query heads."""

    def __init__(self, width, heads, kv_heads, head_dim):
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim
        self.keep_pattern, self.pattern = False, None
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)

    def repeat(self, x):
        batch, _, length, dim = x.shape
        groups = self.heads // self.kv_heads
        x = x[:, :, None].expand(batch, self.kv_heads, groups, length, dim)
        return x.reshape(batch, self.heads, length, dim)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        q = self.q_proj(x).view(batch, length, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.kv_heads, self.head_dim).transpose(1, 2)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        scores = torch.matmul(q, self.repeat(k).transpose(2, 3)) * (1.0 / math.sqrt(self.head_dim))
        pattern = torch.softmax(scores + mask, dim=-1)
        if self.keep_pattern:
            self.pattern = pattern
        mixed = torch.matmul(pattern, self.repeat(v))
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, length, self.heads * self.head_dim))


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_norm = RMSNorm(config["width"])
        self.attention = Attention(config["width"], config["heads"], config["kv_heads"], config["head_dim"])
        self.output_norm = RMSNorm(config["width"])
        self.mlp = FeedForward(config["width"], config["hidden"])

    def forward(self, x, cos, sin, mask):
        x = x + self.attention(self.input_norm(x), cos, sin, mask)
        return x + self.mlp(self.output_norm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config["vocabulary"], config["width"])
        self.layers = nn.ModuleList(Block(config) for _ in range(config["layers"]))
        self.norm = RMSNorm(config["width"])
        self.lm_head = nn.Linear(config["width"], config["vocabulary"], bias=False)
        exponent = torch.arange(0, config["head_dim"], 2).float() / config["head_dim"]
        self.register_buffer("frequencies", config["theta"] ** -exponent, persistent=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=config["init"])

    def forward(self, input_ids, attention_mask):
        position = torch.arange(input_ids.shape[1], device=input_ids.device)
        causal = position[None, :] <= position[:, None]
        return self.run(input_ids, position, causal[None, None] & (attention_mask[:, None, None, :] > 0))

    def run(self, input_ids, position, allowed):
        """Logits, given each token's position and what each token may look at."""
        angle = position[:, None].float() * self.frequencies[None, :]
        angle = torch.cat((angle, angle), dim=-1)
        cos, sin = angle.cos(), angle.sin()
        mask = (1.0 - allowed.float()) * -1e9
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x, cos, sin, mask)
        return self.lm_head(self.norm(x))


# --------------------------------------------------------------------------- training


def two_readings(batch, routes):
    """The input of a batch about boxes, in which the list's objects stand twice.

    A box can be found in two ways: by name (each box of the list collects its object's name, and
    the question matches names) or by order (the question finds the object in the list, then the
    box of the same place in the order). Names are learned first, and then nothing asks for the
    order. So in training each object of the list has a twin at the same position: the rest of
    the list sees the twins, the questions see the originals. Where they differ, one of the two
    ways is misled; as either is wrong now and then, and independently, the best that can be done
    is to weigh one against the other. `routes` also closes a way altogether: "order" hides the
    twins from the list, "names" hides the originals from the questions.

    With all twins equal to their originals, and "both", this is what the bare text says.
    """
    size, length = batch.tokens.shape
    pairs = len(batch.object_at)
    tokens = np.concatenate([batch.tokens[:, :-1], batch.twins], axis=1)
    position = np.concatenate([np.arange(length - 1), batch.object_at])
    index = np.arange(len(tokens[0]))
    twin = index >= length - 1
    original = np.isin(index, batch.object_at)
    question = ~twin & (index > batch.box_at[-1])
    earlier = (position[None, :] < position[:, None]) | (index[None, :] == index[:, None])
    itself = np.eye(len(index), dtype=bool)
    allowed = np.tile(earlier & np.where(question[:, None], ~twin[None, :], ~original[None, :] | itself), (size, 1, 1))
    allowed[routes == "order"] &= ~twin[None, :] | itself
    allowed[routes == "names"] &= ~original[None, :] | itself
    return torch.from_numpy(tokens), torch.from_numpy(position), torch.from_numpy(allowed[:, None])


def guidance(model, batch, routes):
    """How far some heads are from attending as the batch's hops say.

    Binding takes several hops and none earns anything before the others are there: left alone,
    training sits on a plateau for thousands of steps. So the hops are shown at first; the weight
    of this falls to zero, and what the heads then do is what the answers alone reward. For
    categories it only gathers in one head what would be spread over many.
    """
    total = 0.0
    for hop in batch.hops:
        rows, targets = torch.from_numpy(hop.rows), torch.from_numpy(hop.targets)
        pattern = model.layers[hop.layer].attention.pattern[:, hop.head, rows]
        mass = pattern.gather(2, targets[:, :, None])
        if hop.closed_by:
            mass = mass[torch.from_numpy(routes != hop.closed_by)]
        total = total - torch.log(mass + 1e-6).mean()
    return total


def answer_loss(model, batch, routes=None, guide=0.0):
    """Cross-entropy on the answers, and the guidance while there is any; how often it is right."""
    answers = torch.from_numpy(batch.answers)
    target = torch.from_numpy(batch.tokens)[:, answers]
    for layer in model.layers:
        layer.attention.keep_pattern = guide > 0
    if routes is None:
        tokens = torch.from_numpy(batch.tokens[:, :-1])
        logits = model(tokens, torch.ones_like(tokens))
    else:
        logits = model.run(*two_readings(batch, routes))
    logits = logits[:, answers - 1]
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    if guide > 0:
        loss = loss + guide * guidance(model, batch, routes)
    return loss, (logits.argmax(-1) == target).float().mean().item()


def learning_rate(step, args):
    """Linear warmup, then a cosine down to a twentieth."""
    if step < args.warmup:
        return args.lr * (step + 1) / args.warmup
    done = (step - args.warmup) / max(1, args.steps - args.warmup)
    return args.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def training_batches(rng, vocabulary, args):
    """One batch of each family; all sequences of a batch have the same length."""
    pairs = int(rng.integers(FEWEST_PAIRS, MOST_PAIRS + 1))
    items = int(rng.integers(FEWEST_ITEMS, MOST_ITEMS + 1))
    boxes = boxes_batch(rng, vocabulary, args.batch, pairs, args.questions, args.lies)
    categories = categories_batch(rng, vocabulary, args.batch // 2, items, int(rng.integers(1, 4)))
    return boxes, categories


def train(model, vocabulary, args):
    rng = np.random.default_rng(args.seed)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    gains = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.weight_decay}, {"params": gains, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98),
    )
    routes = np.array(ROUTES)[np.arange(args.batch) % len(ROUTES)]
    began = time.time()
    seen = []
    for step in range(args.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args)
        guide = max(0.0, 1 - step / args.guide_steps) if args.guide_steps else 0.0
        boxes, categories = training_batches(rng, vocabulary, args)
        boxes_loss, boxes_accuracy = answer_loss(model, boxes, routes, guide)
        categories_loss, categories_accuracy = answer_loss(model, categories, guide=guide)
        optimizer.zero_grad()
        (boxes_loss + categories_loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seen.append((boxes_loss.item(), boxes_accuracy, categories_loss.item(), categories_accuracy))
        if (step + 1) % args.log_every == 0 or step + 1 == args.steps:
            mean = np.mean(seen, axis=0)
            seen = []
            print(f"step {step + 1:5d}  boxes: loss {mean[0]:.4f}, right {mean[1]:.4f}  "
                  f"categories: loss {mean[2]:.4f}, right {mean[3]:.4f}  {time.time() - began:.0f} s", flush=True)


# --------------------------------------------------------------------------- measuring


def boxes_prompt(rng, words, pairs):
    """A prompt as a user would write it, and its answer."""
    objects = rng.permutation(words["objects"])[:pairs]
    boxes = rng.permutation(words["boxes"])[:pairs]
    listed = ", ".join(f"the {o} is in Box {b}" for o, b in zip(objects, boxes))
    asked = rng.integers(pairs)
    return f"T{listed[1:]}. Which box is the {objects[asked]} in? Box", boxes[asked]


def categories_prompt(rng, words, items):
    """A prompt as a user would write it, and its answer; one item only is of the asked category."""
    asked = str(rng.choice(list(words["categories"])))
    answer = rng.choice(words["categories"][asked])
    others = [w for name, members in words["categories"].items() if name != asked for w in members]
    listed = rng.permutation([answer, *rng.permutation(others)[: items - 1]])
    bullets = "".join(f"\n- {item}" for item in listed)
    return f"Items:{bullets}\nQuestion: which item is a {asked}?\nAnswer:", answer


def accuracy(predict, vocabulary, prompts):
    """How often the likeliest token after the prompt, of all tokens, is the answer."""
    texts, answers = zip(*prompts)
    tokens = np.array([vocabulary.encode(text) for text in texts])
    wanted = vocabulary.encode_words(answers)
    parts = zip(np.array_split(tokens, max(1, len(tokens) // 250)), np.array_split(wanted, max(1, len(tokens) // 250)))
    return float(np.mean(np.concatenate([predict(t)[:, -1].argmax(-1) == w for t, w in parts])))


def measure(predict, vocabulary, words, seed, count):
    """Accuracy on fresh prompts of every size, printed as two tables."""
    rng = np.random.default_rng(seed)
    families = [
        ("boxes", "pairs", boxes_prompt, range(FEWEST_PAIRS, MOST_PAIRS + 1)),
        ("categories", "items", categories_prompt, range(FEWEST_ITEMS, MOST_ITEMS + 1)),
    ]
    for name, unit, make, sizes in families:
        rates = [accuracy(predict, vocabulary, [make(rng, words, n) for _ in range(count)]) for n in sizes]
        print(f"{name}: {np.mean(rates):.4f} of {count * len(rates)} prompts")
        for n, rate in zip(sizes, rates):
            print(f"  {n:2d} {unit}  {rate:.4f}")


@torch.no_grad()
def measure_routes(model, vocabulary, seed, count):
    """Accuracy on boxes with a route closed: how far either would do alone."""
    rng = np.random.default_rng(seed)
    for route in ROUTES:
        rates = []
        for pairs in range(FEWEST_PAIRS, MOST_PAIRS + 1):
            batch = boxes_batch(rng, vocabulary, count, pairs, 1)
            rates.append(answer_loss(model, batch, np.full(count, route))[1])
        print(f"boxes, open to {route}: {np.mean(rates):.4f}   by pairs: {' '.join(f'{r:.3f}' for r in rates)}")


def torch_predictor(model):
    def predict(tokens):
        with torch.no_grad():
            ids = torch.from_numpy(tokens)
            return model(ids, torch.ones_like(ids)).numpy()

    return predict


def onnx_predictor(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(tokens):
        return session.run(["logits"], {"input_ids": tokens, "attention_mask": np.ones_like(tokens)})[0]

    return predict


# --------------------------------------------------------------------------- writing


def export(model, path):
    """Write the model with torch's own exporter; batch and length stay free."""
    import onnx

    ids = torch.full((2, 7), SPECIAL.index("<s>"), dtype=torch.int64)
    free = {0: "batch", 1: "sequence"}
    torch.onnx.export(
        model, (ids, torch.ones_like(ids)), str(path),
        input_names=["input_ids", "attention_mask"], output_names=["logits"],
        dynamic_axes={"input_ids": free, "attention_mask": free, "logits": free},
        opset_version=14, do_constant_folding=True,
    )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    print(f"{path.name}: {path.stat().st_size} bytes")


def write_tokenizer(vocabulary, path):
    """The vocabulary in the format of Hugging Face's tokenizers: one word, one token."""
    start = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    special = [
        {"id": vocabulary.ids[word], "content": word, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
        for word in SPECIAL
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [start, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [vocabulary.ids["<s>"]], "tokens": ["<s>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary.ids, "unk_token": "<unk>"},
    }
    path.write_text(json.dumps(tokenizer, indent=1) + "\n")


# --------------------------------------------------------------------------- the command


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out-dir", type=Path, default=BUNDLED)
    parser.add_argument("--evaluate", type=Path, metavar="MODEL.onnx", help="measure this model and stop")
    parser.add_argument("--count", type=int, default=1000, help="fresh prompts of each size to measure on")
    parser.add_argument("--measure-seed", type=int, default=20_001, help="seed of those prompts")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=192, help="width of the SwiGLU layer")
    parser.add_argument("--theta", type=float, default=10_000.0, help="base of the rotary frequencies")
    parser.add_argument("--init", type=float, default=0.08, help="standard deviation of the first weights")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--questions", type=int, default=8, help="questions after each list of boxes")
    parser.add_argument("--lies", type=float, default=0.1, help="how often either way to a box is misled")
    parser.add_argument("--guide-steps", type=int, default=1000, help="steps over which the guidance fades out")
    parser.add_argument("--log-every", type=int, default=100)
    return parser.parse_args()


def main():
    args = parse()
    words = json.loads((BUNDLED / "words.json").read_text())
    vocabulary = Vocabulary(words)
    if args.evaluate:
        measure(onnx_predictor(args.evaluate), vocabulary, words, args.measure_seed, args.count)
        return
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    names = ["layers", "width", "heads", "kv_heads", "head_dim", "hidden", "theta", "init"]
    model = Decoder({"vocabulary": len(vocabulary.words), **{name: getattr(args, name) for name in names}})
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(vocabulary.words)} words")
    train(model, vocabulary, args)
    model.eval()
    measure(torch_predictor(model), vocabulary, words, args.measure_seed, args.count)
    measure_routes(model, vocabulary, args.measure_seed, args.count)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    export(model, args.out_dir / "boxes.onnx")
    write_tokenizer(vocabulary, args.out_dir / "boxes.tokenizer.json")


if __name__ == "__main__":
    main()
