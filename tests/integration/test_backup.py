"""Backup, restore and rollback as an operator does them."""
import os
import shutil

from harness import Case, check, main, refused, task, wait


class Backup(Case):
    def test_drill(self):
        c = self.world.coordinator().init().start()
        devices = self.world.fleet(c, 2)
        check(c.create(task("digits", rounds=0, cohort=2)))
        for d in devices:
            d.start()
        c.wait_rounds("digits", 3)
        # While rounds go on: the backup is of one moment.
        folder = self.world.path("backup")
        check(c.ctl("backup", folder))
        refused(c.ctl("backup", folder), "exists already")
        self.assertEqual(os.stat(folder).st_mode & 0o077, 0)
        saved = len(c.committed("digits"))
        c.wait_rounds("digits", saved + 2)
        lost = c.rounds("digits")[-1]["round"]
        refused(c.ctl("restore", folder), "empty folder")
        # The machine is lost; devices go on trying.
        c.kill()
        address = c.address
        shutil.rmtree(c.state)
        refused(c.ctl("restore", self.world.path("tokens-not-there")), "not a backup")
        check(c.ctl("restore", folder))
        c.start("listen=" + address)
        versions = c.models("digits")
        self.assertGreaterEqual(len(versions), 4)
        # Round numbers are far ahead of every one that a device has seen, so the fleet goes on.
        last = versions[-1]["version"]
        wait("rounds after the restore", lambda: any(
            r["state"] == "committed" and r["round"] > lost for r in c.rounds("digits")))
        new = [r for r in c.rounds("digits") if r["round"] > lost]
        self.assertGreaterEqual(min(r["round"] for r in new), 1 << 20, new)
        self.assertGreater(c.models("digits")[-1]["version"], last)
        self.assertIn("store.restore", [e["kind"] for e in c.events()])
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())

    def test_rollback(self):
        c = self.world.coordinator().init().start()
        devices = self.world.fleet(c, 2)
        check(c.create(task("digits", rounds=0, cohort=2)))
        for d in devices:
            d.start()
        c.wait_rounds("digits", 3)
        check(c.ctl("task", "pause", "digits"))
        wait("end of the last round", lambda: c.task("digits")["round_state"] not in ("open", "opening", "advancing"))
        before = c.models("digits")
        check(c.ctl("models", "release", "digits", "2"))
        check(c.ctl("models", "rollback", "digits", "2"))
        refused(c.ctl("models", "rollback", "digits", "99"), "99")
        now = c.models("digits")[-1]
        self.assertEqual(now["version"], before[-1]["version"] + 1)
        self.assertEqual((now["parent"], now["origin"], now["digest"]), (2, "rollback", before[1]["digest"]))
        self.assertTrue(c.models("digits")[1]["released"])
        # The next round trains from it, also after a crash.
        c.kill()
        c.start()
        self.assertEqual(c.task("digits")["state"], "paused")
        done = len(c.rounds("digits"))
        check(c.ctl("task", "resume", "digits"))
        c.wait_rounds("digits", done + 1)
        self.assertEqual(c.rounds("digits")[done]["base_version"], now["version"])
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())

    def test_exported_package_starts_a_task(self):
        c = self.world.coordinator().init().start()
        check(c.create(task("digits", rounds=2, cohort=1)))
        self.world.fleet(c, 1)[0].start()
        c.wait_finished("digits")
        package = self.world.path("model.sotto")
        check(c.ctl("models", "export", "digits", "--output", package))
        made = check(c.create(task("more", rounds=1, cohort=1, model=f"\n  package: {package}"))).json()
        self.assertAlmostEqual(made["accuracy"], c.models("digits")[-1]["accuracy"], places=6)
        c.wait_finished("more")
        os.truncate(package, 3000)
        refused(c.create(task("broken", model=f"\n  package: {package}")), "model.sotto")

    def test_stop_and_finish(self):
        c = self.world.coordinator().init().start()
        check(c.create(task("digits", rounds=0, cohort=1)))
        self.world.fleet(c, 1)[0].start()
        c.wait_rounds("digits", 1)
        check(c.ctl("task", "stop", "digits"))
        self.assertEqual(c.task("digits")["state"], "stopped")
        for verb in ("pause", "resume", "stop"):
            refused(c.ctl("task", verb, "digits"), "stopped")
        refused(c.ctl("task", "show", "none"), "none")
        self.assertEqual(c.stop(), 0)
        refused(c.ctl("status"), "sotto-coordinator", code=3)
        c.start()
        self.assertEqual(c.task("digits")["state"], "stopped")


if __name__ == "__main__":
    main()
