"""Enrolment and what goes wrong with it: tokens, documents, revocation, an authority on another machine."""
import contextlib
import os
import shutil
import sqlite3

from harness import BIN, Case, check, main, refused, run, task, wait


class Enrolment(Case):
    def setUp(self):
        super().setUp()
        self.c = self.world.coordinator().init().start()

    def test_a_token_enrols_one_device(self):
        token = self.c.tokens(1)[0]
        first = self.world.device("first").enroll(token)
        self.assertEqual(first.serial(), 1)
        refused(first.client("--quiet", "enroll", token), "enrolled already", "serial 1")
        second = self.world.device("second")
        refused(second.client("--quiet", "enroll", token), "refuses the token")
        self.assertFalse(second.status()["enrolled"])
        self.assertEqual([d["serial"] for d in self.c.json("devices")], [1])

    def test_token_as_an_argument_and_on_standard_input(self):
        with open(self.c.tokens(1, "one")[0], encoding="ascii") as f:
            text = f.read().strip()
        check(self.world.device("argument").client("--quiet", "enroll", text))
        out = check(self.c.ctl("enroll")).out.strip()  # without --output: on standard output
        check(run(f"{BIN}/sotto-client", "--quiet", "--state", self.world.path("stdin"), "enroll", "-", input_text=out + "\n"))
        self.assertEqual(len(self.c.json("devices")), 2)

    def test_bad_tokens(self):
        with open(self.c.tokens(1)[0], encoding="ascii") as f:
            good = f.read().strip()
        bad = {"empty": "", "words": "not a token", "short": good[:len(good) // 2], "long": good + good,
               "flipped": good[:60] + ("A" if good[60] != "A" else "B") + good[61:]}
        for name, text in bad.items():
            path = self.world.path(name + ".token")
            with open(path, "w", encoding="ascii") as f:
                f.write(text + "\n")
            device = self.world.device(name)
            result = device.client("--quiet", "enroll", path)
            self.assertEqual(result.code, 1, result)
            self.assertRegex(result.err, "token|ticket")
        refused(self.world.device("absent").client("--quiet", "enroll", self.world.path("no-such.token")), "no-such.token")
        self.assertEqual(self.c.json("devices"), [])
        check(self.world.device("good").client("--quiet", "enroll", good))

    def test_every_flipped_byte_is_noticed(self):
        with open(self.c.tokens(1)[0], encoding="ascii") as f:
            good = f.read().strip()
        for at in range(7, len(good), 97):
            text = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1:]
            result = self.world.device(f"flip-{at}").client("--quiet", "enroll", text)
            self.assertEqual(result.code, 1, result)
        self.assertEqual(self.c.json("devices"), [])

    def test_expired_token(self):
        refused(self.c.ctl("enroll", "--days", "0"), "--days", "1 to 3650", code=2)
        token = self.c.tokens(1)[0]
        self.c.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.c.state, "coordinator.db"))) as db:
            db.execute("UPDATE tickets SET expiry_ms = 1000")  # days later, in short
            db.commit()
        self.c.start()
        refused(self.world.device("late").client("--quiet", "enroll", "--wait", "20s", token), "expired")
        self.assertEqual(self.c.json("devices"), [])

    def test_token_of_another_coordinator(self):
        """A fleet's token at a coordinator that has taken the address, but not the keys: silence, and a retry later."""
        token = self.c.tokens(1)[0]
        self.c.stop()
        other = self.world.coordinator("other").init().start("listen=" + self.c.address)
        device = self.world.device("lost")
        result = device.client("--quiet", "enroll", "--wait", "2s", token)
        self.assertEqual(result.code, 3, result)
        self.assertIn("the token is kept", result.err)
        self.assertEqual(other.json("devices"), [])
        other.stop()
        self.c.start()
        # The token is kept: run goes on with it.
        device.policy().start()
        wait("enrolment", lambda: len(self.c.json("devices")) == 1)
        self.assertEqual(device.stop(), 0, device.log())

    def test_device_of_another_fleet(self):
        device = self.world.device("device").enroll(self.c.tokens(1)[0])
        other = self.world.coordinator("other").init().start()
        refused(device.client("--quiet", "enroll", other.tokens(1, "other-tokens")[0]), "another fleet")

    def test_no_coordinator(self):
        token = self.c.tokens(1)[0]
        self.c.stop()
        device = self.world.device("early")
        result = device.client("--quiet", "enroll", "--wait", "1s", token)
        self.assertEqual(result.code, 3, result)
        refused(self.world.device("stranger").client("run", "--once"), "not enrolled")

    def test_revoked_while_it_runs(self):
        devices = self.world.fleet(self.c, 3)
        check(self.c.create(task("digits", rounds=0, cohort=3), "cohort_min=2"))
        for d in devices:
            d.start()
        self.c.wait_rounds("digits", 2)
        gone = devices[1].serial()
        self.assertIn("revoked", check(self.c.ctl("revoke", gone)).out)
        refused(self.c.ctl("revoke", gone), "revoked already")
        refused(self.c.ctl("revoke", 999), "999")
        rows = {d["serial"]: d["state"] for d in self.c.json("devices")}
        self.assertEqual(rows[gone], "revoked")
        self.assertEqual(list(rows.values()).count("enrolled"), 2)
        # The open round loses the device and ends without it; later ones need as many devices as cohort says.
        last = self.c.rounds("digits")[-1]["round"]
        wait("end of the open round", lambda: self.c.json("rounds", "show", "digits", last)["state"] != "open")
        member = {m["serial"]: m["state"] for m in self.c.json("rounds", "show", "digits", last)["member_list"]}
        self.assertIn(member[gone], ("dropped", "counted"))
        wait("refusal of the revoked device", lambda: (
            lambda s: s["refused_connections"] + s["dropped_messages"] > 0)(self.c.json("status")))
        self.assertIn("device.revoke", [e["kind"] for e in self.c.events()])
        # A restart does not let it in again.
        self.c.kill()
        self.c.start()
        wait("refusal after a restart", lambda: self.c.json("status")["refused_connections"] > 0)
        for d in devices:
            self.assertTrue(d.process.alive(), d.log())
            self.assertEqual(d.stop(), 0, d.log())

    def test_newer_document_reaches_devices(self):
        devices = self.world.fleet(self.c, 2)
        check(self.c.create(task("digits", rounds=0, cohort=2)))
        before = devices[0].status()["document"]
        for d in devices:
            d.start()
        self.c.wait_rounds("digits", 1)
        check(self.c.ctl("revoke", self.world.device("third").enroll(self.c.tokens(1, "third-token")[0]).serial()))
        # enroll certifies what has changed, as the authority lies beside the coordinator.
        self.c.tokens(1, "more")
        version = self.c.json("status")["document_version"]
        self.assertGreater(version, before)
        for d in devices:
            wait("new document", lambda d=d: d.status()["document"] == version)
            self.assertEqual(d.stop(), 0, d.log())

    def test_rotated_keys(self):
        """New signing and CURVE keys: devices that know the old ones find the coordinator, and get the new document."""
        devices = self.world.fleet(self.c, 2)
        check(self.c.create(task("digits", rounds=0, cohort=2)))
        for d in devices:
            d.start()
        self.c.wait_rounds("digits", 1)
        old = self.c.address
        self.c.stop()
        check(self.c.ctl("keys", "rotate"))
        self.c.start()
        self.assertNotEqual(self.c.address, old)
        done = len(self.c.committed("digits"))
        self.c.tokens(1, "certifies")
        version = self.c.json("status")["document_version"]
        wait("rounds with the new keys", lambda: len(self.c.committed("digits")) >= done + 3)
        for d in devices:
            wait("new document", lambda d=d: d.status()["document"] == version)
            self.assertEqual(d.stop(), 0, d.log())


class AuthorityElsewhere(Case):
    def test_flow(self):
        authority = self.world.path("authority")
        c = self.world.coordinator()

        def ctl(*args):
            return c.ctl(*args)
        check(ctl("authority", "init", "--authority", authority))
        refused(ctl("authority", "init", "--authority", authority), "exists already")
        c.init("--authority-key", os.path.join(authority, "authority.pub")).start()
        self.assertFalse(os.path.exists(os.path.join(c.state, "authority")))
        refused(ctl("enroll"), "authority")  # no authority here
        request, document, tickets = (self.world.path(n) for n in ("request", "document", "tickets"))
        tokens = self.world.path("tokens")
        refused(ctl("document", "show", "--output", document), "no certified document")
        check(ctl("document", "request", "--output", request))
        check(ctl("authority", "certify", request, "--authority", authority, "--output", document))
        self.assertIn("version 1", check(ctl("document", "import", document)).out)
        refused(ctl("document", "import", document), "version")
        refused(ctl("document", "import", request))
        check(ctl("authority", "issue", "--authority", authority, "--count", 2, "--first", 100, "--document", document,
                  "--list", tickets, "--output", tokens))
        names = sorted(os.path.join(tokens, n) for n in os.listdir(tokens))
        # Tokens that the coordinator does not know yet are refused, and kept by the device.
        early = self.world.device("early")
        self.assertIn(early.client("--quiet", "enroll", "--wait", "1s", names[0]).code, (1, 3))
        shutil.rmtree(early.state)
        self.assertIn("2 tokens taken", check(ctl("enroll", "import", tickets)).out)
        check(c.create(task("digits", rounds=2, cohort=2)))
        for i, name in enumerate(names):
            self.world.device(f"device-{i}").enroll(name).digits(i).policy().start()
        c.wait_finished("digits")
        self.assertEqual(c.json("status")["claim"], "authority elsewhere")
        self.assertEqual([d["serial"] for d in c.json("devices")], [100, 101])
        self.assertEqual([r["counted"] for r in c.rounds("digits")], [2, 2])
        self.assertNotIn("lies beside", check(ctl("rounds", "show", "digits", 1)).out)
        # Another authority's document is refused.
        other = self.world.path("other")
        check(ctl("authority", "init", "--authority", other))
        check(ctl("document", "request", "--output", request))
        refused(ctl("authority", "certify", request, "--authority", other, "--output", document), "another authority")

    def test_passphrase(self):
        folder, words, wrong = (self.world.path(n) for n in ("authority", "words", "wrong"))
        for path, text in ((words, "correct horse battery staple\n"), (wrong, "incorrect\n")):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        c = self.world.coordinator()
        check(c.ctl("authority", "init", "--authority", folder, "--passphrase-file", words))
        self.assertEqual(os.stat(os.path.join(folder, "authority.key")).st_mode & 0o777, 0o600)
        c.init("--authority-key", os.path.join(folder, "authority.pub")).start()
        request = self.world.path("request")
        check(c.ctl("document", "request", "--output", request))
        refused(c.ctl("authority", "certify", request, "--authority", folder, "--passphrase-file", wrong,
                      "--output", self.world.path("document")))
        check(c.ctl("authority", "certify", request, "--authority", folder, "--passphrase-file", words,
                    "--output", self.world.path("document")))


if __name__ == "__main__":
    main()
