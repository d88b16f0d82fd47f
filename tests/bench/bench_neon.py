"""Runs neon_count under an emulator that counts instructions, and prints the table or JSON lines. Called by bench_neon.sh."""
import argparse
import json
import os
import subprocess
import sys

CORES = ("NEOVERSEN1", "ARMV8")  # OpenBLAS's kernels for cortex-a76's kind, and those it takes by itself under the emulator


def count(args, core, cpu, *which):
    """What the program said: case -> {"macs", "ideal", who: instructions}."""
    libraries = os.path.join(os.path.abspath(args.sysroot), "usr/lib/aarch64-linux-gnu")
    argv = ["qemu-aarch64", "-cpu", cpu, "-L", args.sysroot, "-E",
            f"LD_LIBRARY_PATH={libraries}/openblas-pthread:{libraries}", "-E", f"OPENBLAS_CORETYPE={core}", "-plugin", args.plugin,
            args.program, *which]
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    cases, case, who = {}, None, None
    for line in done.stdout.splitlines():
        if line.startswith("case "):
            name, who, macs, ideal = line[5:].split("|")
            case = cases.setdefault(name, {"macs": float(macs)})
            if who != "openblas":
                case["ideal"] = float(ideal)
        elif line.startswith("instructions "):
            case[who] = int(line.split()[1])
    return cases


def main():
    parser = argparse.ArgumentParser()
    for flag in ("plugin", "program", "sysroot"):
        parser.add_argument("--" + flag, required=True)
    parser.add_argument("--cpu", default="cortex-a76")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    runs = [count(args, core, args.cpu) for core in CORES]
    shown = [(args.cpu, runs)]
    if args.cpu == "cortex-a76":  # what other processors have
        shown += [(cpu, [count(args, CORES[0], cpu, kind)])
                  for cpu, kind in (("cortex-a53", "int8"), ("max", "int8"), ("max", "bf16"), ("cortex-a53", "half"), ("max", "half"))]
    if not args.json:
        print("instructions a multiply-accumulate, counted under qemu")
        print(f"{'processor':11} {'case':22} {'MMAC':>8} {'neon':>8} {'ideal':>8} {'ratio':>6} {'OpenBLAS':>9}")
    for cpu, runs in shown:
        for name, case in runs[0].items():
            macs = case["macs"]
            blas = [run[name]["openblas"] for run in runs if "openblas" in run[name]]
            row = {"bench": "neon", "cpu": cpu, "case": name, "macs": int(macs), "instructions": case["neon"],
                   "per_mac": case["neon"] / macs, "ideal_per_mac": case["ideal"] / macs,
                   "ratio": case["neon"] / case["ideal"], "openblas_per_mac": min(blas) / macs if blas else None}
            if args.json:
                print(json.dumps(row))
                continue
            peer = f"{row['openblas_per_mac']:9.4f}" if blas else f"{'-':>9}"
            print(f"{cpu:11} {name:22} {macs / 1e6:8.2f} {row['per_mac']:8.4f} {row['ideal_per_mac']:8.4f} {row['ratio']:6.2f} "
                  f"{peer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
