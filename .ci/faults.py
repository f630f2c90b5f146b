"""docs/faults.md and the tests name each other truly: every test named there exists, every number cited in a test is there."""

import pathlib
import re
import subprocess
import sys

table = pathlib.Path("docs/faults.md").read_text()
rows = [line for line in table.splitlines() if re.match(r"\| F\d+ \|", line)]
numbers = {row.split("|")[1].strip() for row in rows}
listed = subprocess.run(["git", "ls-files", "*.rs"], capture_output=True, text=True, check=True).stdout.split()
sources = "\n".join(pathlib.Path(path).read_text() for path in listed)

wrong = []
for name in sorted({name for row in rows for name in re.findall(r"`(\w*_\w*)`", row) if name.islower()}):
    # A test is a function, or a case of a macro that makes one.
    if not re.search(rf"\bfn {name}\b|^\s*{name}\s*[,=(;]", sources, re.MULTILINE):
        wrong.append(f"docs/faults.md: there is no test {name}")
for number in sorted(set(re.findall(r"(?<!\w)F\d{1,2}(?!\w)", sources)) - numbers):
    wrong.append(f"a test cites {number}, which docs/faults.md does not have")
print("\n".join(wrong) or f"{len(rows)} faults, {sum('none yet' in row for row in rows)} with a part that no test shows")
sys.exit(bool(wrong))
