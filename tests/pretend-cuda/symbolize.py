"""Names for the offsets in the `stack` lines of a report: python3 symbolize.py PROGRAM REPORT."""
import bisect, re, subprocess, sys

program, report = sys.argv[1:]
table = []
names = subprocess.run(["nm", "-C", "--defined-only", program], capture_output=True, text=True)
for line in names.stdout.splitlines():
    address, kind, name = (line.split(" ", 2) + ["", ""])[:3]
    if kind in "tTwW":
        table.append((int(address, 16), re.sub(r"::h[0-9a-f]{16}$", "", name)))
table.sort()
addresses = [address for address, _ in table]
SKIP = re.compile(r"^(atg?_|tch::|core::|std::|alloc::|at_|main$|_start|__rust|<tch|<core|<alloc)")
for line in open(report):
    if not line.startswith("stack"):
        continue
    _, count, rest = line.split(maxsplit=2)
    why, *offsets = re.split(r"(?= [0-9a-f]+(?: |$))", rest.rstrip())
    names = [table[bisect.bisect(addresses, int(offset, 16)) - 1][1] for offset in offsets]
    own = [name for name in names if not SKIP.match(name)]
    print(f"{count:>8} {why}: " + " < ".join(own[:4]))
