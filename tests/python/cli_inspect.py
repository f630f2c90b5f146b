"""`numpush inspect` and what else prints."""

import json
import os
import pty
import signal
import struct
import fcntl
import subprocess
import termios
import time

import numpy
from harness import HERE, NUMPUSH, address, finish, main, run, start, test

SMALL = HERE / "small.npy"
numpy.save(SMALL, numpy.arange(10.0))


@test
def a_closed_pipe_is_no_panic():
    for words in (["inspect", SMALL], ["inspect", SMALL, "--json"], ["doctor"], ["completions", "bash"], ["shm", "ls"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([NUMPUSH, *map(str, words)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
        os.close(writer)
        assert done.returncode == 0 and not done.stderr, (words, done)


@test
def standard_input_is_inspected():
    with SMALL.open() as stdin:
        assert json.loads(run("inspect", "-", "--json", stdin=stdin).stdout)["shape"] == [10]
    with subprocess.Popen(["cat", SMALL], stdout=subprocess.PIPE) as cat:
        assert json.loads(run("inspect", "-", "--json", stdin=cat.stdout).stdout)["shape"] == [10]


@test
def a_shared_value_is_inspected():
    endpoint = address()
    holder = start("recv", "--shm", endpoint)
    run("send", SMALL, endpoint)
    handle = holder.stdout.readline().strip()
    facts = json.loads(run("inspect", handle, "--json").stdout)
    assert facts["dtype"] == "<f8" and facts["shape"] == [10], facts
    holder.send_signal(signal.SIGINT)
    finish(holder)


@test
def files_that_were_cut_are_errors_with_both_lengths():
    whole = SMALL.read_bytes()
    (HERE / "cut.npy").write_bytes(whole[:150])
    for words in (["inspect", HERE / "cut.npy"], ["send", HERE / "cut.npy", address()]):
        error = run(*words, code=1).stderr
        assert "150 bytes" in error and str(len(whole)) in error, error
    endpoint = address()
    receiver = start("recv", endpoint, "-o", HERE / "whole.np")
    run("send", SMALL, endpoint)
    finish(receiver)
    whole = (HERE / "whole.np").read_bytes()
    (HERE / "short.np").write_bytes(whole[:-1])
    error = run("inspect", HERE / "short.np", code=1).stderr
    assert f"{len(whole) - 1} bytes" in error and str(len(whole)) in error, error
    (HERE / "two.np").write_bytes(whole * 2)
    assert len(json.loads(run("inspect", HERE / "two.np", "--json").stdout)["messages"]) == 2
    (HERE / "one-and-a-half.np").write_bytes(whole + whole[:-1])
    error = run("inspect", HERE / "one-and-a-half.np", code=1)
    assert error.stdout.count("<f8") == 2 and f"{2 * len(whole) - 1} bytes" in error.stderr, error


@test
def type_errors_name_the_file_and_the_field():
    odd = HERE / "odd.npy"
    numpy.save(odd, numpy.zeros(2, [("x", "<f4"), ("p", [("a", "<f4")])]))
    error = run("send", odd, address(), code=1).stderr
    assert "odd.npy" in error and 'field p' in error and "Items" not in error, error
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    (HERE / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert "too large" in run("inspect", HERE / "huge.npy", code=1).stderr


@test
def top_fits_a_narrow_terminal_and_ends_with_q():
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 60, 0, 0))
    before = termios.tcgetattr(follower)
    top = subprocess.Popen([NUMPUSH, "top", "--interval", "30"], stdin=follower, stdout=follower, stderr=follower)
    shown = b""
    while b"PID" not in shown:
        shown += os.read(leader, 4096)
    os.write(leader, b"q")
    until = time.monotonic() + 60
    assert top.wait(timeout=60) == 0 and time.monotonic() < until
    lines = shown.decode().split("\x1b[2J")[-1].splitlines()
    assert all(len(line) <= 60 for line in lines), lines
    assert termios.tcgetattr(follower)[3] == before[3], "the terminal is as it was"


main()
