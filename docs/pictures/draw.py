"""Draws the pictures of the README: `python3 docs/pictures/draw.py`. Needs the standard library and cargo.

`throughput.svg` shows `figures.json`, which one run wrote: `cargo run --release -p numpush-benches -- --full --json FILE`.
`map.svg` shows the crates and what each uses, as `cargo metadata` reports it.
"""

import json
import math
import pathlib
import subprocess
import textwrap

FOLDER = pathlib.Path(__file__).parent
INK, GREY, PAPER = "#24292f", "#8c959f", "#ffffff"
OURS = {
    "unix, from a segment": "#8250df",
    "unix": "#bf3989",
    "tcp": "#0969da",
    "file, mapped": "#1a7f37",
    "file, a folder": "#9a6700",
    "zmq+tcp": "#cf222e",
}
BARE = {"memcpy, warm pages": "6 3", "bare TCP socket": "2 3", "bare unix socket": "8 3 2 3"}


def svg(width, height, parts, title):
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}" role="img">\n<title>{title}</title>\n'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def text(x, y, words, anchor="start", fill=INK, size=13):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}">{words}</text>'


def size_name(size):
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << power:
            return f"{size >> power} {unit}"
    return f"{size} B"


def throughput(figures):
    """Payload bytes a second by size, both axes logarithmic; the machine's own figures are grey and dashed."""
    lines = {}
    for row in figures["rows"]:
        if row["kind"] == "throughput" and row["payload"] == "array" and row["bytes_per_second"]:
            lines.setdefault(row["route"], []).append((row["bytes"], row["bytes_per_second"] / 1e9))
    lines = {name: sorted(points) for name, points in lines.items() if name in OURS or name in BARE}
    left, top, right, bottom, width, height = 64, 56, 190, 96, 860, 520
    sizes = sorted({size for points in lines.values() for size, _ in points})
    rates = [rate for points in lines.values() for _, rate in points]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    first, last = math.log2(sizes[0]), math.log2(sizes[-1])
    x = lambda size: left + (math.log2(size) - first) / (last - first) * (width - left - right)
    y = lambda rate: height - bottom - (math.log10(rate) - low) / (high - low) * (height - top - bottom)
    parts = [text(left, 26, "GB/s by size of an array, until the receiver has touched every page", size=16)]
    for power in range(low, high + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="{GREY}" stroke-opacity=".35"/>')
        parts.append(text(left - 8, at + 4, f"{10.0**power:g}", "end"))
    for size in sizes:
        parts.append(text(x(size), height - bottom + 20, size_name(size), "middle"))
    labels = []
    for name, points in lines.items():
        colour, dash = OURS.get(name, GREY), BARE.get(name, "none")
        path = "L".join(f"{x(size):.1f} {y(rate):.1f}" for size, rate in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        labels.append((y(points[-1][1]), name, colour))
    above = -math.inf
    for at, name, colour in sorted(labels):
        above = max(at + 4, above + 16)
        parts.append(text(width - right + 10, above, name, fill=colour))
    machine = figures["machine"]
    said = (
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}; "
        f"{machine['run']}. Sender and receiver are processes of their own. Grey: the machine without numpush, in the same run."
    )
    for number, line in enumerate(textwrap.wrap(said, 118)):
        parts.append(text(left, height - bottom + 48 + 17 * number, line, fill=GREY, size=12))
    return svg(width, height, parts, "Throughput of each transport by size")


# Folder: what it is, column, row. The crate of the root folder has the project's name.
CRATES = {
    "cli": ("the numpush command", 0, 0),
    "tests": ("what crosses crates or processes", 1, 0),
    "benches": ("figures beside baselines", 2, 0),
    "numpush": ("src/: connect, listen, one error", 1, 1),
    "transports": ("moves messages: tcp, unix, file, zmq", 0.4, 2),
    "shm": ("shares arrays, frames, graphs; pools", 1.6, 2),
    "transports/session": ("the rules of a connection, no I/O", 0.05, 3),
    "transports/zmtp": ("the protocol of ZeroMQ, no I/O", 1.05, 3),
    "shm/core": ("locks and guarded memory (unsafe)", 2.05, 3),
    "message": ("arrays and frames, and their bytes", 0.45, 4),
    "os": ("system calls (unsafe)", 1.45, 4),
}
# Crates that are tools of the tests and the benchmarks.
LEFT_OUT = {"tests/loom", "tests/torture", "benches/instructions"}


def uses():
    """The crates that each crate needs to be built, without those that one of the others brings along."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=FOLDER, check=True, stdout=subprocess.PIPE).stdout)
    root = metadata["workspace_root"]
    folder = lambda path: "numpush" if path == root else path.removeprefix(root + "/")
    needs = {}
    for package in metadata["packages"]:
        found = [folder(one["path"]) for one in package["dependencies"] if "path" in one and one["kind"] is None]
        needs[folder(str(pathlib.Path(package["manifest_path"]).parent))] = set(found)
    assert set(needs) == set(CRATES) | LEFT_OUT, "a crate has no place in the picture"

    def below(name):
        return needs[name].union(*map(below, needs[name]))

    return {name: sorted(needs[name] - set().union(*map(below, needs[name]))) for name in CRATES}


def crates():
    """A box for each crate, an arrow to each that it uses and reaches no other way; all arrows point down."""
    width, height, box, tall = 860, 520, 246, 50
    place = lambda column, row: (24 + column * 283, 54 + row * 94)
    parts = [
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{GREY}"/></marker></defs>',
        text(24, 30, "The crates, and what each uses", size=16),
    ]
    for name, used_crates in uses().items():
        x, y = place(*CRATES[name][1:3])
        for used in used_crates:
            x2, y2 = place(*CRATES[used][1:3])
            assert y2 > y, "an arrow points up"
            middle, end = x + box / 2, x2 + box / 2
            path = f"M{middle:.0f} {y + tall}L{end:.0f} {y2 - 1}"
            parts.append(f'<path d="{path}" stroke="{GREY}" stroke-width="1.5" marker-end="url(#tip)"/>')
    for name, (what, column, row) in CRATES.items():
        x, y = place(column, row)
        parts.append(f'<rect x="{x:.0f}" y="{y}" width="{box}" height="{tall}" rx="6" fill="{PAPER}" stroke="{INK}"/>')
        parts.append(text(x + box / 2, y + 21, name, "middle", size=14))
        parts.append(text(x + box / 2, y + 39, what, "middle", fill=GREY, size=12))
    return svg(width, height, parts, "The crates of numpush and what each uses")


(FOLDER / "map.svg").write_text(crates())
(FOLDER / "throughput.svg").write_text(throughput(json.loads((FOLDER / "figures.json").read_text())))
