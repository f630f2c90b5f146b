"""Compares `rust-version` with what the dependencies of the published crates ask for. Reads `cargo metadata` from standard input."""

import json
import sys


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
published = [member for member in metadata["workspace_members"] if packages[member]["publish"] != []]
ours = max(version(packages[member]["rust_version"]) for member in published)

reached, waiting = set(), list(published)
while waiting:
    node = waiting.pop()
    if node in reached:
        continue
    reached.add(node)
    for dependency in nodes[node]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            waiting.append(dependency["pkg"])

asked = sorted(
    (version(package["rust_version"]), package["name"], package["version"])
    for package in map(packages.get, reached)
    if package["source"] and package["rust_version"]
)
show = lambda numbers: ".".join(map(str, numbers))
highest = asked[-1][0]
names = ", ".join(f"{name} {number}" for asks, name, number in asked if asks == highest)
print(f"rust-version {show(ours)}; the dependencies ask for {show(highest)}: {names}")
silent = sum(1 for id in reached if packages[id]["source"] and not packages[id]["rust_version"])
print(f"{silent} of {len(asked) + silent} dependencies do not say what they need")
if highest > ours:
    sys.exit(f"rust-version {show(ours)} is too low")
