"""One end of a measurement of libzmq through pyzmq: as peer.c, the roles pull and push."""

import resource
import sys

import zmq

_, role, address, *numbers = sys.argv
size, warm, count = map(int, numbers)


def say(line):
    print(line, flush=True)


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def say_figures(before):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    say(f"0 {size} 0 {cpu() - before} {peak}")


socket = zmq.Context().socket(zmq.PULL if role == "pull" else zmq.PUSH)
# As many messages as 64 MiB hold, and 2 at the least.
socket.set_hwm(max((64 << 20) // size, 2))
if role == "pull":
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    say(f"at tcp://127.0.0.1:{port}")

    def take():
        """Receives a message and looks at a byte of every page."""
        data = socket.recv(copy=False).buffer
        bytes(data[::4096]) if size > 4096 else data[0]

    for _ in range(warm):
        take()
    say("warm")
    before = cpu()
    for _ in range(count):
        take()
    say_figures(before)
else:
    socket.connect(address)
    payload = b"\7" * size
    for _ in range(warm):
        socket.send(payload, copy=False)
    sys.stdin.readline()
    before = cpu()
    for _ in range(count):
        socket.send(payload, copy=False)
    sys.stdin.readline()
    say_figures(before)
