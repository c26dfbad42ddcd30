"""PyTorch and CuPy on the same GPU: ceilings and peers of bench:gpu, as one JSON document on standard output.

    python3 peers.py '{"rows": 1048576, "heads": 32, ...}'        sizes, as bench/gpu/sizes.mjs names them
    python3 peers.py '{...}' --cpu                                 the same arithmetic on the processor, to try it

Every peer is compared with float64 on a small case before it is timed. Times are milliseconds by the device's events,
on fresh random data each time, after a buffer larger than the caches has been written. A peer whose module is not
installed is absent, and says so.
"""

import contextlib
import functools
import importlib
import json
import statistics
import sys
import time

import torch

SIZES = json.loads(sys.argv[1])
CPU = "--cpu" in sys.argv[2:]
DEVICE = "cpu" if CPU else "cuda"
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
REPEATS = SIZES["repeats"]
# A peer that is slow is not made slower by being run many times.
ENOUGH_MS = 20_000

torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False
flush_buffer = torch.empty(SIZES["flushMiB"] << 18, dtype=torch.float32, device=DEVICE)


def synchronize():
    if not CPU:
        torch.cuda.synchronize(DEVICE)


def once_timed(once, inputs):
    flush_buffer.fill_(1.0)
    if CPU:
        start = time.perf_counter()
        once(*inputs)
        return (time.perf_counter() - start) * 1e3
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    once(*inputs)
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def timed(fresh, once, warm_up=True):
    times = []
    for repeat in range(REPEATS + warm_up):
        inputs = fresh()
        synchronize()
        took = once_timed(once, inputs)
        # Room for the next before it is made.
        del inputs
        if repeat >= warm_up or took > ENOUGH_MS:
            times.append(took)
        if sum(times) > ENOUGH_MS:
            break
    return {"medianMs": statistics.median(times), "minMs": min(times), "maxMs": max(times), "runs": len(times)}


def noise(*shape, dtype=torch.float32):
    # bfloat16 and float16 random numbers do not exist on every processor.
    return torch.randn(*shape, dtype=dtype, device=DEVICE) if not CPU else torch.randn(*shape).to(dtype)


def permutation(n):
    return torch.randperm(n, device=DEVICE)


def relative_error(found, want):
    found, want = (x.double().cpu() for x in (found, want))
    return float((found - want).norm() / want.norm())


def guarded(measure):
    """What is missing is said, not passed over: a peer may need more memory than there is."""
    try:
        return measure()
    except Exception as error:
        message = str(error).strip() or type(error).__name__
        return {"failed": message.split("\n")[0][:300]}
    finally:
        if not CPU:
            torch.cuda.empty_cache()


def say(what):
    print(what, file=sys.stderr, flush=True)


# --- ceilings


def rate(times, amount, unit):
    return {**times, unit: amount / (times["medianMs"] / 1e3), "amount": amount}


def copy_ceiling():
    n = SIZES["copyMiB"] << 20
    to = torch.empty(n, dtype=torch.uint8, device=DEVICE)
    fresh = lambda: (torch.randint(0, 255, (n,), dtype=torch.uint8, device=DEVICE),)
    return rate(timed(fresh, to.copy_), 2 * n, "bytesPerSecond")


def matmul_ceiling(dtype, tf32):
    n = SIZES["matmul"]
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        times = timed(lambda: (noise(n, n, dtype=dtype), noise(n, n, dtype=dtype)), torch.matmul)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    return rate(times, 2 * n**3, "operationsPerSecond")


def pinned_ceiling():
    n = SIZES["copyMiB"] << 19
    from_host = torch.randint(0, 255, (n,), dtype=torch.uint8)
    from_host = from_host if CPU else from_host.pin_memory()
    to = torch.empty(n, dtype=torch.uint8, device=DEVICE)
    return rate(timed(lambda: (), lambda: to.copy_(from_host, non_blocking=True)), n, "bytesPerSecond")


def memcpy_ceiling():
    """Host memory to host memory, all threads; counted once."""
    n = SIZES["copyMiB"] << 19
    a, b = torch.randint(0, 255, (n,), dtype=torch.uint8), torch.zeros(n, dtype=torch.uint8)
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        b.copy_(a)
        times.append((time.perf_counter() - start) * 1e3)
    times = times[1:]
    found = {"medianMs": statistics.median(times), "minMs": min(times), "maxMs": max(times), "runs": len(times)}
    return {**rate(found, n, "bytesPerSecond"), "threads": torch.get_num_threads()}


# --- what may be missing


def compiled(once):
    """The same operations, fused by torch.compile; compiled anew for each shape, in the warm-up."""
    if not hasattr(torch, "compile"):
        raise ModuleNotFoundError(f"PyTorch {torch.__version__} has no torch.compile")
    return torch.compile(once, dynamic=False)


def cupy():
    try:
        module = importlib.import_module("cupy")
    except ImportError:
        raise ModuleNotFoundError("Python has no CuPy") from None
    if CPU:
        raise ModuleNotFoundError("CuPy computes on a GPU alone")
    return module


@contextlib.contextmanager
def on_stream_of_torch(module):
    """CuPy's work in PyTorch's stream, so that its events time it."""
    with module.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        yield


# --- one-to-one pairs: q [n, heads, d], k [2n, kvHeads, d]; the first half of the keys is positive


def by_key_head(q, kv_heads):
    n, heads, d = q.shape
    return q.reshape(n, kv_heads, heads // kv_heads * d).permute(1, 2, 0)


def pairs_gather(q, k, query, positive, negative):
    n, heads, d = q.shape
    queries = by_key_head(q[query], k.shape[1])
    return [torch.bmm(queries, k[rows].permute(1, 0, 2)).view(heads, d, d) for rows in (positive, negative)]


def cupy_pairs():
    """Gather and product by CuPy, on PyTorch's memory."""
    module = cupy()

    def once(q, k, query, positive, negative):
        if q.dtype == torch.bfloat16:
            raise TypeError("CuPy has no bfloat16")
        (n, heads, d), kv_heads = q.shape, k.shape[1]
        with on_stream_of_torch(module):
            q, k, query, positive, negative = (module.asarray(x) for x in (q, k, query, positive, negative))
            queries = q[query].reshape(n, kv_heads, heads // kv_heads * d).transpose(1, 2, 0)
            found = [module.matmul(queries, k[rows].transpose(1, 0, 2)) for rows in (positive, negative)]
            return [torch.as_tensor(x, device=DEVICE).view(heads, d, d) for x in found]

    return once


def pairs_loop(q, k, query, positive, negative):
    n, heads, d = q.shape
    kv_heads = k.shape[1]
    out = [torch.zeros(kv_heads, heads // kv_heads * d, d, dtype=torch.float32, device=q.device) for _ in range(2)]
    for t in range(len(query)):
        row = q[query[t]].view(kv_heads, -1, 1).float()
        for sums, rows in zip(out, (positive, negative)):
            sums += row * k[rows[t]].view(kv_heads, 1, d).float()
    return [sums.view(heads, d, d) for sums in out]


def pairs_inputs(n, heads, kv_heads, d, dtype):
    q, k = noise(n, heads, d, dtype=dtype), noise(2 * n, kv_heads, d, dtype=dtype)
    return q, k, permutation(n), permutation(n), n + permutation(n)


def pairs_reference(q, k, query, positive, negative):
    group = q.shape[1] // k.shape[1]
    queries = q.double()[query]
    return [
        torch.einsum("nhd,nhe->hde", queries, k.double()[rows].repeat_interleave(group, 1))
        for rows in (positive, negative)
    ]


def verified(once, reference, inputs, tolerance):
    error = max(relative_error(*both) for both in zip(once(*inputs), reference(*inputs)))
    if not error <= tolerance:
        raise ArithmeticError(f"wrong by {error}, allowed {tolerance}")
    return error


def pair_rows(d):
    """As pairRows of bench/gpu/sizes.mjs."""
    return max(1, int(SIZES["rows"] * min(1, 128 / d)))


def pairs(name, d, once, most):
    heads, kv_heads = SIZES["heads"], SIZES["kvHeads"]
    dtype = DTYPES[name]
    # A 16-bit product comes out in 16 bits.
    tolerance = 1e-5 if name == "f32" else 2e-2
    error = verified(once, pairs_reference, pairs_inputs(300, heads, kv_heads, d, dtype), tolerance)
    rows = pair_rows(d)
    n = min(rows, most)
    found = timed(lambda: pairs_inputs(n, heads, kv_heads, d, dtype), once)
    return scaled({**found, "error": error}, rows, n)


def pair_peers():
    """Name, and what measures it, of every dtype, dimension and way."""
    for d in SIZES["pairDims"]:
        for name in SIZES["dtypes"]:
            # Gathered rows take as much again: of f32, half is made.
            half = max(1, pair_rows(d) // (2 if name == "f32" else 1))
            ways = [
                ("gather-matmul", lambda: pairs_gather, half),
                ("gather-matmul-compiled", lambda: compiled(pairs_gather), half),
                ("cupy-gather-matmul", cupy_pairs, half),
            ]
            if d == 128:
                ways.append(("loop", lambda: pairs_loop, 1000))
            for kind, way, most in ways:
                yield f"pairs-{name}-d{d}-{kind}", functools.partial(measure_pairs, name, d, way, most)


def measure_pairs(name, d, way, most):
    return pairs(name, d, way(), most)


def scaled(found, whole, part):
    if part == whole:
        return found
    times = {key: found[key] * whole / part for key in ("medianMs", "minMs", "maxMs")}
    return {**found, **times, "note": f"timed on {part} of {whole}"}


# --- category terms: q [prompts, heads, d], k [prompts, items, kvHeads, d], weights [prompts, 2, items]


def category_inputs(prompts, items, heads, kv_heads, d):
    positive = torch.rand(prompts, items, device=DEVICE) < 0.2
    positive[:, 0], positive[:, 1] = True, False
    sides = torch.stack([positive, ~positive], 1).float()
    weights = sides / sides.sum(-1, keepdim=True)
    return noise(prompts, heads, d), noise(prompts, items, kv_heads, d), weights


def category_key_sums(q, k, weights):
    (prompts, heads, d), (items, kv_heads) = q.shape, k.shape[1:3]
    sums = torch.bmm(weights, k.view(prompts, items, kv_heads * d)).view(prompts, 2, kv_heads, d)
    queries = by_key_head(q, kv_heads)
    return [torch.bmm(queries, sums[:, s].permute(1, 0, 2)).view(heads, d, d) for s in range(2)]


def category_gather(q, k, weights):
    heads, d, kv_heads = q.shape[1], q.shape[2], k.shape[2]
    out = []
    for s in range(2):
        prompt, item = weights[:, s].nonzero(as_tuple=True)
        queries = by_key_head(q[prompt] * weights[prompt, s, item][:, None, None], kv_heads)
        out.append(torch.bmm(queries, k[prompt, item].permute(1, 0, 2)).view(heads, d, d))
    return out


def category_loop(q, k, weights):
    heads, d, kv_heads = q.shape[1], q.shape[2], k.shape[2]
    out = [torch.zeros(kv_heads, heads // kv_heads * d, d, device=q.device) for _ in range(2)]
    for p in range(len(q)):
        queries = q[p].view(kv_heads, -1, 1)
        for s, sums in enumerate(out):
            used = weights[p, s] > 0
            sums += queries * k[p, used].mean(0).view(kv_heads, 1, d)
    return [sums.view(heads, d, d) for sums in out]


def category_reference(q, k, weights):
    group = q.shape[1] // k.shape[2]
    keys = k.double().repeat_interleave(group, 2)
    return [torch.einsum("phd,pj,pjhe->hde", q.double(), weights[:, s].double(), keys) for s in range(2)]


def category(once, share):
    items, heads, kv_heads, d = (SIZES[name] for name in ("items", "heads", "kvHeads", "headDim"))
    small = category_inputs(40, items, heads, kv_heads, d)
    error = verified(once, category_reference, small, 1e-5)
    n = min(SIZES["prompts"], share)
    found = timed(lambda: category_inputs(n, items, heads, kv_heads, d), once)
    return scaled({**found, "error": error}, SIZES["prompts"], n)


# --- SVD of matrices of rank 9 with noise of half a per cent of the energy


def matrices(n, d):
    a = noise(n, d, 9) @ noise(n, 9, d)
    extra = noise(n, d, d)
    energy = lambda x: (x * x).sum((1, 2), keepdim=True)
    return a + extra * (0.005 / 0.995 * energy(a) / energy(extra)).sqrt()


def svd(share):
    d = SIZES["side"]
    small = matrices(4, d)
    once = lambda a: torch.linalg.svd(a, full_matrices=False)
    error = relative_error(once(small)[1], torch.linalg.svdvals(small.double().cpu()))
    if not error <= 1e-4:
        raise ArithmeticError(f"wrong by {error}")
    n = min(SIZES["matrices"], share)
    # Slow: the small case above was its warm-up.
    return scaled({**timed(lambda: (matrices(n, d),), once, warm_up=False), "error": error}, SIZES["matrices"], n)


def svd_by_gram(share):
    """Singular values and both sides from the batched symmetric eigensolver: half the digits, as A^T A is squared."""
    module = cupy()

    def once(a):
        with on_stream_of_torch(module):
            matrix = module.asarray(a)
            squares, v = module.linalg.eigh(module.matmul(matrix.transpose(0, 2, 1), matrix))
            s = module.sqrt(module.maximum(squares[:, ::-1], 0))
            v = v[:, :, ::-1]
            u = module.matmul(matrix, v) / module.maximum(s[:, None, :], 1e-30)
            return torch.as_tensor(module.ascontiguousarray(s), device=DEVICE), u

    d = SIZES["side"]
    small = matrices(4, d)
    error = relative_error(once(small)[0], torch.linalg.svdvals(small.double().cpu()))
    if not error <= 1e-3:
        raise ArithmeticError(f"wrong by {error}")
    n = min(SIZES["matrices"], share)
    return scaled({**timed(lambda: (matrices(n, d),), once), "error": error}, SIZES["matrices"], n)


def main():
    found = {
        "torch": torch.__version__,
        "device": "cpu" if CPU else torch.cuda.get_device_name(DEVICE),
        "ceilings": {},
        "peers": {},
    }
    plan = [
        ("ceilings", "copy", copy_ceiling),
        ("ceilings", "bf16", lambda: matmul_ceiling(torch.bfloat16, False)),
        ("ceilings", "tf32", lambda: matmul_ceiling(torch.float32, True)),
        ("ceilings", "pinned", pinned_ceiling),
        ("ceilings", "memcpy", memcpy_ceiling),
        *(("peers", name, measure) for name, measure in pair_peers()),
        ("peers", "category-gather-matmul", lambda: category(category_gather, SIZES["prompts"])),
        ("peers", "category-key-sums", lambda: category(category_key_sums, SIZES["prompts"])),
        (
            "peers",
            "category-gather-matmul-compiled",
            lambda: category(compiled(category_gather), SIZES["prompts"]),
        ),
        ("peers", "category-key-sums-compiled", lambda: category(compiled(category_key_sums), SIZES["prompts"])),
        ("peers", "category-loop", lambda: category(category_loop, 500)),
        ("peers", "svd", lambda: svd(SIZES["matrices"])),
        ("peers", "svd-cupy-eigh-of-gram", lambda: svd_by_gram(SIZES["matrices"])),
    ]
    for kind, name, measure in plan:
        say(f"{kind}: {name}")
        found[kind][name] = guarded(measure)
    print(json.dumps(found))


main()
