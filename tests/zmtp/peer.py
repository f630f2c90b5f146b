"""A peer over libzmq. Its arguments say what it is: name=value.

It prints its address if it binds, and the events of its connections. It sends back each message that comes, until one is "end".
A subscriber prints what comes instead.
"""

import sys

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

PATIENCE = 60_000
wish = dict(argument.split("=", 1) for argument in sys.argv[1:])


def say(*words):
    print(*words, flush=True)


def secure(socket):
    """Sets the mechanism, and returns who lets clients in, if this is a server."""
    if wish["mechanism"] == "NULL":
        return None
    is_server = wish["role"] == "server"
    if wish["mechanism"] == "PLAIN":
        socket.plain_server = is_server
        if not is_server:
            socket.plain_username = wish["user"].encode()
            socket.plain_password = wish["password"].encode()
    else:
        secret = wish["secret"].encode()
        socket.curve_server = is_server
        socket.curve_secretkey = secret
        socket.curve_publickey = zmq.curve_public(secret)
        if not is_server:
            socket.curve_serverkey = wish["server"].encode()
    if not is_server:
        return None
    judge = ThreadAuthenticator(socket.context)
    judge.start()
    judge.configure_plain(domain="*", passwords={wish.get("user", ""): wish.get("password", "")})
    judge.configure_curve_callback(domain="*", credentials_provider=Allowed())
    return judge


class Allowed:
    """Whom a server of CURVE lets in."""

    def callback(self, domain, key):
        return key == wish["client"].encode()


def watch(monitor):
    """Prints what happened to the handshake."""
    names = {
        zmq.EVENT_HANDSHAKE_SUCCEEDED: "succeeded",
        zmq.EVENT_HANDSHAKE_FAILED_AUTH: "refused",
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "failed",
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "failed",
    }
    event = recv_monitor_message(monitor)["event"]
    if event in names:
        say("handshake", names[event])


def serve(socket):
    monitor = socket.get_monitor_socket()
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    start(socket)
    while ready := dict(poller.poll(PATIENCE)):
        # What happened to the connection is told before what came over it.
        while monitor.poll(0):
            watch(monitor)
        if socket not in ready:
            continue
        message = socket.recv_multipart()
        if message == [b"end"]:
            return
        if wish["kind"] == "SUB":
            say("received", *(part.decode() for part in message))
        else:
            socket.send_multipart(message)
    sys.exit("nothing happened any more")


def start(socket):
    if "connect" in wish:
        socket.connect("tcp://" + wish["connect"])
    else:
        socket.bind("tcp://127.0.0.1:*")
        say("bound", socket.last_endpoint.decode().removeprefix("tcp://"))


def main():
    context = zmq.Context()
    socket = context.socket(getattr(zmq, wish["kind"]))
    socket.linger = 0
    socket.heartbeat_ivl = 50
    socket.heartbeat_timeout = PATIENCE
    if wish["kind"] == "SUB":
        socket.subscribe("topic")
    judge = secure(socket)
    try:
        serve(socket)
    finally:
        if judge:
            judge.stop()
        context.destroy(linger=0)


main()
