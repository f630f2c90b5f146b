"""What the tests of the command line share: they start the real binary, and report each test by its name.

    python cli_TOPIC.py PATH/TO/numpush PATH/TO/flights.parquet
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

# The second implementation of the wire format is an example.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples" / "python"))

NUMPUSH, FLIGHTS = sys.argv[1], pathlib.Path(sys.argv[2])
TEMP = tempfile.TemporaryDirectory(prefix="numpush-cli-")
HERE = pathlib.Path(TEMP.name)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(*args, **kwargs):
    return subprocess.Popen([NUMPUSH, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)


def run(*args, code=0, **kwargs):
    done = subprocess.run([NUMPUSH, *map(str, args)], capture_output=True, text=True, timeout=60, **kwargs)
    assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
    return done


def finish(process, code=0):
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (process.args, process.returncode, out, err)
    return out, err


def ship(source, target, endpoint, turned=False):
    """One file through `numpush send` and `numpush recv`; the reports of both."""
    if turned:
        send = start("send", source, endpoint, "--listen", "--json")
        recv = start("recv", endpoint, "--connect", "-o", target, "--json")
    else:
        recv = start("recv", endpoint, "-o", target, "--json")
        send = start("send", source, endpoint, "--json")
    return json.loads(finish(send)[0]), json.loads(finish(recv)[0])


def wait_for(done):
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.01)


def address():
    """An endpoint of its own for each call."""
    address.count += 1
    return f"unix:@numpush-test-{os.getpid()}-{address.count}"


address.count = 0


def interrupt(process, number=signal.SIGINT):
    """The exit code after a signal, and how long it took."""
    began = time.monotonic()
    process.send_signal(number)
    code = process.wait(timeout=60)
    return code, time.monotonic() - began


def main():
    failed = 0
    for case in TESTS:
        began = time.monotonic()
        try:
            case()
            print(f"test {case.__name__} ... ok ({time.monotonic() - began:.1f} s)", flush=True)
        except Exception as error:  # noqa: BLE001  (every failure is counted and shown)
            traceback.print_exc()
            print(f"test {case.__name__} ... FAILED: {error}", flush=True)
            failed += 1
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    sys.exit(failed != 0)
