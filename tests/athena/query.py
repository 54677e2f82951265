"""`make query`: runs a file of queries/ on Athena's engine on this machine, over the sample sessions of local/src/sample.rs.

Usage: python3 query.py FILE [LITERALS]

LITERALS are SQL, with commas between, for the question marks in their order; without them, the examples of the file's
head.
"""

import pathlib
import sys

import trino

from check import Query
from engine import Engine, Missing, Template, fill
from history import fill_history


def shown(value) -> str:
    if value is None:
        return "NULL"
    text = str(value)
    return text if text.isprintable() else repr(text)


def main(path: str, values: str = "") -> None:
    if not pathlib.Path(path).is_file():
        raise SystemExit(f"there is no file {path!r}: make query Q=queries/NAME.sql")
    try:
        query = Query(pathlib.Path(path))
    except UnicodeDecodeError as error:
        raise SystemExit(f"{path!r} is no text in UTF-8: {error}") from error
    values = values or ", ".join(query.examples)
    with Engine(Template()) as engine:
        fill(engine, "export", "collect", "sweep")
        engine.wait()
        if "FROM history" in query.sql:
            fill_history(engine)
        try:
            result = engine.query(query.sql, values)
        except trino.exceptions.TrinoUserError as error:
            raise SystemExit(f"{path} with {values or 'no parameters'}: {error.message}") from error
        except trino.exceptions.Error as error:
            raise SystemExit(f"{path} with {values or 'no parameters'}: Trino failed: {error}; see {engine.log}") from error
    table = [result.names(), *([shown(value) for value in row] for row in result.rows)]
    widths = [max(map(len, column)) for column in zip(*table)]
    print(f"-- {query.question}")
    print(f"-- parameters: {values or 'none'}")
    for number, row in enumerate(table):
        print(" | ".join(value.ljust(width) for value, width in zip(row, widths)).rstrip())
        if number == 0:
            print("-+-".join("-" * width for width in widths))
    print(f"({len(result.rows)} rows, {result.milliseconds} ms)")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Missing, OSError) as error:
        sys.exit(f"make query: {error}")
