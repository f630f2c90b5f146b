"""How `numpush send` and `numpush recv` begin, wait and end: exit codes, hints, signals, several peers."""

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import numpy
from harness import HERE, NUMPUSH, address, finish, free_port, interrupt, main, run, start, test, wait_for

SMALL = HERE / "small.npy"
numpy.save(SMALL, numpy.arange(10.0))
LARGE = HERE / "large.npy"
numpy.save(LARGE, numpy.zeros(8 << 20))


def listening(*args):
    """A receiver that listens, and its endpoint."""
    receiver = start("recv", "tcp://127.0.0.1:0", "--json", *args)
    line = receiver.stderr.readline()
    return receiver, line.split("listening at ")[1].strip()


def mute():
    """A listener that accepts and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    return server, f"tcp://127.0.0.1:{server.getsockname()[1]}"


def whole_record(connection):
    """A record without buffers, with the zeros after its body."""
    preamble = connection.recv(64, socket.MSG_WAITALL)
    body = int.from_bytes(preamble[8:12], "little")
    return preamble + connection.recv(-(-body // 64) * 64, socket.MSG_WAITALL)


def hello():
    """The hello of a numpush peer, a preamble and a body: docs/wire.md."""
    receiver = socket.create_server(("127.0.0.1", 0))
    sender = start("send", SMALL, f"tcp://127.0.0.1:{receiver.getsockname()[1]}")
    taken, _ = receiver.accept()
    record = whole_record(taken)
    sender.kill()
    sender.communicate()
    taken.close()
    receiver.close()
    return record


@test
def options_stand_anywhere():
    orders = (
        [SMALL, "--attribute", "k=v", "{}"],
        [SMALL, "{}", "--json"],
        ["--format", "npy", SMALL, "{}"],
        [SMALL, "--format", "npy", SMALL, "{}", "--timeout", 9],
    )
    for order in orders:
        endpoint = address()
        receiver = start("recv", endpoint)
        run("send", *[endpoint if word == "{}" else word for word in order])
        finish(receiver)
    endpoint = address()
    receiver = start("recv", endpoint, "-o", HERE / "stdin.npy")
    with SMALL.open() as stdin:
        run("send", "-", "--format", "npy", endpoint, stdin=stdin)
    finish(receiver)
    assert (HERE / "stdin.npy").read_bytes() == SMALL.read_bytes()


@test
def an_idle_peer_keeps_nobody_waiting():
    record = hello()
    receiver, endpoint = listening("-n", 2, "-o", HERE / "beside.npy")
    with socket.create_connection(("127.0.0.1", int(endpoint.rsplit(":", 1)[1]))) as idle:
        idle.sendall(record)
        for _ in range(2):
            run("send", SMALL, endpoint)
        finish(receiver)


@test
def it_ends_when_the_sender_is_done():
    receiver, endpoint = listening("-o", HERE / "each.npy")
    run("send", SMALL, SMALL, SMALL, endpoint)
    assert len(finish(receiver)[0].splitlines()) == 3
    assert all((HERE / name).exists() for name in ("each.npy", "each-2.npy", "each-3.npy"))


@test
def a_sender_that_ends_early_is_code_3():
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    sender = start("send", "--listen", SMALL, endpoint)
    error = run("recv", "--connect", endpoint, "-n", 2, code=3).stderr
    finish(sender)
    assert "done after 1 of 2 messages" in error, error
    # A sender that fails does not look like one that is done.
    (HERE / "broken.csv").write_text("day\n2024-01-01\n2024-02-30\n")
    receiver, endpoint = listening()
    run("send", SMALL, HERE / "broken.csv", endpoint, code=1)
    finish(receiver, code=3)
    receiver, endpoint = listening()
    error = run("send", HERE / "broken.csv", SMALL, "--keep-going", endpoint, code=1).stderr
    assert "1 of 2 messages were not sent" in error, error
    finish(receiver)
    receiver, endpoint = listening("-o", HERE / "text.csv")
    run("send", "--text", HERE / "broken.csv", endpoint)
    finish(receiver)
    assert (HERE / "text.csv").read_text() == (HERE / "broken.csv").read_text()


@test
def the_table_of_exit_codes_holds():
    good = address()
    receiver = start("recv", good)
    run("send", SMALL, good)
    finish(receiver)
    run("send", HERE / "missing.npy", address(), code=1)
    run("send", SMALL, "http://x", code=2)
    run("send", SMALL, f"tcp://127.0.0.1:{free_port()}", "--timeout", 0.2, code=3)
    run("recv", address(), "--timeout", 0.2, code=4)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        receiver, _ = listening()
        assert interrupt(receiver, number)[0] == code
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "130", "143"):
        assert f"\n  {code}" in run("--help").stdout, code


@test
def broken_contents_are_code_1_whatever_the_format():
    for name in ("np", "npy", "npz", "parquet", "arrow", "csv"):
        path = HERE / f"rubbish.{name}"
        path.write_bytes(b"" if name == "np" else b"\xff\xfe rubbish \xff")
        error = run("send", path, "tcp://127.0.0.1:1", code=1).stderr
        assert str(path) in error, (name, error)
    (HERE / "corrupt.np").write_bytes(b"\x93NPM" + b"\xff" * 100)
    error = run("recv", f"file:{HERE}/corrupt.np", code=1).stderr
    assert "corrupt.np" in error and "is not a message" in error, error


@test
def a_hint_fits_its_error():
    hints = {
        f"unix:{HERE}/nowhere/socket": "make the folder first",
        "tcp://192.0.2.1:5000": "no interface of this machine",
        "tcp://127.0.0.1:80000": "65535",
    }
    for endpoint, hint in hints.items():
        done = subprocess.run([NUMPUSH, "recv", endpoint], capture_output=True, text=True, timeout=60)
        assert hint in done.stderr and "another process" not in done.stderr, done.stderr
    receiver, endpoint = listening()
    assert "another process listens there" in run("recv", endpoint, code=3).stderr
    interrupt(receiver)


@test
def timeouts_are_the_users_own():
    began = time.monotonic()
    assert "for 1.5 s" in run("recv", address(), "--timeout", 1.5, code=4).stderr
    assert time.monotonic() - began < 3
    began = time.monotonic()
    run("send", SMALL, f"tcp://127.0.0.1:{free_port()}", "--timeout", 0.5, code=3)
    assert time.monotonic() - began < 3
    assert "nobody connected for 0.3 s" in run("send", "--listen", SMALL, address(), "--timeout", 0.3, code=4).stderr
    assert "for 0.3 s" in run("inspect", address(), "--timeout", 0.3, code=4).stderr


@test
def the_first_signal_ends_every_wait():
    server, endpoint = mute()
    nobody = f"tcp://127.0.0.1:{free_port()}"
    waits = {
        "connect": ["send", SMALL, nobody],
        "handshake": ["send", SMALL, endpoint],
        "handshake of a receiver": ["recv", "--connect", endpoint],
        "accept": ["send", "--listen", SMALL, address()],
    }
    with server:
        for name, words in waits.items():
            for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
                process = start(*words)
                # Its signal handler is there when its threads are.
                wait_for(lambda: len(os.listdir(f"/proc/{process.pid}/task")) >= 3)
                ended, seconds = interrupt(process, number)
                assert ended == code and seconds < 3, (name, ended, seconds)


@test
def the_first_signal_ends_a_send_that_nobody_takes():
    record = hello()
    # In the middle of a message, and with all of it written and none of it acknowledged.
    for file, how_much in ((LARGE, 64), (SMALL, SMALL.stat().st_size)):
        server, endpoint = mute()
        with server:
            sender = start("send", file, endpoint)
            taken, _ = server.accept()
            taken.sendall(record)
            assert whole_record(taken) == record
            assert len(taken.recv(how_much, socket.MSG_WAITALL)) == how_much
            ended, seconds = interrupt(sender)
            assert ended == 130 and seconds < 3, (file, ended, seconds)
            taken.close()


@test
def a_send_that_is_interrupted_leaves_its_message_for_a_receiver():
    folder, copy = HERE / "interrupted", HERE / "interrupted.npy"
    sender = start("send", LARGE, f"file:{folder}/")
    wait_for(lambda: list(folder.glob("link-*/c-1.np")))
    sender.send_signal(signal.SIGINT)
    assert sender.wait(timeout=60) == 130
    sender.communicate()
    run("recv", f"file:{folder}/", "-o", copy, "-n", 1, "--timeout", 60)
    assert copy.read_bytes() == LARGE.read_bytes()
    wait_for(lambda: not os.listdir(folder))


@test
def an_interrupted_receiver_leaves_an_idle_peer():
    pipe, path = HERE / "idle.fifo", HERE / "idle.sock"
    os.mkfifo(pipe)
    for count, endpoint in enumerate((f"file:{HERE}/idle/", f"unix:{path}")):
        copy = HERE / f"idle-{count}.npy"
        receiver = start("recv", endpoint, "-o", copy, "--json")
        receiver.stderr.readline()
        # Its second file never comes.
        idle = start("send", SMALL, pipe, endpoint, "--keep-going", "--format", "npy")
        wait_for(copy.exists)
        code, _ = interrupt(receiver)
        assert code == 130, (endpoint, code)
        receiver.communicate()
        idle.kill()
        idle.communicate()
    assert not path.exists()


@test
def zeromq_sends_to_the_last_byte():
    context_free = f"zmq+tcp://127.0.0.1:{free_port()}"
    receiver = start("recv", context_free, "-o", HERE / "zmq.npy")
    receiver.send_signal(signal.SIGSTOP)
    sender = start("send", LARGE, context_free)
    time.sleep(0.5)
    receiver.send_signal(signal.SIGCONT)
    finish(sender)
    finish(receiver)
    assert (HERE / "zmq.npy").read_bytes() == LARGE.read_bytes()


@test
def limits_and_checksums_are_options():
    endpoint = address()
    receiver = start("recv", endpoint, "--max", 1000)
    error = run("send", LARGE, endpoint, code=3).stderr
    assert "--max" in error, error
    interrupt(receiver)
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    receiver = start("recv", endpoint, "--checksums", "on")
    run("send", SMALL, endpoint, "--checksums", "on")
    finish(receiver)


@test
def the_bar_shows_how_far_a_message_is():
    record = hello()
    server, endpoint = mute()
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
    terminal = {**os.environ, "TERM": "xterm"}
    sender = subprocess.Popen([NUMPUSH, "send", LARGE, endpoint], stderr=follower, env=terminal)
    os.close(follower)
    taken, _ = server.accept()
    taken.sendall(record)
    shown = b""
    # The peer takes what the socket holds, and no more.
    while not re.search(rb" [1-9][0-9.]* [KM]iB/64.00 MiB", shown):
        assert select.select([leader], [], [], 60)[0], shown
        shown += os.read(leader, 4096)
    assert sender.poll() is None
    sender.kill()
    sender.communicate()
    for descriptor in (taken, server):
        descriptor.close()
    os.close(leader)


@test
def a_message_of_a_folder_stays_until_it_is_written():
    # The output is a pipe that takes only the beginning: the receiver is killed with the message in its hands.
    folder, pipe, copy = HERE / "spool", HERE / "spool.fifo", HERE / "spool.npy"
    sender = start("send", LARGE, f"file:{folder}/")
    wait_for(lambda: list(folder.glob("link-*/c-1.np")))
    sender.kill()
    sender.communicate()
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    receiver = start("recv", f"file:{folder}/", "-o", pipe, "--format", "npy")
    ready = select.poll()
    ready.register(reader, select.POLLIN)
    assert ready.poll(60_000), "nothing is written"
    receiver.kill()
    receiver.communicate()
    os.close(reader)
    run("recv", f"file:{folder}/", "-o", copy, "-n", 1, "--timeout", 60)
    assert numpy.array_equal(numpy.load(copy), numpy.load(LARGE))
    wait_for(lambda: not list(folder.glob("link-*/c-1.np")))


main()
