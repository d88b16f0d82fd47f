"""The agent built for arm64, whole, under an emulator, beside one of this machine: int8 model down, trained by NEON, sealed update up."""
import os
import shutil
import sys

from harness import Case, Device, Process, check, main, run, task

EMULATOR = "qemu-aarch64"
SYSROOT = os.environ.get("SOTTO_ARM64_SYSROOT", "build/arm64-sysroot")
AGENT = os.path.join(os.environ.get("SOTTO_ARM64_BIN", "build/arm64/bin"), "sotto-client")
ROUNDS = 2


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
