#!/usr/bin/env python3
"""Runs a command and prints how long it took and the most memory that it had: measured.py LABEL COMMAND..."""

import resource
import subprocess
import sys
import time

start = time.monotonic()
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
seconds = time.monotonic() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{sys.argv[1]}: {seconds:.1f} s, {usage.ru_utime + usage.ru_stime:.1f} s of processors, {usage.ru_maxrss / 1024:.0f} MiB, exit {code}", flush=True)
sys.exit(code)
