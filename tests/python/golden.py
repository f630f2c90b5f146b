"""Reads every message file in the folder given, compares a few with what they must hold, and writes some."""

import pathlib
import sys

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "examples/python"))
import wire  # noqa: E402

folder = pathlib.Path(sys.argv[1])
messages = {}
for path in sorted(folder.glob("*.np")):
    data = path.read_bytes()
    messages[path.stem] = wire.decode(data)
    damaged = bytearray(data)
    damaged[len(data) // 3] ^= 0x10
    try:
        if wire.decode(bytes(damaged)) is not None and len(data) < 192:
            raise AssertionError(f"{path.stem}: damage in the head was not found")
    except (wire.Refused, ValueError, TypeError, KeyError):
        pass

ramp = lambda count, dtype: numpy.resize(numpy.arange(251, dtype="u1"), count * numpy.dtype(dtype).itemsize).view(dtype)
types = """|b1 |i1 |u1 <i2 >i2 <u2 >u2 <i4 >i4 <u4 <i8 >i8 <u8 <f2 >f2 <f4 >f4 <f8 >f8 <c8 <c16 >c16 |S5 <U3 >U3
           <M8 <M8[ns] >M8[D] <m8[25s] <m8[us]""".split()
for index, dtype in enumerate(types):
    value = messages[f"type-{index:02}"]["value"]
    assert value.dtype == numpy.dtype(dtype) and value.shape == (2, 3), (dtype, value.dtype)
    if dtype == "|b1":
        assert value.tolist() == [[False, True, True], [False, True, False]]
    elif "U" in dtype:
        assert value[0, 0] == "aé", value
    else:
        assert value.tobytes() == ramp(6, dtype).tobytes(), dtype

base = ramp(12, "<i2")
assert (messages["fortran"]["value"] == base.reshape(4, 3).T).all()
assert (messages["negative"]["value"] == base.reshape(3, 4)[::-1]).all()
permuted = ramp(24, "<i2").reshape(3, 2, 4)[:, ::-1, ::-1]
assert (messages["permuted"]["value"][:, :, 0] == permuted.transpose(1, 0, 2)).all()
assert messages["point"]["value"].shape == () and messages["empty"]["value"].shape == (3, 0, 5)
assert messages["rank-32"]["value"].ndim == 32
record = messages["record"]["value"]
assert record.dtype.names == ("x", "y", "z") and record.itemsize == 12
assert messages["bytes"]["value"] == ramp(70, "u1").tobytes() and messages["no-bytes"]["value"] == b""
assert messages["attributes"]["attrs"] == {"a": "", "ä": "ö"}
assert messages["two-chunks"]["value"].sum() == 7 * ((1 << 20) + 100)

frame = messages["frame"]
values = {name: column["values"] for name, column in frame["columns"].items()}
assert frame["rows"] == 4 and frame["attrs"] == {"name": "golden"} and "pandas" in frame["meta"]
assert values["nothing"] == [None] * 4
assert values["flag"] == [True, False, None, False]
assert values["i8"] == [1, 2, -1, 4] and values["u16"] == [1, 2, None, 4]
assert values["f64"] == [1.5, -2.0, float("inf"), 0.0] and frame["columns"]["f64"]["metadata"] == {"unit": "m"}
assert values["text"] == ["a", "", None, "bc"] and values["large"] == ["wx", "", "yz", ""]
assert values["raw"] == [b"\x00", b"", b"\xff\x01", b"\x02\x03"]
assert values["code"] == ["BB", "AA", None, "BB"]
assert values["when"][2] is None and frame["columns"]["when"]["type"] == "tsn:America/New_York"
assert messages["frame-checksums"]["columns"]["text"]["values"] == values["text"]
assert messages["no-columns"]["rows"] == 7

aligned = wire.decode((folder / "aligned.record").read_bytes())
assert [c["values"] for c in aligned["columns"].values()] == list(values.values())
part = wire.decode((folder / "part.record").read_bytes())
assert (part["offset"], part["total"], part["transfer"]) == (1 << 20, 5 << 20, 3)
assert part["value"] == ramp(70, "u1").tobytes()
lent = wire.decode((folder / "references.record").read_bytes())
assert (lent["id"], lent["ack"], lent["reply_to"], lent["channel"]) == (1 << 32, 2, 3, 4)
assert set(lent["references"]) == {(7, 64)} and len(lent["references"]) == len(lent["lengths"]) > 30
hello = wire.decode((folder / "hello.record").read_bytes())
assert hello == {"kind": 0x80, "body": {"max": 1 << 30, "name": "golden", "versions": [1, 1]}}

names = [b"\x03", bytes([1, 0, 0]), b"", numpy.array([0, 1, 3], "<i4").tobytes(), b"abb"]
given = {"cols": [["name", "c", 1, 1, [0, 2, "u", 0]]], "meta": {"k": "v"}, "rows": 3, "schema": 1}
named = {"counts": [1, 2, 0], "rows": 3, "schema": 1}
given, named = wire.encode("frame", given, names, number=1), wire.encode("frame", named, names, number=2)
assert given == (folder / "schema-given.record").read_bytes()
assert named == (folder / "schema-by-number.record").read_bytes()
schemas = wire.Schemas(2, 100)
first, second = wire.decode(given, schemas), wire.decode(named, schemas)
assert first["columns"]["name"]["values"] == ["bb", "a", None] and first["meta"] == {"k": "v"}
assert {**first, "id": 2} == second
code = [["name", "c", 1, 0, [0, 0, "u", 0]]]


def refused(header, schemas, buffers=names):
    try:
        wire.decode(wire.encode("frame", {"rows": 3, **header}, buffers), schemas)
    except wire.Refused:
        return True
    return False


assert not refused({"schema": 1, "counts": [1, 2, 0]}, schemas), "the schema stays"
assert refused({"schema": 1, "counts": [1, 2, 0]}, None), "not offered"
assert refused({"schema": 1, "counts": [1, 2, 0]}, wire.Schemas(2, 100)), "given in another direction, or not at all"
for header in (
    {"schema": 2},  # names nothing
    {"schema": 0},
    {"schema": 1, "counts": [1, 2]},
    {"schema": 1, "counts": [1, 2, 0, 0]},
    {"schema": 1, "counts": [0, 0, 0]},
    {"schema": 1, "counts": [1, 2, 0], "meta": {"k": "v"}},
    {"schema": 3, "cols": code},  # over the number offered
    {"schema": 2, "cols": [["x" * 90, "c", 1, 1]]},  # over the bytes offered
):
    assert refused(header, schemas), header
given = wire.encode("frame", {"cols": [["other", "c", 0, 0]], "rows": 3, "schema": 1}, [b"", b"abc"])
wire.decode(given, schemas)
assert refused({"schema": 1, "counts": [1, 2, 0]}, schemas), "the number names another schema now"
assert not refused({"schema": 1}, schemas, [b"", b"xyz"])

fortran = numpy.asfortranarray(numpy.arange(12, dtype="<f8").reshape(3, 4))
(folder / "python-fortran.out").write_bytes(wire.encode_array(fortran, {"from": "python"}, checksums=True))
times = numpy.array(["2013-01-01", "2026-11-21"], dtype="<M8[ns]")
(folder / "python-times.out").write_bytes(wire.encode_array(times))
text = [b"\x05", numpy.array([0, 3, 3, 4], "<i4").tobytes(), "añb".encode()]
header = {"cols": [["text", "u", 1, 1]], "rows": 3}
(folder / "python-frame.out").write_bytes(wire.encode("frame", header, text))
print(f"read {len(messages)} files")
