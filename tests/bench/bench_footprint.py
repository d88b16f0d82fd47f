"""Memory of coordinator and agent in real rounds of mnist-cnn, and the size of the agent's program.

  bench_footprint.sh [--json] [--connections N] [--rounds N]

Resident sizes are peaks (VmHWM of /proc/PID/status) over whole runs, the coordinator's with N more live connections held open
by footprint_hold. Targets: coordinator at most 64 MiB with 100 connections and one group; at most 40 KB more a connection, and 8
bytes a parameter more a further group; the agent at most 40 MiB while it trains; its stripped program at most 700 KiB,
1.2 MiB with Vulkan and its shaders.
"""
import argparse
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from harness import BIN, Process, World, check, run, task, wait  # noqa: E402

CLIENTS = 4
GROUPS = 4
EXAMPLES = 100


def memory_kib(process, key):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    raise RuntimeError(f"no {key}")


class Holder:
    """Live connections in a process of their own, until it ends."""
    def __init__(self, world, tokens):
        argv = [os.path.join(BIN, "..", "bench", "footprint_hold")] + tokens
        self.process = world.adopt(Process(argv, world.path("hold.log"), first_line=True, pipe_in=True))
        if self.process.read_line(90) != str(len(tokens)):
            raise RuntimeError(self.process.log())


def rounds(name, connections, groups, count):
    """One run: the coordinator's peak, its growth a connection, the agents' peak, parameters."""
    world = World()
    failed = True
    try:
        c = world.coordinator(name).init().start()
        devices = world.fleet(c, CLIENTS, EXAMPLES)
        tokens = c.tokens(connections, "held-tokens") if connections else []
        before = memory_kib(c.process, "VmRSS")
        if tokens:
            Holder(world, tokens)
        held = memory_kib(c.process, "VmRSS") - before
        made = check(c.create(task("cnn", "mnist-cnn", rounds=count, cohort=CLIENTS), f"groups={groups}", "uplink.keep=0.05",
                              "evaluation.count=2000")).json()
        for d in devices:
            d.start()
        client = 0

        def finished():
            nonlocal client
            client = max([client] + [memory_kib(d.process, "VmHWM") for d in devices])
            return c.task("cnn")["state"] == "finished"
        wait("end of the rounds", finished, 600)
        if [r["counted"] for r in c.rounds("cnn")] != [CLIENTS] * count:
            raise RuntimeError(f"rounds are not whole: {c.rounds('cnn')}")
        failed = False
        return {"peak_kib": memory_kib(c.process, "VmHWM"), "rest_kib": memory_kib(c.process, "VmRSS"),
                "held_kib": held, "client_kib": client, "parameters": made["parameters"]}
    finally:
        world.close(failed)


def program_kib():
    """The stripped agent."""
    world = World()
    try:
        path = world.path("sotto-client")
        check(run("strip", "-o", path, f"{BIN}/sotto-client"))
        return os.path.getsize(path) / 1024
    finally:
        world.close(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--connections", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    one = rounds("one", args.connections, 1, args.rounds)
    many = rounds("many", args.connections, GROUPS, args.rounds)
    further = (many["peak_kib"] - one["peak_kib"]) * 1024 / (GROUPS - 1) / one["parameters"]
    result = {
        "coordinator_rss_mib": round(one["peak_kib"] / 1024, 1),
        "client_rss_mib": round(max(one["client_kib"], many["client_kib"]) / 1024, 1),
        "client_program_kib": round(program_kib(), 1),
        "clients": args.connections + CLIENTS,
        "coordinator_rest_mib": round(one["rest_kib"] / 1024, 1),
        "connection_kb": round(one["held_kib"] * 1.024 / max(args.connections, 1), 1),
        "group_bytes_per_parameter": round(further, 2),
        "parameters": one["parameters"],
    }
    if args.json:
        print(json.dumps(result))
        return
    rows = [("coordinator, peak", f"{result['coordinator_rss_mib']} MiB", "64 MiB"),
            ("coordinator, between rounds", f"{result['coordinator_rest_mib']} MiB", ""),
            ("  more a live connection", f"{result['connection_kb']} KB", "40 KB"),
            ("  more a further group", f"{result['group_bytes_per_parameter']} B/parameter", "8 B/parameter"),
            ("agent, peak", f"{result['client_rss_mib']} MiB", "40 MiB"),
            ("agent's program, stripped", f"{result['client_program_kib']} KiB", "700 KiB, 1.2 MiB with Vulkan")]
    print(f"mnist-cnn, {result['parameters']} parameters, {result['clients']} live connections, {args.rounds} rounds")
    for what, value, target in rows:
        print(f"{what:<30}{value:>18}{'  of ' + target if target else ''}")


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, OSError, RuntimeError, subprocess.SubprocessError) as e:
        sys.exit(f"bench_footprint: {e}")
