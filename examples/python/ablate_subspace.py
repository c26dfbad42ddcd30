"""Takes a subspace out of queries in a torch forward hook: python3 ablate_subspace.py SUBSPACES.npz ACTIVATIONS.npz LAYER

SUBSPACES.npz is written by `qkspace export RESULT --for transformer-lens --out SUBSPACES.npz`. Its arrays have the names
of TransformerLens hooks, so that `remove` works as one of them too:

    model.run_with_hooks(tokens, fwd_hooks=[(name, lambda q, hook: remove(q, basis))])

ACTIVATIONS.npz holds queries and keys of that layer. Prints how much attention scores change, by head, beside the
same of null subspaces: what exchanged prompts move as well is no effect of the feature.
"""

import json
import sys

import numpy
import torch


class Attention(torch.nn.Module):
    """Scores of queries [batch, pos, head, d] and keys [batch, pos, key head, d], with a place to hook into."""

    def __init__(self):
        super().__init__()
        self.hook_q = torch.nn.Identity()

    def forward(self, q, k):
        q = self.hook_q(q)
        k = k.repeat_interleave(q.shape[2] // k.shape[2], dim=2)
        return torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[3] ** 0.5


def remove(q, basis):
    """q less its projection on the subspace of its head; basis [head, d, rank]. Columns of zeros change nothing."""
    along = torch.einsum("bphd,hdr->bphr", q, basis)
    return q - torch.einsum("bphr,hdr->bphd", along, basis)


def change_of_scores(attention, q, k, basis):
    """Root mean square, by head, of the change of scores when the subspace is taken out of all queries."""
    plain = attention(q, k)
    handle = attention.hook_q.register_forward_hook(lambda module, inputs, output: remove(output, basis))
    edited = attention(q, k)
    handle.remove()
    return ((edited - plain) ** 2).mean(dim=(0, 2, 3)).sqrt().tolist()


if __name__ == "__main__":
    subspaces, activations = numpy.load(sys.argv[1]), numpy.load(sys.argv[2])
    prefix = f"blocks.{sys.argv[3]}.attn.hook_"
    rotated = "rot_" if prefix + "rot_q" in activations else ""
    tensor = lambda file, name: torch.from_numpy(file[name].astype("float64"))
    q, k = (tensor(activations, f"{prefix}{rotated}{side}") for side in "qk")
    name = f"{prefix}{rotated}q"
    attention = Attention()
    subspace = change_of_scores(attention, q, k, tensor(subspaces, name))
    nulls = [change_of_scores(attention, q, k, basis) for basis in tensor(subspaces, name + ".null")]
    print(json.dumps({"change": subspace, "null_largest": numpy.max(nulls, axis=0).tolist()}))
