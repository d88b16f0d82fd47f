"""What goes wrong on a machine: taken ports, locked and damaged stores, missing files, full disks. Each gets a clear error, the
right exit code and no hang."""
import contextlib
import glob
import os
import socket
import sqlite3

from harness import BIN, SLOW, Case, check, main, refused, run, task, wait


class Coordinator(Case):
    def setUp(self):
        super().setUp()
        self.c = self.world.coordinator()

    def refuses_to_start(self, *words, code=1, sets=(), **limits):
        result = run(*self.c.argv(sets), seconds=30, **limits)
        return refused(result, *words, code=code)

    def test_no_state(self):
        self.refuses_to_start("sottoctl init")
        refused(self.c.ctl("status"), "sotto-coordinator", code=3)
        refused(run(f"{BIN}/sotto-coordinator"), "state", code=78)

    def test_bad_config(self):
        self.c.init()
        self.refuses_to_start("listening", code=78, sets=["listening=here"])
        self.refuses_to_start("udp://1.2.3.4:5", "tcp", sets=["listen=udp://1.2.3.4:5"])
        path = self.world.path("coordinator.yaml")
        with open(path, "w", encoding="ascii") as f:
            f.write("workers: 2\nkeep_versions: 1\n")
        result = run(f"{BIN}/sotto-coordinator", "--config", path, "--state", self.c.state)
        refused(result, "coordinator.yaml:2", "keep_versions", "2", code=78)
        refused(self.c.ctl("config", "check", "--daemon", path), "keep_versions", code=4)

    def test_port_in_use(self):
        self.c.init()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refuses_to_start(str(port), "in use", code=3, sets=[f"listen=tcp://127.0.0.1:{port}"])
        self.c.start(f"listen=tcp://127.0.0.1:{port}")

    def test_second_daemon(self):
        self.c.init().start()
        self.refuses_to_start("another sotto-coordinator", code=3)
        self.assertEqual(self.c.json("status")["tasks"], [])
        refused(self.c.ctl("init"), "set up already")
        self.c.kill()
        self.c.start()  # a lock does not outlive its process

    def test_locked_database(self):
        self.c.init().start()
        self.c.stop()
        db = sqlite3.connect(os.path.join(self.c.state, "coordinator.db"), isolation_level=None)
        with contextlib.closing(db):
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("INSERT INTO meta VALUES ('test', x'00')")
            result = run(*self.c.argv(), seconds=60)
            self.assertIn(result.code, (1, 3), result)
            self.assertRegex(result.err, "locked|busy")
            db.execute("ROLLBACK")
        self.c.start()

    def test_damaged_database(self):
        self.c.init().start()
        self.c.stop()
        path = os.path.join(self.c.state, "coordinator.db")
        with open(path, "r+b") as f:
            f.write(b"not a database, whatever it may have been" * 20)
        self.refuses_to_start("coordinator.db")
        with open(path, "wb"):
            pass  # empty: as if new, but keys and document are there
        self.c.start()
        self.assertEqual(self.c.json("devices"), [])

    def test_database_of_a_newer_version(self):
        self.c.init().start()
        self.c.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.c.state, "coordinator.db"))) as db:
            db.execute("PRAGMA user_version = 4711")
        self.refuses_to_start("4711")

    def test_missing_evaluation_data(self):
        self.c.init().start()
        there = self.world.path("points.csv")
        with open(there, "w", encoding="ascii") as f:
            f.write("".join(f"{i % 9},{i % 5},{i % 3}\n" for i in range(30)))
        model = "\n  graph:\n    input: [2]\n    dtype: f32\n    classes: 3\n    layers:\n      - dense: {units: 3}"
        refused(self.c.create(task("digits", model=model), "evaluation.data=" + self.world.path("gone.csv")), "gone.csv")
        refused(self.c.create(task("digits"), "evaluation.data=mnist"), "evaluation.dir")
        check(self.c.create(task("points", model=model), "evaluation.data=" + there, "evaluation.count=10"))
        # Gone at a restart: that task is not loaded and says why, the others are.
        check(self.c.create(task("digits", rounds=1, cohort=1)))
        self.c.stop()
        os.rename(there, there + ".away")
        self.c.start()
        broken = self.c.events("task.broken")
        self.assertEqual([e["task"] for e in broken], ["points"])
        self.assertIn("points.csv", broken[0]["text"])
        self.world.fleet(self.c, 1)[0].start()
        self.c.wait_finished("digits")
        self.c.stop()
        os.rename(there + ".away", there)
        self.c.start()
        self.assertNotEqual(self.c.task("points")["round_state"], "not loaded")

    def test_lost_model(self):
        """A master that is gone or damaged: a message that names it, not a wrong model."""
        self.c.init().start()
        check(self.c.create(task("digits", rounds=2, cohort=1)))
        self.c.stop()
        for path in glob.glob(os.path.join(self.c.state, "blobs", "masters", "*")):
            with open(path, "r+b") as f:
                f.truncate(100)
        self.c.start()
        self.world.fleet(self.c, 1)[0].start()
        wait("failure that names the file", lambda: [
            e for e in self.c.events() if "masters" in e["text"] and e["kind"] in ("round.fail", "round.retry", "task.broken")])
        self.assertEqual(len(self.c.models("digits")), 1)

    def test_full_disk(self):
        """Writes fail above a size of file, as on a full disk: the round is given back or waits, nothing that was acknowledged is
        lost, and with room again the task goes on."""
        self.c.init().start(file_bytes_max=300_000)
        refused(self.c.create(task("big", "mnist-2nn")))  # its master has 800 kB
        self.assertTrue(self.c.process.alive(), self.c.process.log())
        self.c.stop()
        self.c.start()
        check(self.c.create(task("big", "mnist-2nn", rounds=2, cohort=2)))
        devices = self.world.fleet(self.c, 2)
        self.c.stop()
        self.c.start(file_bytes_max=400_000)  # reports fit, sums do not
        for d in devices:
            d.start()
        wait("failure", lambda: not self.c.process.alive() or [
            e for e in self.c.events() if e["kind"] in ("round.fail", "round.retry", "task.broken")], 90)
        if self.c.process.alive():
            self.c.stop()
        else:
            self.assertIn(self.c.process.wait(), (1, 3), self.c.process.log())
        self.c.start()
        wait("round with room again", lambda: self.c.committed("big"), 120)
        for d in devices:
            self.assertTrue(d.process.alive(), d.log())

    def test_state_that_cannot_be_written(self):
        if os.geteuid() == 0:
            self.skipTest("root writes everywhere")
        self.c.init().start()
        self.c.stop()
        os.chmod(self.c.state, 0o500)
        try:
            self.refuses_to_start(self.c.state)
        finally:
            os.chmod(self.c.state, 0o700)


class Device(Case):
    def setUp(self):
        super().setUp()
        self.c = self.world.coordinator().init().start()
        self.d = self.world.fleet(self.c, 1)[0]

    def test_no_device(self):
        empty = self.world.device("empty")
        for verb in ("status", "history"):
            refused(empty.client(verb), "no device")
        refused(empty.client("run", "--once"), "not enrolled")

    def test_second_agent(self):
        self.d.start()
        wait("check-in", lambda: self.c.json("status")["check_ins"] > 0)
        refused(self.d.client("run", "--once"), "another", code=3)
        self.d.status()  # looking is allowed
        self.d.digits(7)  # and so are new examples
        self.assertEqual(self.d.stop(), 0)

    def test_damaged_store(self):
        with open(os.path.join(self.d.state, "device.db"), "r+b") as f:
            f.write(b"this is no database at all" * 40)
        for verb in (("run", "--once"), ("status",), ("import", "digits")):
            refused(self.d.client(*verb), self.d.state, "damaged", "enrol anew")

    def test_full_disk(self):
        check(self.c.create(task("digits", rounds=1, cohort=1)))
        size = os.path.getsize(os.path.join(self.d.state, "device.db"))
        result = self.d.client("import", "digits", "--count", "5000", "--collection", "more", file_bytes_max=size + 100_000)
        self.assertEqual(result.code, 1, result)
        self.assertRegex(result.err, "full|I/O|too large|written")
        names = [s["name"] for s in self.d.status()["collections"] if s["examples"] > 0]
        self.assertEqual(names, ["digits"])  # all or nothing
        self.d.start()
        self.c.wait_finished("digits")

    def test_bad_example_files(self):
        bad = self.world.path("bad.csv")
        for text, word in (("", "bad.csv"), ("1,2\n1\n", "bad.csv"), ("1,x,1\n", "bad.csv"), ("1,2,nan\n", "bad.csv")):
            with open(bad, "w", encoding="ascii") as f:
                f.write(text)
            refused(self.d.client("--quiet", "import", "csv", bad, "--collection", "points"), word)
        with open(bad, "wb") as f:
            f.write(b"\0\0\x08\x03\xff\xff\xff\xff\0\0\0\x1c\0\0\0\x1c")
        refused(self.d.client("--quiet", "import", "idx", bad, bad, "--collection", "images"), "bad.csv")
        refused(self.d.client("--quiet", "import", "csv", self.world.path("gone.csv")), "gone.csv")
        refused(self.d.client("improt"), "import", code=2)

    def test_once_ends_by_itself(self):
        check(self.c.create(task("digits", rounds=1, cohort=1)))
        done = check(self.d.client("--quiet", "--json", "run", "--once"))
        self.assertEqual(done.json()["reports"], 1)
        if SLOW == 1:  # half a minute of waiting for connections, which a sanitizer need not see
            self.c.stop()
            refused(self.d.client("--quiet", "run", "--once"), "no coordinator", code=3)


if __name__ == "__main__":
    main()
