"""Reads a saved result with numpy alone: python3 read_result.py RESULT.safetensors|RESULT.npz HEAD CONTRAST

Prints what a script would go on with: rank, singular values and their null, the angle between the first query-side
direction and each axis. The safetensors package does the same as read_safetensors, where it is installed.
"""

import json
import struct
import sys

import numpy


def read_safetensors(path):
    """Metadata and arrays of a .safetensors file: a length, a JSON header, then the bytes of all tensors."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    metadata = header.pop("__metadata__", {})
    types = {"F32": "<f4", "F64": "<f8"}
    arrays = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        arrays[name] = numpy.frombuffer(data[start:end], types[entry["dtype"]]).reshape(entry["shape"])
    return metadata, arrays


def read_result(path):
    """The document of a result (settings, tests of all heads), and its arrays by name, as in L3H0.order.u."""
    if path.endswith(".npz"):
        arrays = numpy.load(path)  # without pickles, as is numpy's default
        return json.loads(arrays["qkspace"].item()), arrays
    metadata, arrays = read_safetensors(path)
    return json.loads(metadata["qkspace"]), arrays


if __name__ == "__main__":
    path, head, contrast = sys.argv[1:]
    info, arrays = read_result(path)
    u, s, v = (arrays[f"{head}.{contrast}.{part}"] for part in "usv")
    test = info["heads"][head][contrast].get("test", {})
    print(json.dumps({
        "rank": len(s),
        "s": s.tolist(),
        "null_p95": test.get("null", {}).get("p95"),
        "first_query_direction": u[:, 0].tolist() if len(s) else None,
        # Columns are orthonormal: this is 0 but for rounding.
        "orthogonality": float(abs(v.T @ v - numpy.eye(len(s))).max()) if len(s) else 0.0,
    }))
