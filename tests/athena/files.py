"""Files of the lake: reading them, and having others in their place for a while."""

import contextlib
import datetime
import io
import itertools

import pyarrow
import pyarrow.parquet

from engine import BUCKET, Engine


def with_broken_files(engine: Engine, names: list[str], days: list[datetime.date], check) -> None:
    """Runs a check while tables have a file on some days that none can read."""
    broken = {}
    for name, day in itertools.product(names, days):
        key = f"{name}/dt={day}/broken.parquet"
        broken[key] = engine.s3.put_object(Bucket=BUCKET, Key=key, Body=b"PAR1 this is no Parquet PAR1")["VersionId"]
    try:
        check()
    finally:
        for key, version in broken.items():
            engine.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version)


def parquet(body: bytes) -> pyarrow.Table:
    """A file's rows, read as tools/erase.py reads them: without a thread that could abort the process at its end."""
    return pyarrow.parquet.ParquetFile(pyarrow.BufferReader(body)).read(use_threads=False)


def read(engine: Engine, key: str) -> pyarrow.Table:
    found = engine.s3.get_object(Bucket=BUCKET, Key=key)
    return parquet(found["Body"].read())


@contextlib.contextmanager
def other_file(engine: Engine, key: str, table: pyarrow.Table | None):
    """Meanwhile a file of the lake is another one, or not there."""
    if table is None:
        other = engine.s3.delete_object(Bucket=BUCKET, Key=key)["VersionId"]
    else:
        file = io.BytesIO()
        pyarrow.parquet.write_table(table, file, compression="zstd", coerce_timestamps="ms")
        other = engine.s3.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue())["VersionId"]
    try:
        yield
    finally:
        # The one that the function wrote is the latest again.
        engine.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=other)


def with_file(engine: Engine, key: str, table: pyarrow.Table, check) -> None:
    """Runs a check while a file of the lake is another one."""
    with other_file(engine, key, table):
        check()
