#!/usr/bin/env python3
"""The peer of bench_sim: federated averaging as a plain PyTorch loop in two processes.

  peer_torch_fl.py MODEL ROUNDS LR [IMAGES LABELS]      (IDX files, gzipped; without them random images of the same shape)

100 clients of 600 images, ten a round, B = 10, E = 1, no evaluation. Data, weights and sums are resident and shared: a
round passes two bytes a process. One thread a process; five clients each. A line a memory format, "FORMAT ROUNDS_PER_S MIB" (memory: the
proportional set sizes of all three processes), after a first line "torch VERSION BLAS-FILE".
"""
import gzip
import os
import sys
import time

import peer_torch  # sets one thread a process before it imports torch
import torch
from torch import nn

CLIENTS, EXAMPLES, COHORT, BATCH, PROCESSES = 100, 600, 10, 10, 2


def load(images, labels):
    count = CLIENTS * EXAMPLES
    if images is None:
        return torch.rand(count, 1, 28, 28), torch.randint(0, 10, (count,))
    with gzip.open(images) as f:
        x = torch.frombuffer(bytearray(f.read()[16:]), dtype=torch.uint8)
    with gzip.open(labels) as f:
        y = torch.frombuffer(bytearray(f.read()[8:]), dtype=torch.uint8)
    return x[:count * 784].view(count, 1, 28, 28).float() / 255, y[:count].long()


def train(net, loss_fn, lr, x, y):
    opt = torch.optim.SGD(net.parameters(), lr=lr)
    order = torch.randperm(len(y))
    x, y = x[order], y[order]
    for i in range(0, len(y), BATCH):
        opt.zero_grad()
        loss_fn(net(x[i:i + BATCH]), y[i:i + BATCH]).backward()
        opt.step()


def worker(rank, net, lr, x, y, model, sums, cohort, begin, end):
    """Trains its part of the cohort whenever a byte arrives; a closed pipe ends it."""
    loss_fn = nn.CrossEntropyLoss()
    params = list(net.parameters())
    while os.read(begin, 1):
        sums[rank].zero_()
        for client in cohort[rank::PROCESSES].tolist():
            at = 0
            with torch.no_grad():
                for p in params:
                    p.copy_(model[at:at + p.numel()].view_as(p))
                    at += p.numel()
            part = slice(client * EXAMPLES, (client + 1) * EXAMPLES)
            train(net, loss_fn, lr, x[part], y[part])
            with torch.no_grad():
                at = 0
                for p in params:
                    sums[rank][at:at + p.numel()] += p.reshape(-1)
                    at += p.numel()
        os.write(end, b".")


def memory_mib(pids):
    kib = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            kib += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    return kib / 1024


def measure(name, rounds, lr, x, y, memory_format):
    net = peer_torch.build(name)[0].to(memory_format=memory_format)
    x = x.contiguous(memory_format=memory_format)
    model = torch.cat([p.detach().reshape(-1) for p in net.parameters()]).share_memory_()
    sums = torch.zeros(PROCESSES, model.numel()).share_memory_()
    cohort = torch.zeros(COHORT, dtype=torch.long).share_memory_()
    begin, end, pids = [], [], []
    for rank in range(PROCESSES):
        order, go = os.pipe()
        done, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            for fd in begin + [go, done]:
                os.close(fd)
            worker(rank, net, lr, x, y, model, sums, cohort, order, tell)
            os._exit(0)
        os.close(order)
        os.close(tell)
        begin.append(go)
        end.append(done)
        pids.append(pid)

    def one_round():
        cohort.copy_(torch.randperm(CLIENTS)[:COHORT])
        for fd in begin:
            os.write(fd, b".")
        for fd in end:
            if not os.read(fd, 1):
                raise RuntimeError("a process died")
        model.copy_(sums.sum(0) / COHORT)

    one_round()  # warm
    start = time.perf_counter()
    for _ in range(rounds):
        one_round()
    rate = rounds / (time.perf_counter() - start)
    mib = memory_mib([os.getpid()] + pids)
    for fd in begin:
        os.close(fd)
    for pid in pids:
        os.waitpid(pid, 0)
    return rate, mib


def main():
    name, rounds, lr = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    print("torch", torch.__version__, peer_torch.blas_file(), flush=True)
    x, y = load(*(sys.argv[4:6] if len(sys.argv) > 5 else (None, None)))
    formats = {"contiguous": torch.contiguous_format}
    if name == "mnist-cnn":
        formats["channels_last"] = torch.channels_last
    for text, memory_format in formats.items():
        rate, mib = measure(name, rounds, lr, x, y, memory_format)
        print(text, f"{rate:.4f} {mib:.1f}", flush=True)


if __name__ == "__main__":
    main()
