"""`make bench-parquet`: the settings of Parquet, beside each other, as a table in Markdown.

Usage: python3 parquet.py LINES

LINES are what bench/measure/benches/parquet.rs prints. Each file is read here by pyarrow, as a scan of all columns on one thread.
"""

import json
import sys
import time

import pyarrow
import pyarrow.parquet


def scan(path: str) -> float:
    """Milliseconds of the fastest of as many scans as fit into half a second, at least five."""
    times, began = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - began < 0.5:
        one = time.perf_counter()
        pyarrow.parquet.read_table(path, use_threads=False)
        times.append(time.perf_counter() - one)
    return min(times) * 1000


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    rows = sorted({line["rows"] for line in lines})
    print("| settings |" + "".join(f" {count:,} rows: bytes | write, ms | scan, ms |" for count in rows))
    print("|---|" + "---|" * 3 * len(rows))
    for name in dict.fromkeys(line["settings"] for line in lines):
        cells = []
        for line in lines:
            if line["settings"] == name:
                cells += [f"{line['bytes']:,}", f"{line['milliseconds']:.2f}", f"{scan(line['path']):.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
