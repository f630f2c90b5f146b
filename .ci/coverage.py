"""A table of coverage, a crate a line. Reads `llvm-cov export --summary-only` from standard input."""

import collections
import json
import os
import sys

crates = collections.defaultdict(lambda: [0, 0, 0, 0])
for file in json.load(sys.stdin)["data"][0]["files"]:
    crate = os.path.relpath(file["filename"]).split("/src/")[0].removeprefix("src/") or "."
    crate = "numpush" if crate.endswith(".rs") else crate
    for place, what in enumerate(("lines", "regions")):
        crates[crate][2 * place] += file["summary"][what]["covered"]
        crates[crate][2 * place + 1] += file["summary"][what]["count"]

total = [sum(column) for column in zip(*crates.values())]
print(f"{'':16} {'lines':>14} {'regions':>16}")
for crate, (lines, all_lines, regions, all_regions) in [*sorted(crates.items()), ("all", total)]:
    share = lambda covered, count: f"{covered:6}/{count:<6}{100 * covered / max(count, 1):4.0f} %"
    print(f"{crate:16} {share(lines, all_lines)} {share(regions, all_regions)}")
