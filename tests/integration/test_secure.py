"""Secure aggregation over real processes, the authority in a folder that the coordinator does not read: groups, teachers,
evaluation rounds, plain tasks beside, crashes of devices and of the coordinator in each exchange."""
import os
import random
import struct
import time
import unittest

import secure
from harness import Case, check, main, refused, seed, task, wait

TAP = os.environ.get("SOTTO_TAP") == "1"  # a build that shows what is under the masks
EXCHANGES = {"advertise": 1, "shares": 3, "masked": 5, "signature": 7, "unmask": 9}


class Masked(Case):
    def show(self, c, name, number):
        return c.json("rounds", "show", name, number)

    def check_group(self, group, members):
        self.assertEqual((group["state"], group["members"], group["survivors"]), ("summed", members, members), group)
        self.assertEqual(group["threshold"], 2 * members // 3 + 1)
        self.assertEqual((group["claim"], group["complete"], group["authority_beside"]), ("cheating", True, False))
        self.assertEqual(sum(group["dropped"].values()), 0)
        self.assertGreater(group["bytes_up"], members * 1000)
        self.assertGreater(group["bytes_down"], members * 1000)

    def test_rounds(self):
        c, devices = secure.elsewhere(self.world, 10)
        check(c.create(secure.task(rounds=3)))
        for d in devices:
            d.start()
        c.wait_finished("masked")
        for r in c.rounds("masked"):
            self.assertEqual((r["state"], r["members"], r["counted"], r["returned"], r["train_examples"]),
                             ("committed", 10, 10, 0, 400), r)
            shown = self.show(c, "masked", r["round"])
            self.assertTrue(shown["masked"])
            self.assertEqual(len(shown["secure_groups"]), 1)
            self.check_group(shown["secure_groups"][0], 10)
        text = check(c.ctl("rounds", "show", "masked", "1")).out
        for words in ("masked task", "threshold 7 of 10", "secure against a cheating coordinator", "unmasked in"):
            self.assertIn(words, text)
        self.assertEqual(len(c.events("secure.sum", "masked")), 3)
        # Nothing of the rounds is left on disk, and there never was a key.
        wait("erasure", lambda: not os.listdir(os.path.join(c.state, "uploads")))
        self.assertEqual(os.listdir(os.path.join(c.state, "sums")), [])
        for d in devices:
            wait("outcome", lambda d=d: d.status()["work"] == "none" and d.status()["reports"] == 3)
            self.assertEqual(d.stop(), 0, d.log())
            own = [e["secure_group"] for e in d.history() if "secure_group" in e]  # the device's own record
            self.assertEqual([(g["attempt"], g["members"], g["survivors"], g["threshold"], g["minimum"], g["claim"],
                               g["outcome"]) for g in own], [(1, 10, 10, 7, 10, "cheating", "kept")] * 3, own)
            for g in own:  # the others' shares may have been enough
                self.assertIn(g["state"], ("signed", "unmasked"))

    def test_fednova_needs_sums_alone(self):
        """Equal steps: what the server learns of them through masks makes FedNova the plain average."""
        c, devices = secure.elsewhere(self.world, 10)
        for d in devices:
            d.start()
        reached = []
        for strategy, clip in (("fedavg", 2), ("fednova", 0.1)):
            check(c.create(secure.task(strategy, rounds=4), f"server.strategy={strategy}", f"uplink.clip_norm={clip}",
                           "uplink.keep=1", "uplink.support=own", "uplink.bits=10", "uplink.error_feedback=false",
                           "weight_max=40", "local.epochs=3", "local.momentum=0.5"))
            c.wait_finished(strategy)
            reached.append([m["accuracy"] for m in c.models(strategy)])
        self.assertGreater(reached[0][-1], reached[0][0] + 0.2, reached)
        for average, normalized in zip(*reached):
            self.assertLess(abs(average - normalized), 0.05, reached)

    def test_two_groups_are_teachers_and_plain_tasks_go_on(self):
        c, devices = secure.elsewhere(self.world, 20, policy=("secure_aggregation preferred", "backend cpu"))
        check(c.create(secure.task("wide", rounds=2, cohort=20), "groups=2", "distill.enabled=true", "distill.steps=5",
                       "distill.pool=50", "evaluate.every=2"))
        check(c.create(task("plain", rounds=2, cohort=4)))
        for d in devices:
            d.start()
        for name in ("wide", "plain"):
            c.wait_finished(name)
        rounds = c.rounds("wide")
        self.assertEqual([(r["kind"], r["state"]) for r in rounds],
                         [("train", "committed"), ("train", "committed"), ("evaluate", "committed")])
        for r in rounds[:2]:
            groups = self.show(c, "wide", r["round"])["secure_groups"]
            self.assertEqual([g["group"] for g in groups], [0, 1])
            for g in groups:
                self.check_group(g, 10)
        self.assertEqual(rounds[2]["counted"], 20)
        self.assertGreater(rounds[2]["train_examples"], 0)
        for v in c.models("wide")[1:]:
            self.assertIsNotNone(v["distill_gain"])
        self.assertFalse(self.show(c, "plain", 1)["masked"])
        self.assertEqual([r["counted"] for r in c.rounds("plain")], [4, 4])

    def test_refusals(self):
        c, devices = secure.elsewhere(self.world, 10, policy=("secure_aggregation required", "minimum_group 12",
                                                               "backend cpu"))
        refused(c.create(secure.task(cohort=5)), "10", code=1)
        refused(c.create(secure.task(), "uplink.support=own"), "uplink.support", code=1)
        check(c.create(secure.task(rounds=1)))
        for d in devices:
            d.start()
        # A group of ten is below what these devices want: they decline, and the round fails with its reason.
        failed = wait("failed round", lambda: [r for r in c.rounds("masked") if r["state"] == "failed"])
        self.assertIn("ready", failed[0]["reason"])
        self.assertTrue(c.events("device.decline", "masked"))

    def test_authority_beside(self):
        """A first set-up: all works, and less is claimed."""
        c = self.world.coordinator().init().start()
        check(c.create(secure.task(rounds=1)))
        for d in self.world.fleet(c, 10, 40, ("secure_aggregation required", "backend cpu")):
            d.start()
        c.wait_finished("masked")
        group = self.show(c, "masked", 1)["secure_groups"][0]
        self.assertEqual((group["claim"], group["authority_beside"]), ("curious", True))
        self.assertIn("secure against a curious coordinator", check(c.ctl("rounds", "show", "masked", "1")).out)

    def test_published_support(self):
        """The support travels in the package: both sides, and a coordinator that starts anew, read the same."""
        c, devices = secure.elsewhere(self.world, 10)
        check(c.create(secure.task(rounds=4), "uplink.support=published"))
        for d in devices:
            d.start()
        wait("second round", lambda: len(c.committed("masked")) >= 2)
        c.kill()
        c.start()
        c.wait_finished("masked")
        self.assertEqual({(r["state"], r["counted"]) for r in c.rounds("masked")}, {("committed", 10)})

    def test_coordinator_killed_at_random(self):
        """kill -9 again and again: rounds end, and models are those of an undisturbed run."""
        rng = random.Random(seed())
        digests = []
        for name, kills in (("calm", 0), ("killed", 12)):
            c, devices = secure.elsewhere(self.world, 10, name)
            check(c.create(secure.task(rounds=6), "lease=0s"))
            for d in devices:
                d.start()
            for _ in range(kills):
                time.sleep(rng.expovariate(1 / 0.15))  # the moment is the random input
                c.kill()
                c.start()
            c.wait_finished("masked")
            self.assertEqual({(r["state"], r["counted"]) for r in c.rounds("masked")}, {("committed", 10)})
            digests.append([v["digest"] for v in c.models("masked")])
            for d in devices:
                d.stop()
            c.stop()
        self.assertEqual(digests[0], digests[1])

    def test_devices_killed_at_random(self):
        rng = random.Random(seed())
        c, devices = secure.elsewhere(self.world, 16)
        check(c.create(secure.task(rounds=0, cohort=16, timeout="1s"), "cohort_min=12"))
        for d in devices:
            d.start()
        for _ in range(25):
            time.sleep(rng.expovariate(1 / 0.1))
            d = rng.choice(devices)
            d.kill()
            d.start()
        done = len(c.committed("masked"))
        wait("a round after the kills", lambda: len(c.committed("masked")) > done + 1)
        for r in c.committed("masked"):
            g = [g for g in self.show(c, "masked", r["round"])["secure_groups"] if g["state"] == "summed"]
            self.assertEqual(len(g), 1)
            self.assertEqual(r["counted"], g[0]["survivors"])
            self.assertGreaterEqual(r["counted"], g[0]["threshold"])


@unittest.skipUnless(TAP, "this build shows nothing under the masks")
class Tapped(Case):
    def tap(self, name):
        folder = self.world.path(name)
        os.mkdir(folder)
        os.environ["SOTTO_TAP_DIR"] = folder
        self.addCleanup(os.environ.pop, "SOTTO_TAP_DIR", None)
        self.addCleanup(os.environ.pop, "SOTTO_TAP_DIE", None)
        return folder

    def values(self, path):
        with open(path, "rb") as f:
            data = f.read()
        return struct.unpack(f"<{len(data) // 4}I", data)

    def check_sums(self, c, name, folder):
        """Each printed aggregate is the plain sum of its survivors' vectors."""
        checked = 0
        for r in c.committed(name):
            shown = c.json("rounds", "show", name, r["round"])
            for g in shown["secure_groups"]:
                if g["state"] != "summed":
                    continue
                members = [m["serial"] for m in shown["member_list"]
                           if m["state"] == "counted" and m["group"] == g["group"]]
                self.assertEqual(len(members), g["survivors"])
                file = [f for f in os.listdir(folder) if f.startswith("sum-") and f.endswith(g["id"][:16])]
                self.assertEqual(len(file), 1)
                terms = file[0].split("-")[1]
                vectors = [self.values(os.path.join(folder, f"vector-{terms}-{s.to_bytes(8, 'little').hex()}"))
                           for s in members]
                self.assertEqual([sum(v) % 65536 for v in zip(*vectors)], list(self.values(os.path.join(folder, file[0]))))
                checked += 1
        return checked

    def test_devices_killed_in_each_exchange(self):
        folder = self.tap("tap")
        c, devices = secure.elsewhere(self.world, 16)
        check(c.create(secure.task(rounds=2, cohort=16, timeout="3s"), "cohort_min=11"))
        for i, d in enumerate(devices):
            if i < 5:
                os.environ["SOTTO_TAP_DIE"] = f"device:{list(EXCHANGES.values())[i]}"
                os.environ["SOTTO_TAP_NAME"] = str(i)
            d.start()
            os.environ.pop("SOTTO_TAP_DIE", None)
        self.addCleanup(os.environ.pop, "SOTTO_TAP_NAME", None)
        wait("first round", lambda: c.committed("masked"))
        g = [g for g in c.json("rounds", "show", "masked", 1)["secure_groups"] if g["state"] == "summed"][0]
        self.assertEqual({k: g["dropped"][k] for k in ("shares", "masked", "signature")},
                         {"shares": 1, "masked": 1, "signature": 1}, g)
        self.assertEqual(len([f for f in os.listdir(folder) if f.startswith("died-device")]), 5)
        for i in range(5):  # back again
            self.assertFalse(devices[i].process.alive())
            devices[i].process.wait()
            devices[i].start()
        c.wait_finished("masked")
        self.assertEqual(self.check_sums(c, "masked", folder), 2)

    def test_coordinator_killed_in_each_exchange(self):
        folder = self.tap("tap")
        c, devices = secure.elsewhere(self.world, 10)
        check(c.create(secure.task(rounds=5), "lease=0s"))
        for number, exchange in enumerate(EXCHANGES.values()):
            c.stop()
            os.environ["SOTTO_TAP_DIE"] = f"coordinator:{exchange}"
            c.start()
            os.environ.pop("SOTTO_TAP_DIE")
            if number == 0:
                for d in devices:
                    d.start()
            wait("death of the coordinator", lambda: not c.process.alive())
            c.process.wait()
            c.start()
        c.wait_finished("masked")
        self.assertEqual({(r["state"], r["counted"]) for r in c.rounds("masked")}, {("committed", 10)})
        self.assertEqual(self.check_sums(c, "masked", folder), 5)


if __name__ == "__main__":
    main()
