"""Real processes for the integration tests: one World is a temporary folder with a coordinator and its devices.

Nothing waits by sleeping for a fixed time: a test polls what sottoctl and sotto-client say, with a deadline. Children die with
the test (prctl), and with its end; the folder goes too.
"""
import atexit
import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BIN = os.environ.get("SOTTO_BIN", "build/release/bin")
SLOW = float(os.environ.get("SOTTO_PATIENCE", "1"))  # sanitizers: multiplies every deadline
POLL_S = 0.05
# No agent opens a graphics driver unless its test is about that; no sanitizer lets one pass.
if "test_backends" not in sys.argv[0] or SLOW != 1:
    os.environ["SOTTO_VULKAN_DISABLE"] = "all"
PR_SET_PDEATHSIG = 1
COMPLAINTS = ("Sanitizer: ", "runtime error: ")
_libc = ctypes.CDLL(None, use_errno=True)


def seed():
    """The seed of this run's random choices: SOTTO_SEED, printed so that a failure can be repeated."""
    value = int(os.environ.get("SOTTO_SEED", "20240229"))
    print(f"seed: SOTTO_SEED={value}", flush=True)
    return value


class Failure(AssertionError):
    pass


def wait(what, predicate, seconds=60.0):
    """Polls predicate until it gives something true, and returns that. Raises Failure after the deadline."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"no {what} within {seconds * SLOW:.0f} s")
        time.sleep(POLL_S)


def _child(file_bytes_max):
    """In the child, before exec: it dies with the test; with a limit, files cannot grow past it."""
    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if file_bytes_max is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, file_bytes_max))
    return prepare


class Result:
    """What a tool said: exit code, standard output and standard error."""
    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.out, self.err = argv, code, out, err

    def json(self):
        return json.loads(self.out)

    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines() if line]

    def __str__(self):
        return f"{' '.join(map(str, self.argv))}\nexit {self.code}\nout: {self.out}\nerr: {self.err}"


def run(*argv, input_text=None, seconds=60, file_bytes_max=None):
    """Runs a program to its end. A hang is a Failure."""
    argv = [str(a) for a in argv]
    try:
        done = subprocess.run(argv, input=input_text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", timeout=seconds * SLOW, preexec_fn=_child(file_bytes_max), check=False)
    except subprocess.TimeoutExpired as e:
        raise Failure(f"{' '.join(argv)} hangs: {e.stdout} {e.stderr}") from e
    return Result(argv, done.returncode, done.stdout, done.stderr)


class Process:
    """A program in the background; its log goes to a file."""
    def __init__(self, argv, log, first_line=False, file_bytes_max=None, pipe_in=False):
        self.argv, self.log_path = [str(a) for a in argv], log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.PIPE if pipe_in else subprocess.DEVNULL, stderr=out,
                                          stdout=subprocess.PIPE if first_line else out,
                                          preexec_fn=_child(file_bytes_max))

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def read_line(self, seconds):
        """The first line on standard output; None when the program ended before."""
        ready, _, _ = select.select([self.popen.stdout], [], [], seconds * SLOW)
        if not ready:
            raise Failure(f"{self.argv[0]} does not get ready:\n{self.log()[-2000:]}")
        line = self.popen.stdout.readline().decode(errors="replace").strip()
        return line or None

    def wait(self, seconds=20):
        """The exit code, negative for a signal."""
        try:
            code = self.popen.wait(timeout=seconds * SLOW)
        except subprocess.TimeoutExpired as e:
            raise Failure(f"{' '.join(self.argv)} does not end:\n{self.log()[-2000:]}") from e
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()
        return code

    def stop(self, seconds=20):
        """SIGTERM, and the exit code."""
        if self.alive():
            self.popen.terminate()
        return self.wait(seconds)

    def kill(self):
        """kill -9; returns when the process is gone."""
        if self.alive():
            self.popen.kill()
        self.wait()


class Coordinator:
    def __init__(self, world, state, sets=()):
        self.world, self.state, self.sets = world, state, list(sets)
        self.process = None
        self.log_path = state + ".log"

    def init(self, *args):
        check(self.ctl("init", *args))
        return self

    def argv(self, sets=()):
        argv = [f"{BIN}/sotto-coordinator", "--state", self.state]
        for s in [f"round_keys_dir={self.world.path('round-keys')}"] + self.sets + list(sets):
            argv += ["--set", s]
        return argv

    def start(self, *sets, file_bytes_max=None):
        """Starts the daemon and returns when it listens."""
        self.process = self.world.adopt(Process(self.argv(sets), self.log_path, True, file_bytes_max))
        line = self.process.read_line(30)
        if line is None:
            code = self.process.wait()
            raise Failure(f"the coordinator ended with {code}:\n{self.process.log()[-2000:]}")
        self.address = line.split()[-1]
        return self

    def stop(self):
        return self.process.stop()

    def kill(self):
        self.process.kill()

    def ctl(self, *args, seconds=60):
        return run(f"{BIN}/sottoctl", "--state", self.state, *args, seconds=seconds)

    def json(self, *args):
        """sottoctl --json ARGS, parsed."""
        return check(self.ctl("--json", *args)).json()

    def events(self, kind=None, task=None):
        lines = check(self.ctl("--json", "events", "--limit", "0")).json_lines()
        return [e for e in lines if kind in (None, e["kind"]) and task in (None, e["task"])]

    def tokens(self, count, name="tokens", *args):
        """Makes tokens; returns their files in order of serial."""
        folder = self.world.path(name)
        check(self.ctl("enroll", "--count", count, "--output", folder, *args))
        return sorted(os.path.join(folder, f) for f in os.listdir(folder))

    def create(self, yaml, *sets):
        path = self.world.path(f"task-{len(os.listdir(self.world.dir))}.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(yaml)
        args = ["task", "create", path]
        for s in sets:
            args += ["--set", s]
        return self.ctl("--json", *args)

    def rounds(self, task):
        """Rounds, oldest first."""
        return sorted(self.json("rounds", "list", task), key=lambda r: r["round"])

    def models(self, task):
        """Versions, oldest first."""
        return sorted(self.json("models", "list", task), key=lambda v: v["version"])

    def task(self, task):
        return self.json("task", "show", task)

    def committed(self, task):
        return [r for r in self.rounds(task) if r["state"] == "committed"]

    def wait_rounds(self, task, count, seconds=60):
        """Waits until count rounds have ended."""
        return wait(f"{count} rounds of {task}", lambda: len(
            [r for r in self.rounds(task) if r["state"] in ("committed", "failed")]) >= count, seconds)

    def wait_finished(self, task, seconds=120):
        return wait(f"end of task {task}", lambda: self.task(task)["state"] == "finished", seconds)


class Device:
    def __init__(self, world, name):
        self.world, self.state = world, world.path(name)
        self.process = None

    def client(self, *args, seconds=60, file_bytes_max=None):
        return run(f"{BIN}/sotto-client", "--state", self.state, *args, seconds=seconds, file_bytes_max=file_bytes_max)

    def json(self, *args):
        return check(self.client("--quiet", "--json", *args)).json()

    def enroll(self, token):
        check(self.client("--quiet", "enroll", token))
        return self

    def digits(self, writer, count=60, collection="digits"):
        check(self.client("--quiet", "import", "digits", "--writer", writer, "--count", count, "--seed", 1,
                          "--collection", collection))
        return self

    def policy(self, *lines):
        with open(os.path.join(self.state, "policy"), "w", encoding="utf-8") as f:
            f.write("checkin_min_ms 50\n" + "".join(line + "\n" for line in lines))
        return self

    def start(self, *args):
        self.process = self.world.adopt(Process(
            [f"{BIN}/sotto-client", "--state", self.state, "run", *args], self.state + ".log"))
        return self

    def stop(self):
        return self.process.stop()

    def kill(self):
        self.process.kill()

    def log(self):
        return self.process.log()

    def status(self):
        return self.json("status")

    def serial(self):
        return self.status()["serial"]

    def history(self):
        return check(self.client("--quiet", "--json", "history", "--limit", 500)).json_lines()


def check(result, code=0):
    if result.code != code:
        raise Failure(f"expected exit {code}: {result}")
    return result


def refused(result, *words, code=1):
    """A clear refusal: the exit code, and a message that holds the words."""
    check(result, code)
    for word in words:
        if word not in result.err:
            raise Failure(f"\"{word}\" is not in the message: {result}")
    return result


class World:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sotto-integration-")
        self.children = []
        atexit.register(self.close, False)  # also when the test is interrupted

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def adopt(self, process):
        self.children.append(process)
        return process

    def coordinator(self, name="coordinator", *sets):
        return Coordinator(self, self.path(name), sets)

    def device(self, name):
        return Device(self, name)

    def fleet(self, coordinator, count, examples=60, policy=(), prefix="device"):
        """Enrolled devices, one writer each, not running yet."""
        devices = []
        for i, token in enumerate(coordinator.tokens(count, prefix + "-tokens"), 1):
            device = self.device(f"{prefix}-{i}").enroll(token).digits(i, examples)
            devices.append(device.policy(*policy))
        return devices

    def close(self, failed):
        """Ends all and removes the folder. Failure when a sanitizer complained in a log."""
        atexit.unregister(self.close)
        for child in self.children:
            with contextlib.suppress(Exception):
                child.kill()
        complaints = []
        for name in sorted(n for n in os.listdir(self.dir) if n.endswith(".log")):
            with open(self.path(name), encoding="utf-8", errors="replace") as f:
                text = f.read()
            at = min((text.find(c) for c in COMPLAINTS if c in text), default=-1)
            if at >= 0:
                complaints.append(f"{name}:\n{text[at:at + 4000]}")
            if failed:
                print(f"---- {name} (end)\n{text[-3000:]}")
        shutil.rmtree(self.dir, ignore_errors=True)
        if complaints:
            raise Failure("\n".join(complaints))


class Case(unittest.TestCase):
    """A test with a World of its own."""
    def setUp(self):
        self.world = World()
        self.addCleanup(self._close)

    def _close(self):
        outcome = self._outcome
        result = getattr(outcome, "result", outcome)
        failed = any(test is self for test, _ in getattr(result, "failures", []) + getattr(result, "errors", []))
        errors = getattr(outcome, "errors", None) or []
        failed = failed or any(error for _, error in errors if error)
        self.world.close(failed)


TASK = """
task:
  name: {name}
  seed: 5
  collection: digits
model:
{model}
rounds: {rounds}
cohort: {cohort}
pace: 50ms
lease: 2m
heartbeat: 1s
local:
  epochs: 1
  batch: 10
  lr: 0.1
downlink: int8
uplink:
  keep: 0.1
  bits: 4
  stochastic: true
  error_feedback: true
evaluation:
  data: generator
  seed: 7
  count: 200
  validation: 100
"""
# A layer stack that no device and no zoo knows.
SMALL = """
  graph:
    input: [28, 28, 1]
    classes: 10
    layers:
      - conv: {units: 4, kernel: 5, stride: 3}
      - relu
      - flatten
      - dense: {units: 16}
      - tanh
      - dense: {units: 10}
"""


def task(name="digits", model=SMALL, rounds=3, cohort=2):
    """The text of a task file."""
    return TASK.format(name=name, model=model if "\n" in model else f"  zoo: {model}", rounds=rounds, cohort=cohort)


def main():
    """Runs the tests of the calling file; gives up, cleanly, before CTest would kill them: after argv[1] seconds."""
    seconds = float(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 600

    def late(_signal, _frame):
        raise Failure(f"the whole test took more than {seconds * SLOW:.0f} s")
    def stop(_signal, _frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, stop)
    signal.alarm(int(seconds * SLOW))
    unittest.main(verbosity=2)
