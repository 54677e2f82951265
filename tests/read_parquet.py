"""Prints a Parquet file as JSON, read by a library that shares no code with its writer.

Usage: python3 read_parquet.py FILE
"""

import json
import sys

import pyarrow.parquet


def main(path: str) -> None:
    file = pyarrow.parquet.ParquetFile(path)
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    chunks = [
        file.metadata.row_group(group).column(column)
        for group in range(file.metadata.num_row_groups)
        for column in range(file.metadata.num_columns)
    ]
    print(
        json.dumps(
            {
                "arrow": {field.name: str(field.type) for field in file.schema_arrow},
                "parquet": {column.name: f"{column.physical_type} {column.logical_type}" for column in columns},
                "codecs": sorted({chunk.compression for chunk in chunks}),
                "rows": file.read().to_pylist(),
            },
            default=lambda time: time.isoformat(timespec="milliseconds"),
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
