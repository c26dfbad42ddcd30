"""Saves queries and keys of a torch model for qkspace: python3 save_activations.py OUT.npz

The model here is one attention layer with random weights; in a model of your own, hook the modules that give queries
and keys as they enter the dot product: after rotation by position, where there is one. An ActivationCache of
TransformerLens has the names and shapes already:

    names = [name for name in cache if name.endswith(("hook_rot_q", "hook_rot_k"))]
    numpy.savez("out.npz", **{name: cache[name].float().cpu().numpy() for name in names})
"""

import sys

import numpy
import torch

HEADS, KEY_HEADS, D, WIDTH = 4, 2, 8, 16


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj = torch.nn.Linear(WIDTH, HEADS * D)
        self.k_proj = torch.nn.Linear(WIDTH, KEY_HEADS * D)

    def forward(self, x):
        q = self.q_proj(x).unflatten(-1, (HEADS, D))
        k = self.k_proj(x).unflatten(-1, (KEY_HEADS, D)).repeat_interleave(HEADS // KEY_HEADS, dim=2)
        return torch.einsum("bqhd,bkhd->bhqk", q, k)


if __name__ == "__main__":
    torch.manual_seed(0)
    layer = Layer()
    saved = {}

    def keep(name, heads):
        """A hook that keeps [batch, pos, heads * d] as [batch, pos, head, d], in float32."""

        def hook(module, inputs, output):
            saved[name] = output.detach().unflatten(-1, (heads, D)).float().cpu().numpy()

        return hook

    layer.q_proj.register_forward_hook(keep("blocks.0.attn.hook_q", HEADS))
    layer.k_proj.register_forward_hook(keep("blocks.0.attn.hook_k", KEY_HEADS))
    layer(torch.randn(6, 10, WIDTH))  # [batch, pos, width]: embedded prompts of a model of your own
    numpy.savez(sys.argv[1], **saved)
