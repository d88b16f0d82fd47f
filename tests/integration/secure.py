"""Masked rounds for the integration tests: a coordinator that has no authority, a fleet, a task."""
import os

from harness import check

TASK = """
task: {{name: {name}, seed: 5, collection: digits}}
model:
  graph:
    input: [28, 28, 1]
    classes: 10
    layers:
      - conv: {{units: 4, kernel: 5, stride: 3}}
      - relu
      - flatten
      - dense: {{units: 16}}
      - tanh
      - dense: {{units: 10}}
rounds: {rounds}
cohort: {cohort}
pace: 50ms
lease: 2m
heartbeat: 1s
local: {{epochs: 1, batch: 10, lr: 0.1}}
downlink: int8
uplink: {{clip_norm: 2, bits: 8, keep: 0.25, support: round, rotate: true, stochastic: true, error_feedback: true}}
privacy: {{secure_aggregation: required, exchange_timeout: {timeout}}}
evaluation: {{data: generator, seed: 7, count: 200, validation: 100}}
"""
EXCHANGES = ("advertise", "shares", "masked", "signature", "unmask")


def task(name="masked", rounds=2, cohort=10, timeout="20s"):
    return TASK.format(name=name, rounds=rounds, cohort=cohort, timeout=timeout)


def elsewhere(world, count, name="coordinator", examples=40, policy=("secure_aggregation required", "backend cpu")):
    """A coordinator whose authority is in a folder that it does not read, and enrolled devices, not running yet."""
    authority, request, document, tickets, tokens = (
        world.path(f"{name}-{n}") for n in ("authority", "request", "document", "tickets", "tokens"))
    c = world.coordinator(name)
    check(c.ctl("authority", "init", "--authority", authority))
    c.init("--authority-key", os.path.join(authority, "authority.pub")).start()
    check(c.ctl("document", "request", "--output", request))
    check(c.ctl("authority", "certify", request, "--authority", authority, "--output", document))
    check(c.ctl("document", "import", document))
    check(c.ctl("authority", "issue", "--authority", authority, "--count", count, "--first", 100, "--document", document,
                "--list", tickets, "--output", tokens))
    check(c.ctl("enroll", "import", tickets))
    devices = []
    for i, token in enumerate(sorted(os.listdir(tokens)), 1):
        d = world.device(f"{name}-device-{i}").enroll(os.path.join(tokens, token)).digits(i, examples)
        devices.append(d.policy(*policy))
    return c, devices
