"""A million registered devices, a hundred a round, each keeping its residual: rounds a second and memory.

  bench_fleet.sh [--json] [--rounds N] [--copies N]

examples/million.yaml with two workers; memory is the highest resident size seen, which holds no page cache. By default 1,000
rounds, so that nearly 100,000 devices take part.
"""
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..")
BIN = os.environ.get("SOTTO_BIN", os.path.join(SOURCE, "build", "release", "bin"))


def main():
    parser = argparse.ArgumentParser(prog="bench_fleet.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=1000, metavar="N")
    parser.add_argument("--copies", type=int, default=1000, metavar="N")
    options = parser.parse_args()
    argv = [os.path.join(BIN, "sotto-sim"), "run", os.path.join(SOURCE, "examples", "million.yaml"), "--json", "--workers", "2",
            "--set", f"rounds={options.rounds}", "--set", f"fleet.copies={options.copies}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        lines = [json.loads(line) for line in process.stdout]
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not lines or lines[-1].get("event") != "done":
        sys.exit(f"sotto-sim failed: {' '.join(argv)}")
    end = lines[-1]
    line = {"devices": 1000 * options.copies, "took_part": end["devices"]["count"], "rounds": end["rounds"],
            "rounds_per_s": round(end["rounds"] / end["seconds"], 2),
            "cpu_ms_per_round": round(1e3 * (usage.ru_utime + usage.ru_stime) / end["rounds"], 1),
            "peak_rss_mib": round(usage.ru_maxrss / 1024, 1), "accuracy": end["accuracy"]}
    if options.json:
        print(json.dumps(line))
    else:
        print(f"{line['devices']:,} devices, {line['took_part']:,} took part in {line['rounds']} rounds: "
              f"{line['rounds_per_s']} rounds/s, {line['cpu_ms_per_round']} ms of CPU a round, {line['peak_rss_mib']} MiB, "
              f"accuracy {100 * line['accuracy']:.2f}%")


if __name__ == "__main__":
    main()
