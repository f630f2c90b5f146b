"""The command line end to end, as a user runs it, checked by pyarrow, numpy and pyzmq.

    python cli.py PATH/TO/numpush PATH/TO/flights.parquet
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import msgpack  # noqa: F401  (wire needs it: say so early)
import numpy
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import zmq
from harness import FLIGHTS, HERE, NUMPUSH, finish, free_port, main, run, ship, start, test, wait_for

import wire  # noqa: E402  (the harness knows where it is)


def endpoints():
    return {
        "tcp": f"tcp://127.0.0.1:{free_port()}",
        "tcp-ipv6": f"tcp://[::1]:{free_port()}",
        "tcp-checksums": f"tcp://127.0.0.1:{free_port()}?checksums=on",
        "unix": f"unix:{HERE}/socket",
        "unix-abstract": f"unix:@numpush-cli-{os.getpid()}",
        "zmq-tcp": f"zmq+tcp://127.0.0.1:{free_port()}",
        "zmq-ipc": f"zmq+ipc:{HERE}/ipc",
        "file": f"file:{HERE}/one.np",
        "spool": f"file:{HERE}/spool/",
    }


def same_table(ours, theirs):
    ours, theirs = pyarrow.parquet.read_table(ours), pyarrow.parquet.read_table(theirs)
    assert ours.schema.equals(theirs.schema, check_metadata=True), (ours.schema, theirs.schema)
    assert ours.equals(theirs)


@test
def flights_arrive_equal_over_every_transport():
    for name, endpoint in endpoints().items():
        target = HERE / f"{name}.parquet"
        sent, received = ship(FLIGHTS, target, endpoint)
        same_table(target, FLIGHTS)
        assert sent["bytes"] == received["bytes"] > 30_000_000, (name, sent, received)
        if name.startswith(("tcp", "unix", "file", "spool")):
            # Of a stream, the read that brings the header may take the beginning of the payload with it.
            assert received["copied"] <= (16 << 10 if received["path"] == "read" else 0), (name, received)


@test
def listening_and_connecting_can_be_turned_round():
    for endpoint in (f"tcp://127.0.0.1:{free_port()}", f"unix:{HERE}/turned", f"zmq+tcp://127.0.0.1:{free_port()}"):
        if endpoint.startswith("zmq"):
            send = start("send", FLIGHTS, endpoint + "?socket=push", "--listen")
            recv = start("recv", endpoint + "?socket=pull", "--connect", "-o", HERE / "turned.parquet")
            finish(send), finish(recv)
        else:
            ship(FLIGHTS, HERE / "turned.parquet", endpoint, turned=True)
        same_table(HERE / "turned.parquet", FLIGHTS)


@test
def arrays_survive_every_format():
    arrays = {
        "floats": numpy.arange(12.0).reshape(3, 4),
        "fortran": numpy.asfortranarray(numpy.arange(12, dtype=">i4").reshape(3, 4)),
        "point": numpy.array(7.5),
        "one": numpy.arange(5, dtype="u1"),
        "empty": numpy.zeros((0, 3), "f4"),
        "text": numpy.array(["a", "éü"]),
        "times": numpy.array(["2013-01-01T05"], "M8[ns]"),
        "record": numpy.array([(1, 2.5, b"x")], numpy.dtype([("i", "i1"), ("f", "f8"), ("s", "S3")], align=True)),
    }
    for name, array in arrays.items():
        numpy.save(HERE / f"{name}.npy", array)
        ship(HERE / f"{name}.npy", HERE / f"{name}-back.npy", f"unix:{HERE}/formats")
        back = numpy.load(HERE / f"{name}-back.npy")
        assert back.dtype == array.dtype and back.shape == array.shape, (name, back.dtype, array.dtype)
        assert back.tobytes() == array.tobytes(), name
        assert back.flags.f_contiguous == array.flags.f_contiguous, name
    numpy.savez(HERE / "all.npz", **arrays)
    numpy.savez_compressed(HERE / "packed.npz", **arrays)
    for source in ("all.npz", "packed.npz"):
        recv = start("recv", f"unix:{HERE}/npz", "-n", len(arrays), "-o", HERE / "back.npz")
        finish(start("send", HERE / source, f"unix:{HERE}/npz"))
        finish(recv)
        with numpy.load(HERE / "back.npz") as back:
            assert set(back) == set(arrays)
            assert all(back[name].tobytes() == array.tobytes() for name, array in arrays.items())


@test
def a_file_goes_without_being_read():
    # In memory no file system shares blocks, which would be another way.
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="numpush-cli-") as folder:
        folder, endpoint = pathlib.Path(folder), f"unix:{HERE}/whole"
        numpy.save(folder / "whole.npy", numpy.random.default_rng(2).random((3 << 20) // 8))
        ship(folder / "whole.npy", folder / "whole.np", endpoint)
        for name in ("whole.npy", "whole.np"):
            sent, received = ship(folder / name, folder / "back.npy", endpoint)
            assert sent["path"] == received["path"] == "reference", (sent, received)
            assert sent["copied"] == received["copied"] == 0, (sent, received)
            assert (folder / "back.npy").read_bytes() == (folder / "whole.npy").read_bytes()
        # One of several messages is read.
        (folder / "twice.np").write_bytes(2 * (folder / "whole.np").read_bytes())
        recv = start("recv", endpoint, "-o", folder / "twice.npy")
        out, _ = finish(start("send", folder / "twice.np", endpoint, "--json"))
        finish(recv)
        assert len(out.splitlines()) == 2, out
        assert (folder / "twice-2.npy").read_bytes() == (folder / "whole.npy").read_bytes()


@test
def tables_survive_every_format():
    table = pyarrow.parquet.read_table(FLIGHTS).slice(1000, 5000)
    pyarrow.feather.write_feather(table, HERE / "some.feather", compression="lz4")
    ship(HERE / "some.feather", HERE / "some.arrow", f"tcp://127.0.0.1:{free_port()}")
    assert pyarrow.feather.read_table(HERE / "some.arrow").equals(table.combine_chunks())
    (HERE / "some.csv").write_text("a,b,c\n1,x,2.5\n2,,\n")
    ship(HERE / "some.csv", HERE / "back.csv", f"tcp://127.0.0.1:{free_port()}")
    assert (HERE / "back.csv").read_text() == "a,b,c\n1,x,2.5\n2,,\n"
    frame = table.to_pandas()[["carrier", "dep_delay"]].set_index(numpy.arange(5000) * 2)
    frame.to_parquet(HERE / "indexed.parquet")
    ship(HERE / "indexed.parquet", HERE / "indexed-back.parquet", f"tcp://127.0.0.1:{free_port()}")
    back = pyarrow.parquet.read_table(HERE / "indexed-back.parquet").to_pandas()
    assert (back.index == frame.index).all() and back["carrier"].dtype == "category", "the pandas index survives"
    # A Parquet file does not keep the order of categories, nor those without rows: the values are compared.
    assert back.astype({"carrier": str}).equals(frame.astype({"carrier": str}))


@test
def messages_go_through_standard_input_and_output():
    numpy.save(HERE / "a.npy", numpy.arange(1000))
    endpoint = f"unix:{HERE}/pipe"
    recv = subprocess.Popen([NUMPUSH, "recv", endpoint, "-o", "-"], stdout=subprocess.PIPE)
    finish(start("send", HERE / "a.npy", endpoint))
    record, _ = recv.communicate(timeout=60)
    assert (wire.decode(record)["value"] == numpy.arange(1000)).all()
    recv = start("recv", endpoint, "-o", HERE / "a-back.npy")
    subprocess.run([NUMPUSH, "send", "-", endpoint], input=record, check=True, timeout=60)
    finish(recv)
    assert (numpy.load(HERE / "a-back.npy") == numpy.arange(1000)).all()


@test
def pyzmq_sends_and_receives():
    context = zmq.Context()
    value = numpy.random.default_rng(1).random((300, 400))
    head_and_rest = lambda record, n: [record[:n], value.tobytes()]
    record = wire.encode_array(value, {"from": "pyzmq"})
    header_len = int.from_bytes(record[8:12], "little")
    for scheme, address in (("zmq+tcp", f"tcp://127.0.0.1:{free_port()}"), ("zmq+ipc", f"ipc://{HERE}/py-ipc")):
        recv = start("recv", "zmq+" + address, "-n", 3, "-o", HERE / "py.npy", "--json")
        push = context.socket(zmq.PUSH)
        push.connect(address)
        for _ in range(3):
            push.send_multipart(head_and_rest(record, 64 + header_len))
        out, _ = finish(recv)
        assert len(out.splitlines()) == 3
        assert (numpy.load(HERE / "py.npy") == value).all() and (numpy.load(HERE / "py-3.npy") == value).all()
        push.close()
        pull = context.socket(zmq.PULL)
        pull.bind(address)
        numpy.save(HERE / "to-py.npy", value)
        send = start("send", HERE / "to-py.npy", "zmq+" + address, "--attribute", "a=b")
        head, *buffers = pull.recv_multipart()
        finish(send)
        padded = head.ljust(-(-len(head) // 64) * 64, b"\0")
        message = wire.decode(padded + b"".join(b.ljust(-(-len(b) // 64) * 64, b"\0") for b in buffers))
        assert (message["value"] == value).all() and message["attrs"] == {"a": "b", "name": "to-py.npy"}
        pull.close()
    context.destroy(linger=0)


@test
def rubbish_does_not_end_recv():
    port = free_port()
    recv = start("recv", f"tcp://127.0.0.1:{port}", "-o", HERE / "after.npy", "--json")
    for nonsense in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x93NPM" + b"\xff" * 100):
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", port)) as raw:
                    raw.sendall(nonsense)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
    numpy.save(HERE / "good.npy", numpy.arange(3))
    run("send", HERE / "good.npy", f"tcp://127.0.0.1:{port}")
    _, err = finish(recv)
    assert "HTTP" in err, err
    assert (numpy.load(HERE / "after.npy") == numpy.arange(3)).all()


@test
def inspect_tells_without_reading():
    facts = json.loads(run("inspect", FLIGHTS, "--json").stdout)
    assert facts["rows"] == 336_776 and len(facts["columns"]) == 19
    numpy.save(HERE / "look.npy", numpy.zeros((5, 6), "<f4", order="F"))
    assert json.loads(run("inspect", HERE / "look.npy", "--json").stdout)["order"] == "Fortran"
    ship(HERE / "look.npy", HERE / "look.np", f"unix:{HERE}/look")
    facts = json.loads(run("inspect", HERE / "look.np", "--json").stdout)
    assert facts["dtype"] == "<f4" and facts["shape"] == [5, 6] and facts["strides"] == [4, 20]
    cut = (HERE / "look.np").read_bytes()[:150]
    (HERE / "cut.np").write_bytes(cut)
    cut = run("inspect", HERE / "cut.np", code=1)
    assert "shape: [5,6]" in cut.stdout and "has 150 bytes, and its headers say 264" in cut.stderr, cut
    assert "look" not in run("inspect", HERE / "all.npz").stderr
    run("inspect", __file__, code=1)


@test
def what_is_wrong_is_named_with_its_exit_code():
    good = HERE / "a.npy"
    assert "no scheme" in run("send", good, "localhost", code=2).stderr
    assert "is a file" in run("send", good, good, code=2).stderr
    assert "no port" in run("recv", "tcp://localhost", code=2).stderr
    assert "cannot open" in run("send", HERE / "missing.npy", "tcp://localhost:1", code=1).stderr
    assert "extension" in run("recv", f"unix:{HERE}/x", "-o", HERE / "what.xyz", code=1).stderr
    assert "start the other side first" in run("send", good, f"tcp://127.0.0.1:{free_port()}", code=3).stderr
    assert "--timeout" in run("recv", f"unix:{HERE}/x", "--timeout", "0.3", code=4).stderr
    assert "trusted=1" in run("recv", "zmq+tcp://0.0.0.0:0", code=2).stderr
    numpy.save(HERE / "objects.npy", numpy.array([{}, None], dtype=object))
    assert "objects" in run("send", HERE / "objects.npy", "tcp://localhost:1", code=1).stderr
    run("send", good, code=2)
    table = pyarrow.table({"deep": [[1, 2], [3]]})
    pyarrow.parquet.write_table(table, HERE / "deep.parquet")
    message = run("send", HERE / "deep.parquet", "tcp://localhost:1", code=1).stderr
    assert "deep" in message and "List" in message, message
    small = f"unix:{HERE}/small"
    recv = start("recv", small + "?max=1000", "--timeout", "20")
    assert "?max=" in run("send", FLIGHTS, small, code=3).stderr
    recv.send_signal(signal.SIGINT)
    finish(recv, code=130)


@test
def an_interrupt_and_a_killed_sender_leave_nothing_behind():
    path = HERE / "left"
    recv = start("recv", f"unix:{path}", "-o", HERE / "never.npy")
    wait_for(path.exists)
    recv.send_signal(signal.SIGINT)
    finish(recv, code=130)
    assert not path.exists() and not (HERE / "never.npy").exists()
    port = free_port()
    recv = start("recv", f"tcp://127.0.0.1:{port}", "-o", HERE / "late.npy")
    numpy.save(HERE / "big.npy", numpy.zeros(8 << 20))
    for _ in range(3):
        send = start("send", HERE / "big.npy", HERE / "big.npy", HERE / "big.npy", f"tcp://127.0.0.1:{port}")
        send.kill()
        send.wait()
    run("send", HERE / "a.npy", f"tcp://127.0.0.1:{port}")
    recv.wait(timeout=60)
    assert not list(HERE.glob(".*tmp")), list(HERE.glob(".*"))


@test
def received_values_are_shared_shown_and_sent_on():
    endpoint, onward = f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    holder = start("recv", "--shm", endpoint)
    run("send", FLIGHTS, endpoint)
    handle = holder.stdout.readline().strip()
    assert handle.startswith("shm:") and len(handle) < 100, handle
    (host,) = [host for host in json.loads(run("shm", "ls", "--json").stdout) if host["pid"] == holder.pid]
    (value,) = host["values"]
    assert value["handle"] == handle and value["what"] == "frame 336776 rows, 19 columns", value
    assert value["resident"] >= value["bytes"] > 30_000_000, value
    assert handle in run("shm", "ls").stdout and handle in run("top", "-n", 1).stdout
    assert "lock 0: free" in run("shm", "show", handle).stdout
    target = HERE / "shared.parquet"
    receiver = start("recv", onward, "-o", target)
    run("send", handle, onward)
    finish(receiver)
    assert pyarrow.parquet.read_table(target).equals(pyarrow.parquet.read_table(FLIGHTS))
    holder.send_signal(signal.SIGINT)
    finish(holder)
    assert "its owner has ended" in run("shm", "show", handle, code=1).stderr
    assert "stale handle" in run("send", handle, onward, code=1).stderr


@test
def arrays_are_shared_too_and_a_killed_owner_leaves_nothing():
    endpoint, onward = f"unix:@numpush-cli-{os.getpid()}", f"tcp://127.0.0.1:{free_port()}"
    array = numpy.arange(1000.0).reshape(50, 20)
    numpy.save(HERE / "shared.npy", array)
    holder = start("recv", "--shm", endpoint)
    run("send", HERE / "shared.npy", endpoint)
    handle = holder.stdout.readline().strip()
    receiver = start("recv", onward, "-o", HERE / "onward.npy")
    run("send", handle, onward)
    finish(receiver)
    assert (numpy.load(HERE / "onward.npy") == array).all()
    holder.kill()
    holder.communicate(timeout=60)
    assert all(host["pid"] != holder.pid for host in json.loads(run("shm", "ls", "--json").stdout))


@test
def wrong_handles_and_leftover_names_are_told():
    assert "is not a handle" in run("shm", "show", "shm:nonsense", code=2).stderr
    assert "is not a handle" in run("send", "shm:nonsense", "tcp://127.0.0.1:1", code=2).stderr
    leftover = pathlib.Path(f"/dev/shm/np.cli-{os.getpid()}")
    leftover.write_bytes(b"left behind")
    assert str(leftover) in run("shm", "reap").stdout
    assert not leftover.exists()


@test
def the_doctor_names_limits_and_fixes():
    findings = {finding["what"]: finding for finding in json.loads(run("doctor", "--json").stdout)}
    assert {"memory", "cgroup", "/dev/shm", "descriptors", "huge pages", "ptrace scope"} <= findings.keys()
    import resource

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    told = run("doctor", preexec_fn=few).stdout
    assert "limits  descriptors        64" in told and "ulimit -n" in told, told


@test
def help_and_completions_are_there():
    assert "Exit codes" in run("--help").stdout and "zmq+tcp" in run("send", "--help").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "numpush" in run("completions", shell).stdout


main()
