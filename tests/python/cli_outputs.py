"""What `numpush recv` writes, and what it leaves alone."""

import os
import pathlib
import signal
import stat
import subprocess

import numpy
import pyarrow
import pyarrow.parquet
from harness import HERE, NUMPUSH, address, finish, interrupt, main, run, start, test, wait_for

import wire  # noqa: E402  (the harness knows where it is)

SMALL = HERE / "small.npy"
numpy.save(SMALL, numpy.arange(10.0))
ARRAYS = {name: numpy.full(3, index) for index, name in enumerate("abc")}
numpy.savez(HERE / "three.npz", **ARRAYS)


def receive(*args, send=(SMALL,), code=0, sent=0, **kwargs):
    """Receives what is sent; the standard error of the receiver."""
    endpoint = address()
    receiver = start("recv", endpoint, *args, **kwargs)
    run("send", *send, endpoint, code=sent)
    return finish(receiver, code)[1]


@test
def a_path_that_is_no_socket_is_kept():
    data, link, fifo = HERE / "data.csv", HERE / "link.csv", HERE / "kept.fifo"
    data.write_text("precious")
    link.symlink_to(data)
    os.mkfifo(fifo)
    for path in (data, link, fifo, HERE):
        before = os.lstat(path)
        error = run("recv", f"unix:{path}", code=3).stderr
        assert "which is kept" in error, error
        assert os.lstat(path).st_ino == before.st_ino and os.lstat(path).st_mode == before.st_mode
    assert data.read_text() == "precious"


@test
def a_signal_removes_the_socket():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        path = HERE / f"signal-{code}"
        receiver = start("recv", f"unix:{path}")
        wait_for(path.exists)
        assert interrupt(receiver, number)[0] == code
        assert not path.exists()


@test
def devices_pipes_and_links_are_written_into():
    if os.geteuid() == 0:
        null = HERE / "null"
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        receive("-o", null, "--format", "npy")
        assert stat.S_ISCHR(os.stat(null).st_mode)
    else:
        receive("-o", "/dev/null", "--format", "npy")
    fifo = HERE / "out.fifo"
    os.mkfifo(fifo)
    reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    receive("-o", fifo, "--format", "npy")
    assert reader.communicate(timeout=60)[0] == SMALL.read_bytes()
    assert stat.S_ISFIFO(os.stat(fifo).st_mode)
    target, link = HERE / "target.npy", HERE / "link.npy"
    link.symlink_to(target.name)
    for _ in range(2):
        receive("-o", link)
        assert link.is_symlink() and target.read_bytes() == SMALL.read_bytes()


@test
def an_npz_is_written_on_every_way_out():
    def begin(*args):
        endpoint = address()
        output = HERE / f"{endpoint[-3:].strip('-')}.npz"
        receiver = start("recv", endpoint, "-o", output, "--json", *args)
        run("send", HERE / "three.npz", endpoint)
        for _ in range(3):
            receiver.stdout.readline()
        return receiver, output

    def check(output):
        with numpy.load(output) as back:
            assert set(back) == set(ARRAYS), set(back)
            assert all((back[name] == array).all() for name, array in ARRAYS.items())

    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        receiver, output = begin("-n", 0)
        assert interrupt(receiver, number)[0] == code
        check(output)
    receiver, output = begin("-n", 5, "--timeout", 0.5)
    error = finish(receiver, code=4)[1]
    assert "nothing was received for 0.5 s" in error, error
    check(output)
    receiver, output = begin()
    finish(receiver)
    check(output)


@test
def an_output_that_cannot_be_written_is_known_at_once():
    for output in (HERE / "nodir" / "x.np", HERE / "nodir" / "x.npz", "/proc/x/"):
        began = run("recv", address(), "-o", output, code=1)
        assert "cannot" in began.stderr, began.stderr


@test
def a_failed_write_is_a_failed_exit():
    full = pathlib.Path("/dev/full")
    for name in ("np", "npy", "npz", "parquet"):
        source = SMALL
        if name == "parquet":
            source = HERE / "table.parquet"
            pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2]}), source)
        endpoint = address()
        receiver = start("recv", endpoint, "-o", full, "--format", name)
        sent = subprocess.run([NUMPUSH, "send", source, endpoint], capture_output=True, timeout=60)
        error = finish(receiver, code=1)[1]
        # An npz is whole only after its last array, and each array is acknowledged before.
        assert sent.returncode == (0 if name == "npz" else 3), (name, sent)
        assert "No space left" in error, (name, error)


@test
def an_npz_of_a_known_number_is_whole_before_the_sender_is_done():
    def fails(output, why, disturb=lambda: None):
        socket = HERE / f"{output.name}.socket"
        receiver = start("recv", f"unix:{socket}", "-o", output, "--format", "npz", "-n", 3)
        # The output is opened before the socket.
        wait_for(socket.exists)
        disturb()
        sent = subprocess.run([NUMPUSH, "send", HERE / "three.npz", f"unix:{socket}"], capture_output=True, timeout=60)
        error = finish(receiver, code=1)[1]
        assert sent.returncode == 3, sent
        assert why in error, error

    fails(pathlib.Path("/dev/full"), "No space left")
    # A file that is complete, and cannot have its name any more.
    taken = HERE / "taken.npz"
    fails(taken, "taken.npz", disturb=taken.mkdir)


@test
def a_message_that_does_not_fit_the_format_is_kept_beside_it():
    error = receive("-o", HERE / "array.parquet", code=1)
    assert "array.np instead" in error and "not written as asked" in error, error
    assert (wire.decode((HERE / "array.np").read_bytes())["value"] == numpy.arange(10.0)).all()
    assert not (HERE / "array.parquet").exists()


@test
def a_folder_takes_the_senders_names_made_harmless():
    folder = HERE / "folder"
    other = HERE / "other" / "small.npy"
    other.parent.mkdir()
    numpy.save(other, numpy.arange(3))
    receive("-o", f"{folder}/", send=(SMALL, other, HERE / "three.npz"))
    names = {"small.npy", "small-2.npy", "a.npy", "b.npy", "c.npy"}
    assert {path.name for path in folder.iterdir()} == names, list(folder.iterdir())
    assert (numpy.load(folder / "small-2.npy") == numpy.arange(3)).all()
    receive("-o", folder, send=(SMALL, "--attribute", "name=../../../tmp/../x/escaped.npy"))
    assert (folder / "escaped.npy").exists()
    receive("-o", folder, send=(SMALL, "--attribute", "name=.."))
    assert (folder / "message-1.npy").exists()


@test
def names_in_an_npz_are_harmless_and_none_is_lost():
    output = HERE / "names.npz"
    numpy.savez(HERE / "again.npz", **{"a": numpy.arange(2), "../up": numpy.arange(2)})
    receive("-o", output, send=(HERE / "three.npz", HERE / "again.npz"))
    with numpy.load(output) as back:
        assert set(back) == {"a", "b", "c", "a-2", "up"}, set(back)


@test
def messages_are_appended():
    output = HERE / "grows.np"
    for count in (1, 2):
        receive("-o", output, "--append", send=(SMALL, SMALL))
        assert run("inspect", output).stdout.count("dtype <f8") == 2 * count
    (HERE / "rows.csv").write_text("a;b\n1;x\n")
    for _ in range(2):
        receive("-o", HERE / "grown.csv", "--append", "--separator", ";", send=(HERE / "rows.csv", "--separator", ";"))
    assert (HERE / "grown.csv").read_text() == "a;b\n1;x\n1;x\n"
    assert "can grow" in run("recv", address(), "-o", HERE / "x.npy", "--append", code=2).stderr


@test
def fields_keep_their_names():
    names = ["plain", "ü", "日本", "it's", 'say "it"', "back\\slash"]
    array = numpy.zeros(2, [(name, "<f4") for name in names])
    array["ü"] = 7
    numpy.save(HERE / "names.npy", array)
    receive("-o", HERE / "names-back.npy", send=(HERE / "names.npy",))
    back = numpy.load(HERE / "names-back.npy")
    assert back.dtype == array.dtype and (back == array).all(), back.dtype
    latin = numpy.zeros(2, [("ü", "<f4")])
    numpy.save(HERE / "latin.npy", latin)
    receive("-o", HERE / "latin-back.npy", send=(HERE / "latin.npy",))
    assert (HERE / "latin-back.npy").read_bytes()[:8] == (HERE / "latin.npy").read_bytes()[:8], "NumPy's own version"
    assert numpy.load(HERE / "latin-back.npy").dtype == latin.dtype


@test
def without_an_output_it_says_what_it_did():
    error = receive()
    assert "received 1 messages of" in error and "wrote none" in error, error


main()
