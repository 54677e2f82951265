#!/usr/bin/env python3
"""Erases a user's rows from files of the lake, and every older version of these files. The Makefile calls it.

Each file is written anew without the user's rows, on condition that nobody has written it meanwhile; then its older
versions are deleted. A session's file is never deleted: its absence would have the next sweep export the session again.
What it changes cannot be taken back. See docs/erasure.md.

The environment says the rest: USER_ID, FILES (a file with the answer of queries/files_of_user.sql: s3://… addresses, as
text or CSV), CONFIRM_AFTER_MINUTES (the stack's), YES=1 for no question; and the usual variables of the AWS SDKs.
"""

import datetime
import io
import os
import re
import sys

import boto3
import botocore.exceptions
import pyarrow.compute
import pyarrow.parquet

ADDRESS = re.compile(r"s3://([^/\s\",]+)/((?:[^\s\",]+/)?participants/dt=[^\s\",]+\.parquet)")


class Problem(Exception):
    """What the operator is told; nothing else went wrong."""


def given(name: str, rule: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Problem(f"{name} is missing: it {rule}")
    return value


class File:
    """A file of the lake, read, and what is to become of it."""

    def __init__(self, s3, bucket: str, key: str, user_id: str, confirm_after: datetime.timedelta):
        self.s3, self.bucket, self.key = s3, bucket, key
        try:
            found = s3.get_object(Bucket=bucket, Key=key)
        except s3.exceptions.NoSuchKey:
            raise Problem(f"s3://{bucket}/{key} is not there (any more); ask files_of_user.sql again")
        self.etag, self.metadata, self.content_type = found["ETag"], found["Metadata"], found["ContentType"]
        table = pyarrow.parquet.read_table(io.BytesIO(found["Body"].read()))
        its = pyarrow.compute.fill_null(pyarrow.compute.equal(table["user_id"], user_id), False)
        self.rows = pyarrow.compute.sum(its).as_py() or 0
        self.kept = table.filter(pyarrow.compute.invert(its))
        if self.rows:
            # As src/reconcile.rs has it. Writing the file anew would make it look final.
            final_from = pyarrow.compute.max(table["session_end_time"]).as_py() + confirm_after
            if found["LastModified"] < final_from.replace(microsecond=0):
                raise Problem(
                    f"s3://{bucket}/{key} has not had its second look, due at {final_from:%F %T} UTC, which would bring "
                    "the rows back and add who came late; try again after it"
                )

    def erase(self) -> None:
        if self.rows:
            file = io.BytesIO()
            # As the function writes: its columns and types, and no second schema in Arrow's words.
            pyarrow.parquet.write_table(self.kept, file, compression="zstd", store_schema=False)
            try:
                self.s3.put_object(
                    Bucket=self.bucket,
                    Key=self.key,
                    Body=file.getvalue(),
                    IfMatch=self.etag,
                    ContentType=self.content_type,
                    Metadata={**self.metadata, "participants": str(self.kept.num_rows)},
                )
            except botocore.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
                    raise Problem(f"s3://{self.bucket}/{self.key} was written by somebody else meanwhile; try again")
                raise
        # The version with the rows, which has just become an older one, among them.
        for version in versions(self.s3, self.bucket, self.key):
            self.s3.delete_object(Bucket=self.bucket, Key=self.key, VersionId=version)


def versions(s3, bucket: str, key: str) -> list[str]:
    """A key's versions but for the latest."""
    return [
        version["VersionId"]
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
        for version in page.get("Versions", []) + page.get("DeleteMarkers", [])
        if version["Key"] == key and not version["IsLatest"]
    ]


def main() -> None:
    user_id = given("USER_ID", "must be the user id, exactly as in the tokens")
    path = given("FILES", "must name a file with the answer of queries/files_of_user.sql")
    minutes = os.environ.get("CONFIRM_AFTER_MINUTES") or "60"
    if not minutes.isdecimal():
        raise Problem(f"CONFIRM_AFTER_MINUTES={minutes!r} must be a whole number of minutes, the stack's")
    try:
        with open(path, encoding="utf-8") as file:
            addresses = sorted(set(ADDRESS.findall(file.read())))
    except OSError as error:
        raise Problem(f"FILES={path!r}: {error.strerror}")
    if not addresses:
        raise Problem(f"FILES={path!r} names no file of the lake, s3://BUCKET/…participants/dt=DAY/NAME.parquet")
    s3 = boto3.client("s3")
    # All are read before the first is changed, so that a refusal comes before any change.
    files = [File(s3, *address, user_id, datetime.timedelta(minutes=int(minutes))) for address in addresses]
    for file in files:
        older = len(versions(s3, file.bucket, file.key))
        print(f"s3://{file.bucket}/{file.key}: {file.rows} of {file.rows + file.kept.num_rows} rows, {older} older versions")
    if os.environ.get("YES") != "1":
        print("Erase these rows, and all older versions of these files? It cannot be taken back. [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Problem("nothing was changed")
    for file in files:
        file.erase()
    print(f"erased {sum(file.rows for file in files)} rows in {len(files)} files")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"make erase: {problem}")
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        sys.exit(f"make erase: {error}")
