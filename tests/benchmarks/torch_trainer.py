"""PyTorch's side of the trainer benchmark: the same model, optimizer and batches, eager or compiled;
for each line it reads it trains for some seconds and prints tokens per second.

Runs in the peers' environment, without simlaw. Arguments: width, layers, context, batch, core (-1: all), seconds, mode,
the corpus as a file.
"""

import json
import os
import resource
import sys
import time

width, LAYERS, CONTEXT, BATCH, core = map(int, sys.argv[1:6])
seconds, mode, corpus = float(sys.argv[6]), sys.argv[7], sys.argv[8]
if core >= 0:
    os.sched_setaffinity(0, {core})

import torch  # noqa: E402  # pinned first
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

if core >= 0:
    torch.set_num_threads(1)
torch.manual_seed(0)
VOCAB, HEAD = 256, 16
HIDDEN, HEADS = 3 * width, width // HEAD
angle = torch.arange(CONTEXT)[:, None] * 10_000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)[None, :]
COS, SIN = angle.cos(), angle.sin()


def rotate(x):
    a, b = x[..., : HEAD // 2], x[..., HEAD // 2 :]
    return torch.cat([a * COS - b * SIN, b * COS + a * SIN], dim=-1)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.feed_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * HIDDEN, bias=False), nn.Linear(HIDDEN, width, bias=False)

    def forward(self, x):
        b = x.shape[0]
        q, k, v = self.qkv(self.attention_norm(x)).view(b, CONTEXT, 3, HEADS, HEAD).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, CONTEXT, width))
        gate, up = self.gate_up(self.feed_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(VOCAB, width), nn.Linear(width, VOCAB, bias=False)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.RMSNorm(width, eps=1e-6)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


model = Transformer()
matrices = [p for p in model.parameters() if p.ndim > 1]
gains = [p for p in model.parameters() if p.ndim == 1]
groups = [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}]
optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8, fused=True)
with open(corpus, "rb") as file:
    text = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8)
order = torch.randperm((len(text) - 1) // CONTEXT)


def objective(windows):
    return F.cross_entropy(model(windows[:, :-1]).view(-1, VOCAB), windows[:, 1:].reshape(-1))


loss_of = torch.compile(objective) if mode == "compile" else objective


def step(i):
    start = order[(i * BATCH + torch.arange(BATCH)) % len(order)] * CONTEXT
    windows = text[start[:, None] + torch.arange(CONTEXT + 1)].long()
    loss = loss_of(windows)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss


for i in range(64 if LAYERS == 2 else 4):
    step(i)
print("ready", flush=True)
done = 64
for _ in sys.stdin:
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        loss = step(done + steps)
        steps += 1
    took = time.perf_counter() - began
    done += steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result = {"tokens_per_second": steps * BATCH * CONTEXT / took, "peak_bytes": peak, "loss": loss.item()}
    print(json.dumps(result), flush=True)
