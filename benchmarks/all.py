"""The benchmarks in order, with short settings: about half an hour on two cores.

    python benchmarks/all.py [--lingua DIR]

Each is a script of its own with longer settings by default; its output goes to the terminal. ``--lingua`` names the
sentences that detection.py asks for, which are not in this repository; without it that one is left out. corpus.py, with
its million records, is left out too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lingua", metavar="DIR")
    given = parser.parse_args()
    jobs = [
        ["client.py", "--records", "300", "--rounds", "3"],
        ["parallel.py", "--rounds", "1", "--seconds", "45"],
        ["cache.py", "--parallel", "1,4"],
        ["judging.py", "--records", "6"],
        ["useful.py", "--rounds", "2", "--seconds", "90"],
    ]
    if given.lingua:
        jobs.insert(2, ["detection.py", "--lingua", given.lingua])
    failed = []
    for script, *options in jobs:
        print(f"\n$ python benchmarks/{' '.join([script, *options])}", flush=True)
        if subprocess.run([sys.executable, str(HERE / script), *options]).returncode:
            failed.append(script)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
