"""`numpush keygen`, checked by libzmq.

    python cli_keys.py PATH/TO/numpush PATH/TO/flights.parquet
"""

import os
import stat

import zmq
from harness import FLIGHTS, HERE, finish, free_port, main, run, start, test


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def line(path):
    text = path.read_text()
    assert len(text) == 41 and text.endswith("\n"), text
    return text.removesuffix("\n")


@test
def libzmq_has_the_same_pair():
    path = HERE / "server"
    done = run("keygen", path, umask=0o022)
    secret, public = line(path), line(HERE / "server.pub")
    assert done.stdout == public + "\n" and done.stderr == "", done
    assert zmq.curve_public(secret.encode()) == public.encode()
    assert (mode(path), mode(HERE / "server.pub")) == (0o600, 0o644)
    assert run("keygen", "--show", path).stdout == public + "\n"


@test
def keys_of_libzmq_are_shown():
    public, secret = zmq.curve_keypair()
    path = HERE / "theirs"
    path.write_bytes(secret)
    path.chmod(0o400)
    assert run("keygen", "--show", path).stdout.encode() == public + b"\n"


@test
def nobody_else_reads_a_secret_key_whatever_the_umask():
    run("keygen", HERE / "open", umask=0)
    assert (mode(HERE / "open"), mode(HERE / "open.pub")) == (0o600, 0o644)


@test
def nothing_is_overwritten():
    for there, other in (("one", "one.pub"), ("two.pub", "two")):
        (HERE / there).write_text("dear")
        failed = run("keygen", HERE / there.removesuffix(".pub"), code=1)
        assert f"{there}: it is there already" in failed.stderr and failed.stdout == "", failed
        assert (HERE / there).read_text() == "dear" and not (HERE / other).exists()
    # A link that leads nowhere is there too.
    os.symlink(HERE / "nowhere", HERE / "three")
    run("keygen", HERE / "three", code=1)
    assert not (HERE / "nowhere").exists() and not (HERE / "three.pub").exists()


@test
def a_secret_key_that_others_may_read_is_refused():
    path = HERE / "shown"
    run("keygen", path)
    path.chmod(0o644)
    failed = run("keygen", "--show", path, code=1)
    assert "others may read or change this secret key (mode 0644)" in failed.stderr, failed
    assert path.read_text().strip() not in failed.stderr


@test
def two_processes_that_know_each_other_and_nobody_else():
    for name in ("here", "there", "stranger"):
        run("keygen", HERE / name)
    to, port = HERE / "sealed.parquet", free_port()
    # Every address: each client proves a key that is known.
    recv = start("recv", f"zmq+tcp://0.0.0.0:{port}?key={HERE / 'here'}&allow={HERE / 'there.pub'}", "-o", to)
    endpoint = f"zmq+tcp://127.0.0.1:{port}?server={HERE / 'here.pub'}&key="
    failed = start("send", FLIGHTS, f"{endpoint}{HERE / 'stranger'}")
    out, err = failed.communicate(timeout=60)
    assert failed.returncode != 0 and "400" in err, (out, err)
    done = run("send", FLIGHTS, f"{endpoint}{HERE / 'there'}")
    said = (out, err, done.stdout, done.stderr, *finish(recv))
    assert to.stat().st_size > 0
    for name in ("here", "there", "stranger"):
        assert not any(line(HERE / name) in text for text in said), said


@test
def what_cannot_be_is_named():
    assert "No such file" in run("keygen", HERE / "missing" / "key", code=1).stderr
    assert "No such file" in run("keygen", "--show", HERE / "missing", code=1).stderr
    (HERE / "words").write_text("not a key\n")
    (HERE / "words").chmod(0o600)
    failed = run("keygen", "--show", HERE / "words", code=1)
    assert "line 1 is not a key: a key has 40 characters, and this text 9" in failed.stderr, failed
    run("keygen", code=2)


main()
