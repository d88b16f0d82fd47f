"""Rounds from end to end: tasks are trained by devices, and every view of what happened agrees with the others."""
from harness import SMALL, Case, check, main, task, wait

CLIENTS = 4
ROUNDS = 3
EXAMPLES = 120


class RoundTrip(Case):
    def train(self, name, model, parameters_min):
        c = self.world.coordinator().init().start()
        devices = self.world.fleet(c, CLIENTS, EXAMPLES)
        made = check(c.create(task(name, model, ROUNDS, CLIENTS), "local.epochs=3")).json()
        self.assertGreater(made["parameters"], parameters_min)
        for d in devices:
            d.start()
        c.wait_finished(name)
        self.check_rounds(c, name, made)
        self.check_models(c, name, made)
        self.check_devices(c, name, devices)
        self.check_tables(c, name)
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())
        self.assertEqual(c.stop(), 0)

    def check_rounds(self, c, name, made):
        rounds = c.rounds(name)
        self.assertEqual([r["round"] for r in rounds], list(range(1, ROUNDS + 1)))
        package = c.models(name)[0]["package_bytes"]
        fp32 = 4 * made["parameters"] * CLIENTS
        for r in rounds:
            self.assertEqual((r["state"], r["members"], r["counted"], r["rejected"], r["returned"]),
                             ("committed", CLIENTS, CLIENTS, 0, 0), r)
            self.assertEqual((r["train_examples"], r["published"]), (3 * EXAMPLES * CLIENTS, True), r)
            self.assertGreaterEqual(r["bytes_down"], 1, r)
            self.assertLess(r["bytes_down"], CLIENTS * (package + 4096), r)
            self.assertGreater(r["bytes_up"], fp32 / 200, r)
            self.assertLess(r["bytes_up"], fp32 / 10 + 4096 * CLIENTS, r)
            shown = c.json("rounds", "show", name, r["round"])
            self.assertEqual({k: shown[k] for k in r}, r)
            members = shown["member_list"]
            self.assertEqual(sorted(m["serial"] for m in members), [d["serial"] for d in c.json("devices")])
            self.assertEqual({m["state"] for m in members}, {"counted"})
            self.assertEqual(sum(m["report_bytes"] for m in members), r["bytes_up"])

    def check_models(self, c, name, made):
        models, rounds = c.models(name), c.rounds(name)
        self.assertEqual([v["version"] for v in models], list(range(1, ROUNDS + 2)))
        self.assertEqual([v["parent"] for v in models], list(range(ROUNDS + 1)))
        self.assertEqual([v["round"] for v in models], list(range(ROUNDS + 1)))
        self.assertEqual([v["digest"] for v in models[1:]], [r["digest"] for r in rounds])
        self.assertEqual(len({v["digest"] for v in models}), ROUNDS + 1)
        self.assertEqual(models[0]["accuracy"], made["accuracy"])
        self.assertGreater(models[-1]["accuracy"], models[0]["accuracy"] + 0.1)
        shown = c.json("models", "show", name, "current")
        self.assertEqual(shown["version"] if "version" in shown else shown[0]["version"], ROUNDS + 1)
        out = self.world.path("model.sotto")
        check(c.ctl("models", "export", name, "--output", out))
        with open(out, "rb") as f:
            self.assertEqual(len(f.read()), models[-1]["package_bytes"])
        self.assertIn("%", check(c.ctl("models", "evaluate", name, "--samples", "2", "--ascii")).out)

    def check_devices(self, c, name, devices):
        for row in c.json("devices"):
            self.assertEqual((row["state"], row["reports"], row["rejected"]), ("enrolled", ROUNDS, 0), row)
        for d in devices:
            # The last outcome comes with the next check-in.
            status = wait("outcome of the last report", lambda d=d: (
                lambda s: s if s["open_reports"] == 0 else None)(d.status()))
            self.assertEqual((status["enrolled"], status["reports"]), (True, ROUNDS), status)
            rounds = {h["round"] for h in d.history() if h["task"] == name}
            self.assertEqual(rounds, set(range(1, ROUNDS + 1)))

    def check_tables(self, c, name):
        """The tables for people hold the same."""
        self.assertIn("finished", check(c.ctl("task", "list")).out)
        self.assertIn("committed", check(c.ctl("rounds", "list", name)).out)
        self.assertIn("4 counted", check(c.ctl("rounds", "show", name, "1")).out)
        self.assertIn("round.commit", check(c.ctl("events")).out)
        self.assertEqual(len(c.events("round.commit", name)), ROUNDS)
        watched = check(c.ctl("--json", "rounds", "watch", name)).json_lines()
        self.assertEqual([r["round"] for r in watched], list(range(1, ROUNDS + 1)))

    def test_zoo_model(self):
        self.train("zoo", "mnist-2nn", 199209)

    def test_model_that_no_device_has_seen(self):
        self.train("layers", SMALL, 1000)

    def test_two_tasks_at_once(self):
        c = self.world.coordinator().init().start()
        devices = self.world.fleet(c, 2)
        for name in ("one", "two"):
            check(c.create(task(name, rounds=2)))
        for d in devices:
            d.start()
        for name in ("one", "two"):
            c.wait_finished(name)
            self.assertEqual([r["counted"] for r in c.rounds(name)], [2, 2])
        self.assertEqual(c.models("one")[-1]["digest"], c.models("two")[-1]["digest"])  # same seed, same devices
        for d in devices:
            self.assertEqual(d.stop(), 0, d.log())

    def test_groups_distillation_and_evaluation_rounds(self):
        c = self.world.coordinator().init().start()
        check(c.create(task("wide", rounds=4, cohort=CLIENTS), "groups=2", "distill.enabled=true", "distill.steps=20",
                       "distill.pool=100", "evaluate.every=2"))
        for d in self.world.fleet(c, CLIENTS):
            d.start()
        c.wait_finished("wide")
        kinds = [r["kind"] for r in c.rounds("wide")]
        self.assertEqual(kinds.count("train"), 4)
        self.assertIn("evaluate", kinds)
        self.assertEqual({r["state"] for r in c.rounds("wide")}, {"committed"})
        for v in c.models("wide")[1:]:
            self.assertIn(v["origin"], ("round", "distilled"))
            self.assertIsNotNone(v["distill_gain"])
        groups = {m["group"] for m in c.json("rounds", "show", "wide", 1)["member_list"]}
        self.assertEqual(groups, {0, 1})


if __name__ == "__main__":
    main()
