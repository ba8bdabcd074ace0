"""PyTorch's side of the quantizers' benchmark: GPTQ of one layer at 4 bits by a loop over its inputs; prints JSON.

Runs in the peers' environment, without simlaw, on all cores. Argument: a .npz with the matrix and the second moments.
"""

import json
import statistics
import sys
import time

import numpy as np
import torch

with np.load(sys.argv[1]) as given:
    W, H = torch.from_numpy(given["w"]), torch.from_numpy(given["hessian"])


def gptq() -> torch.Tensor:
    """The matrix on integers, corrections of later blocks of 128 at the end of each."""
    size = len(W)
    w, found = W.clone(), torch.zeros_like(W)
    scale = w.abs().amax(0) / 7
    damped = H + 0.01 * H.diagonal().mean() * torch.eye(size)
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(damped)), upper=True)
    for start in range(0, size, 128):
        end = min(start + 128, size)
        block, errors = w[start:end], torch.zeros(end - start, w.shape[1])
        for i in range(end - start):
            found[start + i] = (block[i] / scale).round().clamp(-7, 7) * scale
            errors[i] = (block[i] - found[start + i]) / upper[start + i, start + i]
            block[i + 1 :] -= torch.outer(upper[start + i, start + i + 1 : end], errors[i])
        w[end:] -= upper[start:end, end:].T @ errors
    return found


with torch.inference_mode():
    gptq()
    took = []
    for _ in range(20):
        began = time.perf_counter()
        gptq()
        took.append(time.perf_counter() - began)
print(json.dumps({"warm": statistics.median(took)}))
