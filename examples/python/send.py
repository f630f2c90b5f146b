"""Sends a NumPy array to a numpush receiver over ZeroMQ, without numpush: `send.py zmq+tcp://127.0.0.1:5555`.

Needs numpy and pyzmq; docs/wire.md is the format. Start the receiver first: `numpush recv zmq+tcp://127.0.0.1:5555`.
"""

import struct
import sys

import numpy
import zmq


def crc32c(data):
    """Python's standard library has CRC-32, which is another polynomial."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def text(value):
    return bytes([0xA0 | len(value)]) + value.encode()  # at most 31 bytes


def number(value):
    if value < 128:
        return bytes([value])
    for code, form, limit in ((0xCC, ">B", 8), (0xCD, ">H", 16), (0xCE, ">I", 32), (0xCF, ">Q", 64)):
        if value < 1 << limit:
            return bytes([code]) + struct.pack(form, value)


def head(array):
    """Preamble and header of a C-ordered array: a msgpack map, its keys in byte order, each number in its shortest form."""
    shape = bytes([0x90 | array.ndim]) + b"".join(map(number, array.shape))  # at most 15 axes
    entries = text("bufs") + b"\x91" + number(array.nbytes) + text("dtype") + text(array.dtype.str) + text("shape") + shape
    header = b"\x83" + entries
    payload = -(-array.nbytes // 64) * 64
    preamble = struct.pack("<4sBBHIIQ36x", b"\x93NPM", 1, 2, 0, len(header), 1, payload)
    return preamble + struct.pack("<I", crc32c(preamble + header)) + header


socket = zmq.Context.instance().socket(zmq.PUSH)
socket.connect(sys.argv[1].removeprefix("zmq+"))
array = numpy.arange(12, dtype="<f8").reshape(3, 4)
# One frame for the head, one for each buffer, none of them padded.
socket.send_multipart([head(array), array.tobytes()])
socket.close()
zmq.Context.instance().term()  # waits until the message has gone out
