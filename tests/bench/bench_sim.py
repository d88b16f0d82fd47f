"""Rounds a second of sotto-sim beside a plain PyTorch loop in two processes.

  bench_sim.sh [--json] [--data DIR] [--models NAME,...] [--repeats N] [--peer none]

cifar is pfl-research's CIFAR-10 benchmark in shape (examples/cifar-pfl.yaml: 1,626,442 parameters, 1,000 clients of 50 images,
fifty a round), without a peer. The others, examples/mnist-MODEL-iid.yaml: 100 clients of 600 images, ten a round, B = 10, E = 1, evaluation off on both sides, two workers.
Images are MNIST below --data or SOTTO_DATA, otherwise drawn digits (for the peer: random images) of the same shape. The two
alternate; rates are medians over the repeats, without the first round of each run, for the peer the faster memory format.
Memory is the highest seen: of sotto-sim its peak of resident memory, of the peer its three processes at the end.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..")
BIN = os.environ.get("SOTTO_BIN", os.path.join(SOURCE, "build", "release", "bin"))
ROUNDS = {"logreg": 60, "2nn": 15, "cnn": 2, "cifar": 2}
PEER_NAME = {"logreg": "logreg", "2nn": "mnist-2nn", "cnn": "mnist-cnn"}
PEER_LR = {"logreg": "0.1", "2nn": "0.2", "cnn": "0.1"}
WORKERS = 2


def has_cifar(data):
    return bool(data) and any(os.path.isdir(os.path.join(data, d)) for d in ("cifar10", "cifar-10-batches-bin"))


def run_ours(model, data):
    """(rounds a second, peak MiB, kernel set, share of peak or None)"""
    name = "cifar-pfl.yaml" if model == "cifar" else f"mnist-{model}-iid.yaml"
    argv = [os.path.join(BIN, "sotto-sim"), "run", os.path.join(SOURCE, "examples", name), "--json",
            "--workers", str(WORKERS), "--set", f"rounds={ROUNDS[model] + 1}", "--set", "evaluation.every=0"]
    if model == "cifar":
        argv += ["--profile", "--set", "evaluation.count=100"]
        argv += ["--data", data] if has_cifar(data) else ["--set", "data.name=drawn", "--set", "data.per_writer=50"]
    elif data:
        argv += ["--data", data]
    else:
        argv += ["--set", "data.name=generator", "--set", "data.per_writer=600", "--set", "evaluation.count=100"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        lines = [json.loads(line) for line in process.stdout]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not lines or lines[-1].get("event") != "done":
        sys.exit(f"sotto-sim failed on {model}: {' '.join(argv)}")
    seconds = [line["wall_seconds"] for line in lines[1:-1]]
    share = lines[-1].get("profile", {}).get("share_of_peak")
    return len(seconds) / sum(seconds), usage.ru_maxrss / 1024, lines[-1]["kernels"], share


def run_peer(model, data):
    """The same of the peer, or None where there is no PyTorch."""
    argv = ["/usr/bin/python3", "-B", os.path.join(HERE, "peer_torch_fl.py"), PEER_NAME[model], str(ROUNDS[model]),
            PEER_LR[model]]
    if data:
        argv += [os.path.join(data, "mnist", f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        if "No module named" in done.stderr:
            return None
        sys.exit(f"the peer failed on {model}: {done.stderr.strip().splitlines()[-1:]}")
    about, *rates = done.stdout.splitlines()
    best = max((line.split() for line in rates), key=lambda words: float(words[1]))
    return float(best[1]), float(best[2]), f"{about}, {best[0]}"


def main():
    parser = argparse.ArgumentParser(prog="bench_sim.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--data", default=os.environ.get("SOTTO_DATA", ""), metavar="DIR")
    parser.add_argument("--models", default=",".join(ROUNDS), metavar="NAME,...")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--peer", choices=["torch", "none"], default="torch")
    options = parser.parse_args()
    models = options.models.split(",")
    for model in models:
        if model not in ROUNDS:
            parser.error(f"no model '{model}'; there are: {', '.join(ROUNDS)}")
    if options.repeats < 1:
        parser.error("--repeats: at least 1")
    data = options.data if os.path.exists(os.path.join(options.data, "mnist", "train-images-idx3-ubyte.gz")) else ""
    if options.data and not data:
        print(f"{options.data} has no mnist/, digits are drawn", file=sys.stderr)
    peer_there = options.peer == "torch"
    if not options.json:
        print(f"{'MODEL':<8}{'rounds/s':>10}{'MiB':>8}{'PyTorch':>10}{'MiB':>8}{'ratio':>8}  "
              f"({'MNIST' if data else 'drawn digits'}, {WORKERS} workers)")
    about = ""
    for model in models:
        ours, theirs = [], []
        for _ in range(options.repeats):
            ours.append(run_ours(model, data))
            peer = run_peer(model, data) if peer_there and model in PEER_NAME else None
            peer_there = peer_there and (peer is not None or model not in PEER_NAME)
            theirs += [peer] if peer else []
        line = {"model": model, "data": "mnist" if data else "drawn", "rounds": ROUNDS[model], "workers": WORKERS,
                "rounds_per_s": round(statistics.median(r[0] for r in ours), 4),
                "peak_rss_mib": round(max(r[1] for r in ours), 1), "kernels": ours[0][2]}
        if model == "cifar":
            line["data"] = "cifar10" if has_cifar(data) else "drawn"
            line.update(s_per_round=round(1 / line["rounds_per_s"], 3), trainings_per_s=round(50 * line["rounds_per_s"], 2),
                        share_of_peak=round(statistics.median(r[3] for r in ours), 3))
        if theirs:
            about = theirs[0][2].split(", ")[0]
            line.update(peer_rounds_per_s=round(statistics.median(r[0] for r in theirs), 4),
                        peer_rss_mib=round(max(r[1] for r in theirs), 1), peer=theirs[-1][2])
            line["ratio"] = round(line["rounds_per_s"] / line["peer_rounds_per_s"], 2)
        if options.json:
            print(json.dumps(line), flush=True)
        else:
            peer_text = f"{line['peer_rounds_per_s']:>10.2f}{line['peer_rss_mib']:>8.0f}{line['ratio']:>8.2f}" if theirs else ""
            if model == "cifar":
                peer_text = (f"  {line['s_per_round']:.2f} s a round, {line['trainings_per_s']:.1f} trainings/s, "
                             f"{100 * line['share_of_peak']:.0f}% of peak in training kernels ({line['data']})")
            print(f"{model:<8}{line['rounds_per_s']:>10.2f}{line['peak_rss_mib']:>8.0f}{peer_text}", flush=True)
    if not options.json:
        print(f"peer: {about}" if about else "peer: none (Debian's python3-torch is not installed)"
              if options.peer == "torch" else "peer: none")


if __name__ == "__main__":
    main()
