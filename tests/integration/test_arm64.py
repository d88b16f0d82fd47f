"""The agent built for arm64, whole, under an emulator: int8 model down, trained by NEON, sealed update up; beside an agent of this
machine, and a whole fleet against one of this machine's.
"""
import os
import shutil
import sys

from harness import Case, Device, Process, check, main, run, task

EMULATOR = "qemu-aarch64"
SYSROOT = os.environ.get("SOTTO_ARM64_SYSROOT", "build/arm64-sysroot")
AGENT = os.path.join(os.environ.get("SOTTO_ARM64_BIN", "build/arm64/bin"), "sotto-client")
ROUNDS = 2
# A fleet's model: a convolution before it and both of its gradients, and a product.
MODEL = """
  graph:
    input: [28, 28, 1]
    classes: 10
    layers:
      - conv: {units: 8, kernel: 5, stride: 2}
      - relu
      - conv: {units: 8, kernel: 3, stride: 2}
      - relu
      - flatten
      - dense: {units: 10}
"""
FLEET, FLEET_ROUNDS = 4, 10
# Seeds, devices and examples are the same, so that the runs differ in how sums are rounded, and drift apart from there. The same
# 1,000 examples are asked: one standard deviation of an accuracy near 75% is 1.4 points, and this is three of them.
POINTS = 4.0


class Emulated(Device):
    """A device whose processor is emulated."""
    def __init__(self, world, name, cpu):
        super().__init__(world, name)
        self.program = [EMULATOR, "-cpu", cpu, "-L", SYSROOT, AGENT, "--state", self.state]

    def client(self, *args, seconds=60, file_bytes_max=None):
        return run(*self.program, *args, seconds=3 * seconds, file_bytes_max=file_bytes_max)

    def start(self, *args):
        self.process = self.world.adopt(Process([*self.program, "run", *args], self.state + ".log"))
        return self


class Arm64(Case):
    def federate(self, cpu, flags, kernels):
        c = self.world.coordinator().init().start()
        arm, other = c.tokens(2)
        devices = [Emulated(self.world, "arm", cpu).enroll(arm).digits(1).policy(),
                   self.world.device("other").enroll(other).digits(2).policy()]
        check(c.create(task("digits", "mnist-2nn", ROUNDS, 2)))
        devices[0].start(*flags)
        devices[1].start()
        c.wait_finished("digits", 200)
        for r in c.rounds("digits"):
            self.assertEqual((r["state"], r["counted"], r["rejected"]), ("committed", 2, 0), r)
        models = c.models("digits")
        self.assertGreater(models[-1]["accuracy"], models[0]["accuracy"])
        # An int8 package: a byte a parameter and some more.
        parameters = 199210
        self.assertLess(models[-1]["package_bytes"], 1.2 * parameters)
        told = {d["serial"]: d["backend"] for d in c.json("devices")}
        self.assertTrue(told[devices[0].serial()].startswith(kernels), told)
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())
        self.assertEqual(c.stop(), 0)

    def test_named(self):
        self.federate("cortex-a53", ["--backend", "neon"], "neon")

    def test_chosen(self):
        """Without a flag: NEON is the processor's own."""
        self.federate("cortex-a76", [], "neon")

    def reached(self, name, backend, cpu=None):
        """The accuracy, in percent, of the models that a fleet makes: emulated, or this machine's own without a cpu."""
        c = self.world.coordinator(name).init().start()
        check(c.create(task("fleet", MODEL, FLEET_ROUNDS, FLEET), "local.epochs=3", "local.lr=0.15", "uplink.keep=0.25",
                       "uplink.bits=8", "evaluation.count=1000"))
        devices = self.world.fleet(c, FLEET, 60, prefix=name + "-device")  # set up by this machine's client: the state is the same
        if cpu:
            devices = [Emulated(self.world, os.path.basename(d.state), cpu) for d in devices]
        for d in devices:
            d.start("--backend", backend)
        c.wait_finished("fleet", 200)
        self.assertEqual({(r["state"], r["counted"]) for r in c.rounds("fleet")}, {("committed", FLEET)})
        told = [d["backend"] for d in c.json("devices")]
        accuracy = [100 * m["accuracy"] for m in c.models("fleet")]
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())
        self.assertEqual(c.stop(), 0)
        return accuracy, told

    def test_same_accuracy(self):
        """A fleet that trains by NEON alone, and the same on this machine's kernels."""
        ours, _ = self.reached("native", "cpu")
        neon, told = self.reached("neon", "neon", "cortex-a76")
        print(f"cpu {ours[-1]:.1f}%, neon {neon[-1]:.1f}%", flush=True)
        self.assertTrue(all(t.startswith("neon") for t in told), told)
        self.assertEqual(ours[0], neon[0])  # the first model, before any training
        self.assertGreater(ours[-1], 60)
        self.assertLess(abs(ours[-1] - neon[-1]), POINTS)


def why_not():
    """Why this cannot run, or None. An agent from before the sources may speak another protocol; script/test has just built it."""
    if not os.path.exists(AGENT) or shutil.which(EMULATOR) is None:
        return f"no {AGENT} or no {EMULATOR}: script/bootstrap --arm64, then build the preset arm64"
    if os.environ.get("SOTTO_ARM64_FRESH"):
        return None
    source = os.environ.get("SOTTO_SOURCE", ".")
    newest = max(os.path.getmtime(os.path.join(folder, name)) for room in ("client", "protocol")
                 for folder, _, names in os.walk(os.path.join(source, room)) for name in names)
    return f"{AGENT} is older than the sources" if os.path.getmtime(AGENT) < newest else None


if __name__ == "__main__":
    reason = why_not()
    if reason:
        print("skipped:", reason)
        sys.exit(77)
    main()
