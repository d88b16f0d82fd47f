"""sotto-sim as a program: the digest of a run does not depend on how it is made, and its results can be read by others."""
import csv
import glob
import json
import os
import random
import signal
import struct
import subprocess

from harness import BIN, Case, Process, check, main, run, seed

CLIENTS, EXAMPLES = 8, 40
# One task, for the coordinator and for the simulator. Eight clients, all in every round: real time decides nothing.
TASK = """
task: {name: same, seed: 11, collection: digits}
model: {zoo: logreg}
rounds: 3
cohort: 8
pace: 50ms
lease: 2m
local: {epochs: 2, batch: 10, lr: 0.1}
server: {momentum: 0.5}
downlink: int8
uplink: {keep: 0.2, bits: 6, stochastic: true, error_feedback: true}
evaluation: {data: generator, seed: 7, count: 200}
"""
SIMULATED = """
data: {name: generator, per_writer: 40, seed: 1}
clients: 8
partition: {scheme: natural}
"""
FLEET = """
task: {name: busy, seed: 3}
model: {zoo: logreg}
data: {name: generator, per_writer: 20}
clients: 20
partition: {scheme: natural}
rounds: 60
cohort: 5
cohort_over_selection: 2
cohort_min: 1
deadline: 20s
local: {epochs: 1, batch: 10, lr: 0.1}
uplink: {keep: 0.1, bits: 8, error_feedback: true}
evaluation: {count: 100, every: 10}
fleet: {speed: 10, spread: 1, uplink: 500, drop: 0.1, joules_per_sample: 0.1}
"""


def crc32c(data):
    """Bit by bit: nothing in common with sotto's."""
    c = 0xFFFFFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ 0x82F63B78 if c & 1 else c >> 1
    c ^= 0xFFFFFFFF
    return ((c >> 15 | c << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(message):
    """(number, value) of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            value = varint()
        else:
            n = {1: 8, 5: 4}.get(kind) or varint()
            value = message[at:at + n]
            at += n
        yield key >> 3, value


def events(path):
    """{step: {tag: value}} of a TensorBoard file."""
    out = {}
    with open(path, "rb") as f:
        while head := f.read(12):
            length, crc = struct.unpack("<QI", head)
            assert crc == crc32c(head[:8]), path
            data = f.read(length)
            assert struct.unpack("<I", f.read(4))[0] == crc32c(data), path
            event = dict(fields(data))
            for number, value in fields(event.get(5, b"")):
                item = dict(fields(value))
                if number == 1 and 2 in item:
                    out.setdefault(event[2], {})[item[1].decode()] = struct.unpack("<f", item[2])[0]
    return out


class Simulator(Case):
    def write(self, name, text):
        path = self.world.path(name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def sim(self, *args, **kwargs):
        return run(f"{BIN}/sotto-sim", *args, seconds=120, **kwargs)

    def summary(self, folder):
        with open(os.path.join(folder, "summary.json"), encoding="utf-8") as f:
            return json.load(f)

    def rows(self, folder):
        with open(os.path.join(folder, "rounds.csv"), encoding="utf-8", newline="") as f:
            return list(csv.DictReader(f))

    def digest(self, path, *args):
        return check(self.sim("run", path, "--json", *args)).json_lines()[-1]["digest"]

    def test_same_digest_everywhere(self):
        path = self.write("same.yaml", TASK + SIMULATED)
        digests = {f"{n} workers": self.digest(path, "--workers", n) for n in (1, 2, 4)}
        digests["sealed"] = self.digest(path, "--set", "seal=true")
        digests["over the wire"] = self.digest(path, "--wire")
        folder = self.world.path("resumed")
        cut = Process([f"{BIN}/sotto-sim", "run", path, "--out", folder, "--checkpoint", 1, "--set", "data.seed=1"],
                      self.world.path("cut.log"))
        self.world.adopt(cut)
        cut.popen.send_signal(signal.SIGTERM)
        cut.wait(60)
        digests["resumed"] = self.digest(path, "--out", folder, "--resume")
        c = self.world.coordinator().init().start()
        for i, token in enumerate(c.tokens(CLIENTS)):
            device = self.world.device(f"device-{i}").enroll(token).digits(i, EXAMPLES).policy()
            self.assertEqual(device.serial(), i + 1)
            device.start()
        check(c.create(TASK))
        c.wait_finished("same")
        digests["daemon and agents"] = c.models("same")[-1]["digest"]
        self.assertEqual(len(set(digests.values())), 1, digests)

    def test_masked_digest(self):
        """Sums under masks: the simulator with and without cryptography, over the wire, and daemon and agents."""
        sets = ["privacy.secure_aggregation=required", "cohort=10", "uplink.support=round", "uplink.clip_norm=3",
                "uplink.bits=10", "weight_max=40"]
        flags = [flag for s in (*sets, "clients=10") for flag in ("--set", s)]
        path = self.write("masked.yaml", TASK + SIMULATED)
        digests = {crypto: self.digest(path, *flags, "--set", f"secure.crypto={crypto}") for crypto in ("exact", "real")}
        digests["over the wire"] = self.digest(path, *flags, "--wire")
        c = self.world.coordinator().init().start()
        for i, token in enumerate(c.tokens(10)):
            self.world.device(f"device-{i}").enroll(token).digits(i, EXAMPLES).policy().start()
        check(c.create(TASK, *sets))
        c.wait_finished("same")
        digests["daemon and agents"] = c.models("same")[-1]["digest"]
        self.assertEqual(len(set(digests.values())), 1, digests)

    def test_strategies_with_a_half_on_the_devices(self):
        """What devices keep and divide is the same in agents with stores and in the simulator."""
        path = self.write("same.yaml", TASK + SIMULATED)
        c = self.world.coordinator().init().start()
        devices = []
        for i, token in enumerate(c.tokens(4)):
            devices.append(self.world.device(f"device-{i}").enroll(token).digits(i, EXAMPLES).policy())
            devices[-1].start()
        for strategy in ("fednova", "scaffold"):
            sets = [f"server.strategy={strategy}", "server.momentum=0", "local.momentum=0.5", "cohort=4", "rounds=4"]
            check(c.create(TASK, f"task.name={strategy}", *sets))
            c.wait_finished(strategy)
            flags = [flag for s in (*sets, "clients=4") for flag in ("--set", s)]
            self.assertEqual(c.models(strategy)[-1]["digest"], self.digest(path, *flags), strategy)
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())

    def test_kills(self):
        path = self.write("busy.yaml", FLEET)
        whole, cut = self.world.path("whole"), self.world.path("cut")
        check(self.sim("run", path, "--out", whole))
        dice = random.Random(seed())
        for _ in range(4):
            p = subprocess.Popen([f"{BIN}/sotto-sim", "run", path, "--out", cut, "--resume", "--checkpoint", "1", "--workers",
                                  str(dice.randint(1, 2))], stdout=subprocess.DEVNULL)
            try:
                p.wait(dice.uniform(0.05, 0.4))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        check(self.sim("run", path, "--out", cut, "--resume", "--checkpoint", "5"))
        self.assertEqual(self.summary(cut)["digest"], self.summary(whole)["digest"])
        timed = ("train_seconds", "eval_seconds", "server_seconds", "wall_seconds")
        a, b = ([{k: v for k, v in row.items() if k not in timed} for row in self.rows(d)] for d in (whole, cut))
        self.assertEqual(a, b)
        self.assertFalse(glob.glob(os.path.join(cut, "run.*")))
        again = check(self.sim("run", path, "--out", cut, "--resume"))
        self.assertIn("has ended", again.out)

    def test_results(self):
        path, folder = self.write("busy.yaml", FLEET), self.world.path("out")
        check(self.sim("run", path, "--out", folder, "--set", "rounds=20"))
        rows, summary = self.rows(folder), self.summary(folder)
        steps = events(glob.glob(os.path.join(folder, "*tfevents*"))[0])
        self.assertEqual(sorted(steps), list(range(1, 21)))
        up = 0
        for row in rows:
            step = steps[int(row["round"])]
            up += int(row["bytes_up"])
            self.assertEqual(step["bytes/up"], up)
            self.assertEqual("accuracy/test" in step, row["accuracy_fraction"] != "")
            if row["accuracy_fraction"]:
                self.assertAlmostEqual(step["accuracy/test"], float(row["accuracy_fraction"]), 6)
            self.assertEqual((row["run"], row["seed"], row["config_hash"]), (summary["run"], "3", summary["config_hash"]))
        self.assertAlmostEqual(sum(float(r["energy_joules"]) for r in rows), summary["energy_joules"], 6)
        for name in ("rounds.jsonl", "config.yaml", "accuracy.svg"):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                self.assertIn(summary["run"], f.read(), name)

    def test_sweep(self):
        self.write("busy.yaml", FLEET)
        path, folder = self.write("sweep.yaml", """
experiment: busy.yaml
seeds: [1, 2]
targets: [0.3]
set: {rounds: 15, evaluation.every: 1}
grid: {local.lr: [0.05, 0.1]}
list: [{cohort: 3}, {cohort: 5}]
"""), self.world.path("swept")
        p = subprocess.Popen([f"{BIN}/sotto-sim", "sweep", path, "--out", folder], stdout=subprocess.PIPE, text=True)
        self.assertIn("8 runs, 0 have ended", p.stdout.readline())
        p.stdout.readline()  # one has
        p.terminate()
        p.communicate(timeout=120)
        done = check(self.sim("sweep", path, "--out", folder, "--jobs", 2))
        self.assertNotIn(" 0 have ended", done.out)
        table = check(self.sim("report", folder, "--target", 0.3, "--json")).json_lines()
        self.assertEqual([(r["runs"], r["ended"]) for r in table], [(2, 2)] * 4)
        for r in table:
            runs = [self.rows(d) for d in glob.glob(os.path.join(folder, "*")) if os.path.isdir(d)
                    and all(f"{s}" in os.path.basename(d) for s in r["experiment"].split())]
            self.assertEqual(len(runs), 2, r)
            last = [float(rows[-1]["accuracy_fraction"]) for rows in runs]
            self.assertAlmostEqual(r["accuracy_mean"], sum(last) / 2)
        self.assertTrue(os.path.exists(os.path.join(folder, "report.csv")))
        check(self.sim("sweep", path, "--out", folder, "--set", "model.zoo=nonsense"), 1)
        bad = self.write("bad.yaml", "experiment: busy.yaml\ngrid: {local.lr: [0.1, fast]}\n")
        refused = self.sim("sweep", bad, "--out", folder)
        self.assertNotEqual(refused.code, 0)
        self.assertIn("local.lr=fast", refused.err)


if __name__ == "__main__":
    main()
