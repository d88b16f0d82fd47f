"""Plans that a device declines: another schema, its owner's policy, no examples. The reason stands at both ends."""
from harness import Case, check, main, refused, task, wait

CSV = """
task:
  name: {name}
  collection: digits
model:
  graph:
    input: [4]
    dtype: f32
    classes: 3
    layers:
      - dense: {{units: 3}}
rounds: 0
cohort: 1
pace: 50ms
evaluation:
  data: {data}
  count: 10
"""


class Refusals(Case):
    def setUp(self):
        super().setUp()
        self.c = self.world.coordinator().init().start()

    def declined(self, device, task_name, rule, *words):
        """Waits until the device has declined a round, and checks what both sides say of it."""
        def entry():
            return [h for h in device.history() if h["text"].startswith("declined") and rule in h["text"]]
        text = wait("refusal in the device's history", entry)[0]["text"]
        for word in words:
            self.assertIn(word, text)
        serial = device.serial()

        def event():
            return [e for e in self.c.events(task=task_name) if rule in e["text"] and str(serial) in e["text"]]
        said = wait("refusal in the coordinator's events", event)[0]["text"]
        for word in words:
            self.assertIn(word, said)
        self.assertTrue(device.process.alive(), device.log())

    def csv_task(self):
        path = self.world.path("points.csv")
        with open(path, "w", encoding="ascii") as f:
            f.write("".join(f"{i},{i % 5},{i % 7},1,{i % 3}\n" for i in range(40)))
        return CSV.format(name="points", data=path)

    def test_schema_that_does_not_fit(self):
        check(self.c.create(self.csv_task()))
        device = self.world.fleet(self.c, 1)[0].start()
        self.declined(device, "points", "schema")
        wait("failed round", lambda: [r for r in self.c.rounds("points") if r["state"] == "failed"])
        self.assertEqual(len(self.c.models("points")), 1)

    def test_device_that_fits_trains_beside_one_that_does_not(self):
        devices = self.world.fleet(self.c, 1)
        other = self.world.device("points").enroll(self.c.tokens(1, "one-more")[0]).policy()
        with open(self.world.path("mine.csv"), "w", encoding="ascii") as f:
            f.write("".join(f"{i % 9},{i % 5},{i % 7},1,{i % 3}\n" for i in range(40)))
        check(other.client("--quiet", "import", "csv", self.world.path("mine.csv"), "--collection", "digits"))
        check(self.c.create(self.csv_task(), "cohort=2", "cohort_min=1", "rounds=2"))
        for d in devices + [other]:
            d.start()
        self.declined(devices[0], "points", "schema")
        self.c.wait_finished("points")
        self.assertEqual([(r["state"], r["counted"]) for r in self.c.rounds("points")], [("committed", 1)] * 2)
        self.assertEqual(other.status()["reports"], 2)

    def test_collection_that_is_missing(self):
        check(self.c.create(task("letters", rounds=0, cohort=1), "task.collection=letters"))
        device = self.world.fleet(self.c, 1)[0].start()
        self.declined(device, "letters", "schema", 'no collection "letters"')

    def test_too_few_examples(self):
        check(self.c.create(task("many", rounds=0, cohort=1), "examples_min=1000"))
        device = self.world.fleet(self.c, 1)[0].start()
        self.declined(device, "many", "examples")

    def test_forgotten_examples(self):
        device = self.world.fleet(self.c, 1)[0]
        check(device.client("--quiet", "forget", "--yes"))
        check(self.c.create(task("digits", rounds=0, cohort=1)))
        device.start()
        self.declined(device, "digits", "schema", 'no collection "digits"')
        # Examples that come later are used in the next round.
        device.digits(1)
        wait("round that commits", lambda: self.c.committed("digits"))

    def test_policy(self):
        """Each limit of the owner's declines by its name."""
        cases = {"arena_bytes 1000": "arena", "flops_per_round 10": "flops", "minimum_group 5": "minimum_group",
                 "secure_aggregation required": "secure_aggregation", "minimum_noise 0.5": "minimum_noise"}
        check(self.c.create(task("digits", rounds=0, cohort=len(cases)), "cohort_min=1"))
        devices = []
        for i, token in enumerate(self.c.tokens(len(cases))):
            d = self.world.device(f"device-{i}").enroll(token).digits(i).policy(list(cases)[i])
            devices.append(d.start())
        for device, (line, rule) in zip(devices, cases.items()):
            with self.subTest(line):
                self.declined(device, "digits", "policy." + rule)

    def test_conditions_keep_a_device_away(self):
        """A device whose conditions do not hold does not even check in."""
        device = self.world.fleet(self.c, 1, policy=["rounds_per_day 2"])[0]
        check(self.c.create(task("digits", rounds=3, cohort=1)))
        device.start()
        self.c.wait_rounds("digits", 2)
        wait("limit in the device's log", lambda: "rounds_per_day" in device.log() or any(
            "rounds_per_day" in h["text"] for h in device.history()))
        self.assertEqual(len(self.c.committed("digits")), 2)

    def test_bad_policy_file(self):
        device = self.world.fleet(self.c, 1)[0].policy("arena_byte 12")
        refused(device.client("run", "--once"), "policy:2", "arena_byte", code=78)
        device.policy("arena_bytes many")
        refused(device.client("run", "--once"), "policy:2", "arena_bytes", code=78)

    def test_bad_task_files(self):
        cases = {
            "rounds: many": "rounds", "cohort: 0": "cohort", "rounds: 10x": "10x", "unknown_key: 1": "unknown_key",
            "uplink: {keep: 2}": "keep", "model: {zoo: resnet}": "resnet", "[": ":1",
            "privacy: {secure_aggregation: required}\nmodel: {zoo: logreg}": "clip_norm",
        }
        for text, word in cases.items():
            with self.subTest(text):
                result = self.c.create(text + "\n")
                self.assertIn(result.code, (1, 78), result)
                self.assertIn(word, result.err)
        self.assertEqual(self.c.json("task", "list"), [])
        check(self.c.create(task("digits")))
        refused(self.c.create(task("digits")), "digits")


if __name__ == "__main__":
    main()
