"""Every backend of this machine: one experiment on each reaches the same accuracy, and the coordinator is told who trains with what."""
from harness import BIN, Case, check, main, run, task

# A small model: the software device of a machine without a GPU makes a hundred examples a second of mnist-2nn, which takes the
# same instructions.
EXPERIMENT = """
task: {name: digits, seed: 1}
model:
  graph:
    input: [28, 28, 1]
    classes: 10
    layers:
      - flatten
      - dense: {units: 32}
      - relu
      - dense: {units: 10}
data: {name: generator, per_writer: 60}
clients: 12
partition: {scheme: natural}
rounds: 10
cohort: 6
local: {epochs: 2, batch: 10, lr: 0.2}
downlink: int8
uplink: {keep: 0.25, bits: 8, error_feedback: true}
evaluation: {every: 10, count: 1000}
"""
# Runs that differ in rounding alone drift apart: one standard deviation of 1,000 examples near 75% is 1.4 points.
POINTS = 4.0


def backends():
    """Name to kernel set of those that can be used here."""
    listed = check(run(f"{BIN}/sotto-client", "devices", "--json")).json()
    return {b["name"]: b["kernels"] for b in listed["backends"] if b["usable"]}


class Backends(Case):
    def test_same_accuracy(self):
        reached = {}
        path = self.world.path("digits.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(EXPERIMENT)
        for name in backends():
            lines = check(run(f"{BIN}/sotto-sim", "run", path, "--json", "--backend", name, seconds=200)).json_lines()
            reached[name] = 100 * lines[-1]["accuracy"]
        print(", ".join(f"{name} {accuracy:.1f}%" for name, accuracy in reached.items()), flush=True)
        self.assertGreater(reached["ref"], 60)
        for name, accuracy in reached.items():
            self.assertLess(abs(accuracy - reached["ref"]), POINTS, name)

    def test_told(self):
        c = self.world.coordinator().init().start()
        names = backends()
        devices = self.world.fleet(c, len(names) + 1)
        check(c.create(task("digits", rounds=3, cohort=len(devices))))
        for device, name in zip(devices, names):
            device.start("--backend", name)
        devices[-1].start()  # chooses for itself
        c.wait_finished("digits")
        told = c.json("devices")
        for device, kernels in zip(told, list(names.values()) + list(set(names.values()))):
            self.assertGreater(device["samples_per_s"], 0)
            self.assertGreater(device["bytes_up"], 0)
            self.assertGreater(device["bytes_down"], 0)
            if device is not told[-1]:
                self.assertEqual(device["backend"], kernels[:63])
        chosen = devices[-1].status()["backends"]
        self.assertEqual(chosen[0]["kernels"], told[-1]["backend"])
        self.assertNotEqual(chosen[0]["backend"], "ref")


if __name__ == "__main__":
    main()
