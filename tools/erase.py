#!/usr/bin/env python3
"""Erases a user's rows from the lake of a deployed stack: from its files, and from every older version of any file.

A file is written anew without the user's rows, on condition that nobody has written it meanwhile; then the older
versions that hold the user are deleted, also those of files that were deleted or have expired. No file is deleted: a
session without a file is one that the next sweep exports again. What it changes cannot be taken back. See
docs/erasure.md.

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
AGAIN = "Rows remain: run it again with the same USER_ID and FILES"
READERS = 16


class Problem(Exception):
    """What the operator is told; nothing else went wrong."""


def given(name: str, rule: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise Problem(f"{name} is missing: it {rule}")
    return value


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
        outputs = {it["OutputKey"]: it["OutputValue"] for it in found.get("Outputs", [])}
        parameters = {it["ParameterKey"]: it["ParameterValue"] for it in found.get("Parameters", [])}
        try:
            self.bucket = outputs["LakeBucket"]
            self.prefix = parameters["Prefix"] + "participants/"
            self.confirm_after = datetime.timedelta(minutes=int(parameters["ConfirmAfterMinutes"]))
        except KeyError as missing:
            raise Problem(f"the stack {stack!r} has no {missing}; it must be ivs-attendance, wholly deployed")
        self.s3 = session.client("s3", config=botocore.config.Config(max_pool_connections=READERS))

    def read(self, key: str, **version) -> tuple[pyarrow.Table, dict]:
        found = self.s3.get_object(Bucket=self.bucket, Key=key, **version)
        try:
            table = pyarrow.parquet.read_table(io.BytesIO(found["Body"].read()))
            table["user_id"]
        except (pyarrow.ArrowInvalid, KeyError) as error:
            raise Problem(f"s3://{self.bucket}/{key} {version or ''} is no file of the table: {error}")
        return table, found

    def older(self, below: str) -> list[tuple[str, str]]:
        """Key and id of every version below a prefix that is not the latest of its key. Delete markers hold nothing."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=below)
        versions = [version for page in pages for version in page.get("Versions", [])]
        return [(version["Key"], version["VersionId"]) for version in versions if not version["IsLatest"]]

    def older_with(self, user_id: str, below: str) -> list[tuple[str, str]]:
        """Of those, the ones in which the user stands."""
        older = self.older(below)

        def has(version: tuple[str, str]) -> bool:
            try:
                table, _ = self.read(version[0], VersionId=version[1])
            except self.s3.exceptions.NoSuchKey:
                return False  # Expired meanwhile.
            return its_rows(table, user_id)[0] > 0

        with concurrent.futures.ThreadPoolExecutor(READERS) as readers:
            return [version for version, it_has in zip(older, readers.map(has, older)) if it_has]


def its_rows(table: pyarrow.Table, user_id: str) -> tuple[int, pyarrow.Table]:
    """How many rows are the user's, and the others."""
    its = pyarrow.compute.fill_null(pyarrow.compute.equal(table["user_id"], user_id), False)
    return pyarrow.compute.sum(its).as_py() or 0, table.filter(pyarrow.compute.invert(its))


def look(lake: Lake, key: str, user_id: str) -> tuple[int, int, str]:
    """How many rows of a file are the user's, of how many, and the ETag that stands for what was read."""
    try:
        table, found = lake.read(key)
    except lake.s3.exceptions.NoSuchKey:
        raise Problem(f"s3://{lake.bucket}/{key} is not there (any more); ask files_of_user.sql again")
    rows, _ = its_rows(table, user_id)
    if rows:
        # As src/reconcile.rs has it. Writing the file anew would make it look final.
        final_from = pyarrow.compute.max(table["session_end_time"]).as_py() + lake.confirm_after
        if found["LastModified"] < final_from.replace(microsecond=0):
            raise Problem(
                f"s3://{lake.bucket}/{key} has not had its second look, due at {final_from:%F %T} UTC, which would bring the "
                "rows back and add who came late; nothing was changed, try again after it"
            )
    return rows, table.num_rows, found["ETag"]


def write_without(lake: Lake, key: str, etag: str, user_id: str) -> None:
    """Writes a file anew without the user's rows, if it is still the one with this ETag."""
    table, found = lake.read(key)
    _, kept = its_rows(table, user_id)
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
            Metadata={**found["Metadata"], "participants": str(kept.num_rows)},
        )
    except botocore.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 409, 412):
            raise Problem(f"s3://{lake.bucket}/{key} was written by somebody else meanwhile. {AGAIN}")
        raise


def erase(lake: Lake, user_id: str, etags: dict[str, str]) -> int:
    """Writes the files anew, deletes the older versions that hold the user, and looks whether anything is left."""
    for key, etag in etags.items():
        write_without(lake, key, etag, user_id)
    # Those that were the latest until now are among them.
    older = lake.older_with(user_id, lake.prefix)
    for key, version in older:
        lake.s3.delete_object(Bucket=lake.bucket, Key=key, VersionId=version)
    for key in {key for key, _ in older}.union(etags):
        if lake.older_with(user_id, key) or (key in etags and its_rows(lake.read(key)[0], user_id)[0]):
            raise Problem(f"s3://{lake.bucket}/{key} was written by somebody else meanwhile. {AGAIN}")
    return len(older)


def main() -> None:
    user_id = given("USER_ID", "must be the user id, exactly as in the tokens")
    path = given("FILES", "must name a file with the answer of queries/files_of_user.sql, which may be empty")
    named = addresses(path)
    lake = Lake(given("STACK", "must name the stack"))
    start = f"s3://{lake.bucket}/{lake.prefix}dt="
    for address in named:
        if not (address.startswith(start) and address.endswith(".parquet")):
            raise Problem(f"FILES={path!r}: {address!r} must be a file of the stack's lake, {start}DAY/NAME.parquet")
    keys = [address.removeprefix(f"s3://{lake.bucket}/") for address in named]
    # All are looked at before the first is changed, so that a refusal comes before any change.
    looks = {key: look(lake, key, user_id) for key in keys}
    older = lake.older_with(user_id, lake.prefix)
    for key, (rows, of, _) in looks.items():
        print(f"s3://{lake.bucket}/{key}: {rows} of {of} rows")
    print(f"older versions, of these and other files: {len(older)}")
    etags = {key: etag for key, (rows, _, etag) in looks.items() if rows}
    if not etags and not older:
        raise Problem(f"USER_ID={user_id!r} is in none of these files, and in no older version of any; nothing was changed")
    if os.environ.get("YES") != "1":
        print(f"Erase {user_id!r} from all of these? It cannot be taken back. [y/N] ", end="", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Problem("nothing was changed")
    try:
        deleted = erase(lake, user_id, etags)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise Problem(f"{error}. {AGAIN}")
    rows = sum(rows for rows, _, _ in looks.values())
    print(f"erased {rows} rows of {user_id!r} in {len(etags)} files, and {deleted} older versions")


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"make erase: {problem}")
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        sys.exit(f"make erase: {error}. Nothing was changed")
