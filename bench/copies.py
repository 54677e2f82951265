"""Sessions that are copies of one of the sample's, for benchmarks of queries."""

import datetime

import pyarrow
import pyarrow.compute

SEMINAR = "dt=2026-11-16/Seminar00000_st-Seminar000001.parquet"


def moved(table: pyarrow.Table, start: datetime.datetime, session_id: str) -> pyarrow.Table:
    """A session's rows as those of another session, with all times as long after its start as they were."""
    later = start - table["session_start_time"][0].as_py()
    for number, field in enumerate(table.schema):
        if field.name == "session_id":
            column = pyarrow.array([session_id] * len(table), field.type)
        elif pyarrow.types.is_timestamp(field.type):
            column = pyarrow.compute.add(table[field.name], pyarrow.scalar(later, pyarrow.duration(field.type.unit)))
        else:
            continue
        table = table.set_column(number, field, column)
    return table
