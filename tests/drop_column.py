"""Writes copies of Parquet files without their last column: as a function of an older schema wrote them.

Usage: python3 drop_column.py FROM_FOLDER TO_FOLDER
"""

import pathlib
import sys

import pyarrow.parquet


def main(source: str, target: str) -> None:
    for path in pathlib.Path(source).rglob("*.parquet"):
        table = pyarrow.parquet.ParquetFile(path).read()
        older = table.drop_columns([table.column_names[-1]])
        pyarrow.parquet.write_table(older, pathlib.Path(target) / path.name, compression="zstd", coerce_timestamps="ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
