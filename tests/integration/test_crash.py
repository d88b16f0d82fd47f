"""The crash test: coordinator and devices are killed (kill -9) at random moments, again and again, and every model version has
the same digest as in an undisturbed run with the same seed, devices and data.

SOTTO_KILLS sets how many kills; SOTTO_SEED which.
"""
import os
import random
import time

from harness import SLOW, Case, Failure, check, main, seed, task, wait

DEVICES = 4
KILLS = int(os.environ.get("SOTTO_KILLS", "200"))
PAUSE_MEANS_S = (0.02, 0.1, 0.25)  # between two kills: some come while the victim of the last one starts


class Crash(Case):
    def setting(self, name):
        """A coordinator with its task and enrolled devices; the same in both runs."""
        c = self.world.coordinator(name, "keep_versions=100000").init().start()
        devices = self.world.fleet(c, DEVICES, 80, prefix=name + "-device")
        # No leases, no deadline, no over-selection: a killed device is waited for.
        check(c.create(task("crash", rounds=0, cohort=DEVICES), "lease=0s", "groups=2", "uplink.keep=0.2",
                       "distill.enabled=true", "distill.from_round=20", "distill.steps=10", "distill.pool=64"))
        return c, devices

    def disturb(self, c, devices, rng):
        """Kills one of the processes and starts it again, KILLS times. The victims: the coordinator three times in eight."""
        counts = {"coordinator": 0, "device": 0}
        for _ in range(KILLS):
            # The moment of the kill is the random input.
            time.sleep(rng.expovariate(1 / rng.choice(PAUSE_MEANS_S)) * min(SLOW, 2))
            victim = c if rng.random() < 0.375 else rng.choice(devices)
            counts["coordinator" if victim is c else "device"] += 1
            if not victim.process.alive():
                raise Failure(f"{victim.process.argv[0]} ended by itself with {victim.process.wait()}:\n"
                              f"{victim.process.log()[-3000:]}")
            victim.kill()
            victim.start()
        return counts

    def test_same_digests_as_undisturbed(self):
        rng = random.Random(seed())
        c, devices = self.setting("disturbed")
        for d in devices:
            d.start()
        began = time.monotonic()
        counts = self.disturb(c, devices, rng)
        took = time.monotonic() - began
        reached = len(c.rounds("crash"))
        c.wait_rounds("crash", reached + 2, 60)  # and all of them still work
        check(c.ctl("task", "pause", "crash"))
        wait("end of the last round", lambda: all(r["state"] == "committed" for r in c.rounds("crash")))
        disturbed = c.models("crash")
        for r in c.rounds("crash"):
            self.assertEqual((r["counted"], r["rejected"], r["returned"]), (DEVICES, 0, 0), r)
        for d in devices:
            d.stop()
        c.stop()
        rounds = len(disturbed) - 1
        print(f"{KILLS} kills ({counts['coordinator']} of the coordinator) in {took:.0f} s, {rounds} rounds", flush=True)

        c, devices = self.setting("undisturbed")
        for d in devices:
            d.start()
        c.wait_rounds("crash", rounds, 240)
        undisturbed = {v["version"]: v["digest"] for v in c.models("crash")}
        for v in disturbed:
            self.assertEqual(v["digest"], undisturbed[v["version"]], f"version {v['version']}")
        print(f"{len(disturbed)} versions with equal digests, the last {disturbed[-1]['digest']}", flush=True)


if __name__ == "__main__":
    main()
