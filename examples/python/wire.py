"""A decoder and encoder of numpush messages, written from docs/wire.md alone.

Needs the standard library, msgpack and numpy. It is the second opinion on the format: it shares no code with numpush.
"""

import struct

import msgpack
import numpy

PREAMBLE = struct.Struct("<4sBBHIIQQQQI8sI")
MAGIC = b"\x93NPM"
KINDS = {1: "bytes", 2: "array", 3: "frame", 4: "part"}
MIB = 1 << 20


class Refused(Exception):
    """The bytes are not a message."""


def check(condition, fault):
    if not condition:
        raise Refused(fault)


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def padded(length, align=64):
    return -(-length // align) * align


def sums(seed, payload):
    """What follows a payload: the checksum of each MiB, bound to its record and its place, and that of all these."""
    chunks = [payload[i : i + MIB] for i in range(0, len(payload), MIB)]
    table = b"".join(struct.pack("<I", crc32c(struct.pack("<IQ", seed, i) + bytes(c))) for i, c in enumerate(chunks))
    return table + struct.pack("<I", crc32c(table)) if table else b""


def canonical(header):
    check(isinstance(header, dict), "header is no map")
    return msgpack.packb(header, use_bin_type=True)


class Schemas:
    """The schemas of one direction of a session: as many, and of as many bytes, as the reader's hello offers."""

    def __init__(self, most, most_bytes):
        self.most, self.most_bytes, self.kept = most, most_bytes, {}

    def give(self, number, columns, meta):
        check(1 <= number <= self.most, "a number that was not offered")
        size = len(msgpack.packb(columns)) + (len(msgpack.packb(meta)) if meta else 0)
        kept = {**self.kept, number: (columns, meta, size)}
        check(sum(size for _, _, size in kept.values()) <= self.most_bytes, "schemas over the bytes offered")
        self.kept = kept

    def name(self, number, counts):
        """Columns with these counts (none: zeros) and metadata."""
        check(number in self.kept, "a number that names no schema")
        columns, meta, _ = self.kept[number]
        check(counts is None or any(counts), "counts that are all zero")
        places = sum(1 + 2 * depth(rest[0] if rest else None) for _, _, _, _, *rest in columns)
        counts = [0] * places if counts is None else counts
        check(len(counts) == places, "number of counts")
        left = iter(counts)
        return [[name, kind, nullable, next(left)] + counted(rest, left) for name, kind, nullable, _, *rest in columns], meta


def depth(dictionary):
    return 0 if dictionary is None else 1 + depth((dictionary + [None])[4])


def counted(rest, left):
    """The items behind a column's null count, the counts of its dictionary taken from `left`."""
    if not rest or rest[0] is None:
        return rest
    ordered, _, kind, _, *deeper = rest[0]
    length, nulls = next(left), next(left)
    return [[ordered, length, kind, nulls] + counted(deeper, left)] + rest[1:]


def decode(data, schemas=None):
    """The record in `data` as a dict: kind, attrs, and what the kind has. `schemas` are those that its direction has given."""
    check(len(data) >= 64, "no preamble")
    fields = PREAMBLE.unpack_from(data)
    magic, version, kind, flags, header_len, count, payload_len, number, ack, reply_to, channel, _, crc = fields
    check(magic == MAGIC and version == 1 and (kind in KINDS or kind >= 0x80), "foreign magic, version or kind")
    flags &= 0xFF  # the upper eight do not matter
    raw = bytes(data[64 : 64 + header_len])
    check(len(raw) == header_len and crc32c(data[:60] + raw) == crc, "header checksum")
    start = padded(64 + header_len)
    check(not any(data[64 + header_len : start]), "padding behind the header")
    header = msgpack.unpackb(raw, strict_map_key=True, raw=False) if raw else {}
    check(not raw or canonical(header) == raw, "header is not canonical")
    check(list(header) == sorted(header, key=str.encode), "keys do not rise")
    header = {key: value for key, value in header.items() if not "A" <= key[:1] <= "Z"}
    if kind >= 0x80:
        check(flags == 0 and count == 0 and header_len <= 4096 and len(data) == start, "form of a control record")
        return {"kind": kind, "body": header}
    check(flags in (0, 1, 2), "flags 0 and 1 exclude each other, compressed payloads were not offered")
    check(header.get("align", 128) in [1 << bit for bit in range(7, 22)], "alignment")
    align = header.pop("align", 64)
    lengths = header.pop("bufs")
    lead = -start % align
    sizes = [padded(n, align) for n in lengths]
    check(len(lengths) == count and lead + sum(sizes) == payload_len, "buffer lengths")
    session = {"id": number, "ack": ack, "reply_to": reply_to, "channel": channel}
    if kind == 3 and "schema" in header:
        check(schemas is not None, "the number of a schema was not offered")
        number, counts = header.pop("schema"), header.pop("counts", None)
        if "cols" in header:
            check(counts is None, "counts beside columns")
            schemas.give(number, header["cols"], header.get("meta", {}))
        else:
            check("meta" not in header, "metadata beside a number")
            header["cols"], header["meta"] = schemas.name(number, counts)
    if flags == 2:
        table = bytes(data[start : start + 16 * count])
        sum_ = crc32c(struct.pack("<I", crc) + table)
        check(data[start + 16 * count :] == struct.pack("<II", sum_, 0), "sum of references")
        references = list(struct.iter_unpack("<I4xQ", table))
        return {"kind": KINDS[kind], **session, "lengths": lengths, "references": references}
    end = start + payload_len
    table = 4 * -(-payload_len // MIB) + 4 if flags and payload_len else 0
    check(len(data) == end + table, "length of the record")
    payload = data[start:end]
    check(not flags or sums(crc, payload) == data[end:], "payload checksum")
    check(not any(payload[:lead]), "padding before the first buffer")
    buffers, at = [], lead
    for length, size in zip(lengths, sizes):
        buffers.append(payload[at : at + length])
        check(not any(payload[at + length : at + size]), "padding behind a buffer")
        at += size
    message = {"kind": KINDS[kind], **session, "attrs": header.pop("attrs", {})}
    check(message["attrs"] or b"attrs" not in raw[:8], "empty attributes")
    message.update({"bytes": plain, "array": array, "frame": frame, "part": part}[KINDS[kind]](header, buffers))
    return message


def part(header, buffers):
    check(set(header) | {"total"} == {"offset", "total", "transfer"} and len(buffers) == 1, "keys of a part")
    return {"total": 0, **header, "value": bytes(buffers[0])}


def plain(header, buffers):
    check(not header and len(buffers) == 1, "plain bytes have one buffer and no other keys")
    return {"value": bytes(buffers[0])}


def dtype_of(spec):
    if isinstance(spec, str):
        dtype = numpy.dtype(spec)
        check(dtype.kind in "biufcSUMm" and dtype.str == spec, f"element type {spec}")
        return dtype
    size, fields = spec
    names, types, offsets = zip(*fields)
    return numpy.dtype({"names": names, "formats": [dtype_of(t) for t in types], "offsets": offsets, "itemsize": size})


def array(header, buffers):
    dtype, shape = dtype_of(header.pop("dtype")), header.pop("shape")
    strides = header.pop("strides", None)
    check(not header and len(buffers) == 1 and len(shape) <= 32, "keys of an array")
    check(len(buffers[0]) == numpy.prod(shape, dtype=object) * dtype.itemsize, "length of the array")
    first = 0
    if strides is not None:
        check(sorted_strides(shape, strides, dtype.itemsize), "strides are not dense")
        first = sum((n - 1) * -s for n, s in zip(shape, strides) if s < 0)
    return {"value": numpy.ndarray(shape, dtype, bytes(buffers[0]), first, strides)}


def sorted_strides(shape, strides, step):
    check(len(shape) == len(strides), "a stride for each axis")
    for stride, length in sorted((abs(s), n) for s, n in zip(strides, shape) if n != 1):
        if stride != step:
            return False
        step *= length
    return all(s == 0 for s, n in zip(strides, shape) if n == 1)


def frame(header, buffers):
    columns, rows, meta = header.pop("cols"), header.pop("rows"), header.pop("meta", {})
    check(not header, "keys of a frame")
    buffers = iter(buffers)
    decoded = {}
    for name, kind, nullable, nulls, *rest in columns:
        dictionary, metadata = (rest + [None, None])[:2]
        values = column(kind, rows, nulls, dictionary, buffers)
        check(name not in decoded, "a column name twice")
        decoded[name] = {"type": kind, "nullable": bool(nullable), "metadata": metadata or {}, "values": values}
    check(next(buffers, None) is None, "more buffers than columns want")
    return {"rows": rows, "columns": decoded, "meta": meta}


FIXED = {
    "c": "i1", "C": "u1", "s": "<i2", "S": "<u2", "i": "<i4", "I": "<u4", "l": "<i8", "L": "<u8", "e": "<f2",
    "f": "<f4", "g": "<f8", "tdD": "<i4", "tdm": "<i8", "tts": "<i4", "ttm": "<i4", "ttu": "<i8", "ttn": "<i8",
}


def bits(buffer, rows):
    check(len(buffer) == -(-rows // 8), "length of a bitmap")
    every = numpy.unpackbits(numpy.frombuffer(buffer, "u1"), bitorder="little")
    check(not every[rows:].any(), "bits behind the last row")
    return every[:rows].astype(bool)


def column(kind, rows, nulls, dictionary, buffers):
    """The values as a list, None for nulls."""
    if kind == "n":
        check(nulls == rows, "a null column is all nulls")
        return [None] * rows
    validity = next(buffers)
    valid = bits(validity, rows) if nulls else numpy.ones(rows, bool)
    check(bool(validity) == bool(nulls) and rows - valid.sum() == nulls, "null count")
    if kind == "b":
        values = bits(next(buffers), rows).tolist()
    elif kind in "uUzZ":
        values = variable(kind, rows, next(buffers), next(buffers))
    elif kind.startswith("d:"):
        raw = next(buffers)
        check(len(raw) == 16 * rows, "length of decimals")
        values = [int.from_bytes(raw[i * 16 : i * 16 + 16], "little", signed=True) for i in range(rows)]
    else:
        check(kind in FIXED or kind[:2] == "ts" and kind[2] in "smun" or kind[:2] == "tD", f"column type {kind}")
        raw = next(buffers)
        dtype = numpy.dtype(FIXED.get(kind, "<i8"))
        check(len(raw) == rows * dtype.itemsize, "length of a column")
        values = numpy.frombuffer(raw, dtype).tolist()
    if dictionary is not None:
        _, length, inner, inner_nulls, *deeper = dictionary
        meanings = column(inner, length, inner_nulls, deeper[0] if deeper else None, buffers)
        check(all(0 <= code < length for code, ok in zip(values, valid) if ok), "a code without a value")
        values = [meanings[code] if ok else None for code, ok in zip(values, valid)]
    return [value if ok else None for value, ok in zip(values, valid)]


def variable(kind, rows, raw, data):
    offsets = numpy.frombuffer(raw, "<i4" if kind in "uz" else "<i8")
    check(len(offsets) == rows + 1 and offsets[0] == 0 and offsets[-1] == len(data), "ends of the offsets")
    check((numpy.diff(offsets) >= 0).all(), "offsets fall")
    parts = [bytes(data[a:b]) for a, b in zip(offsets, offsets[1:])]
    return [part.decode() for part in parts] if kind in "uU" else parts


def encode(kind, header, buffers, checksums=False, number=0):
    """A record of `header` (without bufs) and `buffers`."""
    header = dict(header, bufs=[len(b) for b in buffers])
    raw = canonical(dict(sorted(header.items())))
    payload = b"".join(bytes(b).ljust(padded(len(b)), b"\0") for b in buffers)
    code = {name: code for code, name in KINDS.items()}[kind]
    fields = (MAGIC, 1, code, int(checksums), len(raw), len(buffers), len(payload), number, 0, 0, 0, b"")
    first = PREAMBLE.pack(*fields, 0)[:60]
    record = first + struct.pack("<I", crc32c(first + raw)) + raw
    record = record.ljust(padded(len(record)), b"\0") + payload
    if checksums:
        record += sums(crc32c(first + raw), payload)
    return record


def encode_array(value, attrs=None, checksums=False):
    header = {"dtype": value.dtype.str, "shape": list(value.shape)}
    if attrs:
        header["attrs"] = dict(sorted(attrs.items()))
    if value.flags.f_contiguous and not value.flags.c_contiguous:
        header["strides"] = [s if n != 1 else 0 for s, n in zip(value.strides, value.shape)]
        return encode("array", header, [value.tobytes(order="F")], checksums)
    return encode("array", header, [value.tobytes()], checksums)
