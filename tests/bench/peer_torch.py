#!/usr/bin/env python3
"""The peer of bench_train: plain PyTorch training the same models with plain SGD on one thread.

Speaks lines on stdin and stdout so that the bench can interleave its own runs with these:
  "MODEL BATCH SECONDS" -> "FORMAT SAMPLES_PER_S" for each memory format, then "end".
The first line printed is "torch VERSION BLAS-FILE".
"""
import os
import re
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import torch  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(1)
torch.manual_seed(1)


def blas_file():
    """The BLAS that is really loaded: with the reference BLAS PyTorch makes a third of its speed."""
    torch.randn(64, 64) @ torch.randn(64, 64)
    with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
        files = set(re.findall(r"/\S*(?:blas|mkl)\S*\.so\S*", maps.read()))
    return ",".join(sorted(os.path.realpath(f) for f in files)) or "none"


def build(model):
    """(module, input shape) of a zoo model; images are NCHW here."""
    if model == "logreg":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), (1, 28, 28)
    if model == "mnist-2nn":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 200),
                             nn.ReLU(), nn.Linear(200, 10)), (1, 28, 28)
    if model == "mnist-cnn":
        return nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
                             nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
                             nn.Linear(512, 10)), (1, 28, 28)
    return None, None


def measure(model, batch, seconds, memory_format):
    net, shape = build(model)
    net = net.to(memory_format=memory_format)
    # Fresh batches of a small set, resident, as a client's examples are.
    count = max(batch, 600 // batch * batch)
    x = torch.rand(count, *shape).contiguous(memory_format=memory_format)
    y = torch.randint(0, 10, (count,))
    opt = torch.optim.SGD(net.parameters(), lr=0.01)
    loss_fn = nn.CrossEntropyLoss()

    def step(i):
        opt.zero_grad()
        loss_fn(net(x[i:i + batch]), y[i:i + batch]).backward()
        opt.step()

    for _ in range(5):
        step(0)
    done, start = 0, time.perf_counter()
    while True:
        for i in range(0, count - batch + 1, batch):
            step(i)
            done += batch
            if done % (batch * 8) == 0 and time.perf_counter() - start >= seconds:
                return done / (time.perf_counter() - start)


def main():
    print("torch", torch.__version__, blas_file(), flush=True)
    for line in sys.stdin:
        model, batch, seconds = line.split()
        if build(model)[0] is not None:
            formats = {"contiguous": torch.contiguous_format}
            if model == "mnist-cnn":
                formats["channels_last"] = torch.channels_last
            for name, memory_format in formats.items():
                rate = measure(model, int(batch), float(seconds), memory_format)
                print(name, f"{rate:.1f}", flush=True)
        print("end", flush=True)


if __name__ == "__main__":
    main()
