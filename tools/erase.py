#!/usr/bin/env python3
"""Erases a user's rows from the lake of a deployed stack: from its files, and from every older version of any file.

Of each session that FILES names, the files of all tables with people are looked at. A file is written anew without the user's
rows, on condition that nobody has written it meanwhile; then the older versions that hold the user are deleted, also those of
files that were deleted or have expired, and the parts of these sessions' collections. No file is deleted: a session without a
file is one that the next sweep exports or collects again. What it changes cannot be taken back. See docs/erasure.md.

All files are looked at before the first is changed. Then each write and each deletion is for itself: one that fails does
not stop the others. What failed, and what could not be read, is named at the end, and the exit code is 1.

The environment says the rest: STACK, USER_ID, FILES (a file with the answer of queries/files_of_user.sql: s3://…
addresses, as text or CSV), YES=1 for no question; and the usual variables of the AWS SDKs.
"""

import concurrent.futures
import datetime
import io
import os
import re
import sys

import boto3
import botocore.config
import botocore.exceptions
import pyarrow
import pyarrow.compute
import pyarrow.parquet

ADDRESS = re.compile(r's3://[^/\s",]+/[^\s",]+')
AGAIN = "Run it again with the same USER_ID and FILES"
UNKNOWN = "It is not known whether these hold the user: look at them yourself"
MEANWHILE = "was written by somebody else meanwhile"
READERS = 16
# The tables with people, in the order in which the function makes one from the other. So what it begins meanwhile begins
# without the user.
TABLES = ("participants", "participant_events", "attendance")
# The columns that may name the user. An event tells of the tokens before and after an exchange, too.
USER_COLUMNS = ("user_id", "previous_user_id", "new_user_id")
# What S3 says of a key, and of a version of it, that is not there.
ABSENT = ("NoSuchKey", "NoSuchVersion")
REFUSED = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)


class Problem(Exception):
    """What the operator is told; nothing else went wrong."""


class Gone(Problem):
    """A file or a version that is not there (any more)."""


class Unreadable(Problem):
    """A file or a version that may hold the user, but cannot be read."""


def with_list(said: str, failed: list[str]) -> str:
    """What was said, and below it each failure once."""
    return "\n  ".join([said + (":" if failed else ""), *dict.fromkeys(failed)])


def given(name: str, rule: str) -> str:
    value = os.environb.get(name.encode(), b"")
    if not value:
        raise Problem(f"{name} is missing: it {rule}")
    try:
        # Whatever the terminal's encoding is: the lake's is UTF-8.
        return value.decode()
    except UnicodeDecodeError:
        raise Problem(f"{name}={value!r} is no UTF-8: it {rule}, and text in UTF-8")


def addresses(path: str) -> list[str]:
    """The addresses in the answer of files_of_user.sql."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"FILES={path!r} cannot be read as text in UTF-8: {error}")
    found = []
    for number, line in enumerate(lines):
        match = ADDRESS.search(line)
        if match:
            found.append(match[0])
        elif line and number > 0:
            raise Problem(f"FILES={path!r}, line {number + 1}: {line!r} must hold a file's address, s3://…")
    return sorted(set(found))


class Lake:
    """The lake of a stack: its bucket, where its files lie, and when a file is final."""

    def __init__(self, stack: str):
        try:
            # Like the other SDKs, and unlike boto3 itself, heed AWS_REGION.
            session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
            (found,) = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        except botocore.exceptions.ClientError as error:
            raise Problem(f"STACK={stack!r} must name a stack in the account and region of your credentials: {error}")
        self.session = session
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in found.get("Outputs", [])}
        self.parameters = {it["ParameterKey"]: it["ParameterValue"] for it in found.get("Parameters", [])}
        try:
            self.bucket = self.outputs["LakeBucket"]
            self.prefix = self.parameters["Prefix"]
            self.confirm_after = datetime.timedelta(minutes=int(self.parameters["ConfirmAfterMinutes"]))
        except KeyError as missing:
            raise Problem(f"the stack {stack!r} has no {missing}; it must be ivs-attendance, wholly deployed")
        self.s3 = session.client("s3", config=botocore.config.Config(max_pool_connections=READERS))

    def name(self, key: str, version: str | None = None) -> str:
        return f"s3://{self.bucket}/{key}" + (f" version {version}" if version else "")

    def read(self, key: str, version: str | None = None) -> tuple[pyarrow.Table, dict]:
        name = self.name(key, version)
        try:
            found = self.s3.get_object(Bucket=self.bucket, Key=key, **({"VersionId": version} if version else {}))
            body = found["Body"].read()
        except REFUSED as error:
            if isinstance(error, botocore.exceptions.ClientError) and error.response["Error"]["Code"] in ABSENT:
                raise Gone(f"{name} is not there (any more)")
            raise Unreadable(f"{name} cannot be read: {error}")
        try:
            # With a file of Python, a thread of Arrow reads ahead. It needs Python to let go of the file, and aborts the
            # process if that is ending by then. From Arrow's own buffer, this thread reads.
            table = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(body)).read(use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            raise Unreadable(f"{name} is no file of the table: {error}")
        kind = table["user_id"].type if "user_id" in table.column_names else None
        if kind not in (pyarrow.string(), pyarrow.large_string()):
            raise Unreadable(f"{name} is no file of the table: it has no column user_id of text")
        return table, found

    def siblings(self, key: str) -> list[str]:
        """The files of a file's session, of each table."""
        _, file = key.removeprefix(self.prefix).split("/", 1)
        return [f"{self.prefix}{table}/{file}" for table in TABLES]

    def parts(self, keys: list[str]) -> list[tuple[str, str]]:
        """Key and id of every version of the parts of these files' sessions."""
        stems = sorted({key.rsplit("/", 1)[1].removesuffix(".parquet") for key in keys})
        folders = [f"{self.prefix}parts/{stem}/" for stem in stems]
        return [(version["Key"], version["VersionId"]) for folder in folders for version in self.versions(folder)]

    def versions(self, below: str) -> list[dict]:
        """Every version below a prefix. Delete markers hold nothing."""
        try:
            pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=below)
            return [version for page in pages for version in page.get("Versions", [])]
        except REFUSED as error:
            raise Problem(f"the versions below {self.name(below)} cannot be listed: {error}")

    def older_with(self, user_id: str, *below: str) -> tuple[list[tuple[str, str]], list[str]]:
        """Key and id of the versions below prefixes that are not the latest of their key, and in which the user stands; and
        which cannot be read, and why."""
        versions = [version for prefix in below or self.tables() for version in self.versions(prefix)]
        older = [(version["Key"], version["VersionId"]) for version in versions if not version["IsLatest"]]

        def has(version: tuple[str, str]) -> bool | str:
            try:
                return its_rows(self.read(*version)[0], user_id)[0] > 0
            except Gone:
                return False  # Expired meanwhile.
            except Unreadable as problem:
                return str(problem)

        with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
            found = list(zip(older, readers.map(has, older)))
        return [version for version, it in found if it is True], [it for _, it in found if isinstance(it, str)]

    def tables(self) -> list[str]:
        return [f"{self.prefix}{table}/" for table in TABLES]

    def delete(self, key: str, version: str) -> None:
        try:
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version)
        except REFUSED as error:
            raise Problem(f"{self.name(key, version)} cannot be deleted: {error}")


def its_rows(table: pyarrow.Table, user_id: str) -> tuple[int, pyarrow.Table]:
    """How many rows are the user's, and the others."""
    its = None
    for column in USER_COLUMNS:
        if column in table.column_names:
            named = pyarrow.compute.fill_null(pyarrow.compute.equal(table[column], user_id), False)
            its = named if its is None else pyarrow.compute.or_(its, named)
    return pyarrow.compute.sum(its).as_py() or 0, table.filter(pyarrow.compute.invert(its))


def look(lake: Lake, key: str, user_id: str) -> tuple[int, int, str]:
    """How many rows of a file are the user's, of how many, and the ETag that stands for what was read."""
    table, found = lake.read(key)
    rows, _ = its_rows(table, user_id)
    if rows:
        # As src/reconcile.rs has it. Writing the file anew would make it look final.
        end = pyarrow.compute.max(table["session_end_time"]).as_py() if "session_end_time" in table.column_names else None
        if not isinstance(end, datetime.datetime) or end.tzinfo is None:
            raise Unreadable(f"{lake.name(key)} is no file of the table: it has no session_end_time in UTC")
        final_from = end + lake.confirm_after
        if found["LastModified"] < final_from.replace(microsecond=0):
            raise Problem(
                f"{lake.name(key)} has not had its second look, due at {final_from:%F %T} UTC, which would bring the "
                "rows back and add who came late; try again after it"
            )
    return rows, table.num_rows, found["ETag"]


def write_without(lake: Lake, key: str, etag: str, user_id: str) -> None:
    """Writes a file anew without the user's rows, if it is still the one with this ETag."""
    table, found = lake.read(key)
    rows, kept = its_rows(table, user_id)
    file = io.BytesIO()
    # As the function writes: its columns and types, and no second schema in Arrow's words.
    pyarrow.parquet.write_table(kept, file, compression="zstd", store_schema=False)
    try:
        lake.s3.put_object(
            Bucket=lake.bucket,
            Key=key,
            Body=file.getvalue(),
            IfMatch=etag,
            ContentType=found["ContentType"],
            Metadata=counted(found["Metadata"], rows, kept.num_rows),
        )
    except REFUSED as error:
        status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in (404, 409, 412):
            raise Problem(f"{lake.name(key)} {MEANWHILE}")
        raise Problem(f"{lake.name(key)} cannot be written: {error}")


def counted(metadata: dict[str, str], erased: int, kept: int) -> dict[str, str]:
    """The metadata of a file with fewer rows. What IVS listed counts for so many events less, or else the function would
    take a later, shorter list for one that IVS has begun to forget."""
    metadata = dict(metadata)
    if "listed-events" in metadata:
        metadata |= {"events": str(kept), "listed-events": str(max(0, int(metadata["listed-events"]) - erased))}
    else:
        metadata["participants"] = str(kept)
    return metadata


def erase(lake: Lake, user_id: str, etags: dict[str, str], keys: list[str]) -> tuple[list[str], int, list[str]]:
    """Writes the files anew, deletes the older versions that hold the user, and the parts of the sessions of `keys` and of
    these versions, and looks whether anything is left.

    Gives the keys that were written, the number of versions that were deleted, and what failed.
    """
    written, deleted, failed, failed_keys = [], 0, [], set()

    def fail(key: str, problem: Problem) -> None:
        failed.append(str(problem))
        failed_keys.add(key)

    for key, etag in etags.items():
        try:
            write_without(lake, key, etag, user_id)
            written.append(key)
        except Problem as problem:
            fail(key, problem)
    try:
        # Those that were the latest until now are among them.
        older, unreadable = lake.older_with(user_id)
        parts = lake.parts([*keys, *(key for key, _ in older)])
    except Problem as problem:
        return written, deleted, [*failed, str(problem)]
    failed += unreadable
    for key, version in [*older, *parts]:
        try:
            lake.delete(key, version)
            deleted += 1
        except Problem as problem:
            fail(key, problem)
    for key in sorted({key for key, _ in older}.union(etags) - failed_keys):
        try:
            left, unreadable = lake.older_with(user_id, key)
            failed += unreadable
            if left or (key in etags and its_rows(lake.read(key)[0], user_id)[0]):
                raise Problem(f"{lake.name(key)} {MEANWHILE}")
        except Problem as problem:
            fail(key, problem)
    return written, deleted, failed


def main() -> None:
    user_id = given("USER_ID", "must be the user id, exactly as in the tokens")
    path = given("FILES", "must name a file with the answer of queries/files_of_user.sql, which may be empty")
    named = addresses(path)
    lake = Lake(given("STACK", "must name the stack"))
    starts = tuple(f"s3://{lake.bucket}/{table}dt=" for table in lake.tables())
    for address in named:
        if not (address.startswith(starts) and address.endswith(".parquet")):
            raise Problem(f"FILES={path!r}: {address!r} must be a file of the stack's lake, {starts[0]}DAY/NAME.parquet")
    given_keys = {address.removeprefix(f"s3://{lake.bucket}/") for address in named}
    keys = list(dict.fromkeys(sibling for key in sorted(given_keys) for sibling in lake.siblings(key)))
    # All are looked at before the first is changed, so that a refusal comes before any change.
    looks, refused, unreadable = {}, [], []
    for key in keys:
        try:
            looks[key] = look(lake, key, user_id)
        except Gone as problem:
            # Not every session has a file in each table.
            if key in given_keys:
                refused.append(f"{problem}; ask files_of_user.sql again")
        except Unreadable as problem:
            unreadable.append(str(problem))
        except Problem as problem:
            refused.append(str(problem))
    if refused:
        raise Problem(with_list("nothing was changed", refused))
    older, more = lake.older_with(user_id)
    unreadable += more
    parts = lake.parts([*keys, *(key for key, _ in older)])
    for key, (rows, of, _) in looks.items():
        print(f"{lake.name(key)}: {rows} of {of} rows")
    print(f"older versions, of these and other files: {len(older)}")
    if parts:
        print(f"parts of collections of these sessions, which hold everybody of them: {len(parts)}")
    if unreadable:
        print(with_list(UNKNOWN, unreadable))
    etags = {key: etag for key, (rows, _, etag) in looks.items() if rows}
    if not etags and not older and not parts:
        nowhere = f"USER_ID={user_id!r} is in none of these files, and in no older version of any; nothing was changed"
        raise Problem(with_list(f"{nowhere}. {UNKNOWN}", unreadable) if unreadable else nowhere)
    if os.environ.get("YES") != "1":
        print(f"Erase {user_id!r} from all of these? It cannot be taken back. [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Problem("nothing was changed")
    written, deleted, failed = erase(lake, user_id, etags, keys)
    rows = sum(looks[key][0] for key in written)
    print(f"erased {rows} rows of {user_id!r} in {len(written)} files, and {deleted} older versions")
    failed = [it for it in failed if it not in unreadable]
    if failed:
        print(with_list(f"make erase: rows may remain. {AGAIN}. What failed", failed), file=sys.stderr)
    if unreadable:
        print(with_list(f"make erase: {UNKNOWN}", unreadable), file=sys.stderr)
    if failed or unreadable:
        sys.exit(1)


if __name__ == "__main__":
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except Problem as problem:
        sys.exit(f"make erase: {problem}")
    except REFUSED as error:
        sys.exit(f"make erase: {error}. Nothing was changed")
    except KeyboardInterrupt:
        sys.exit(f"make erase: interrupted. {AGAIN}")
