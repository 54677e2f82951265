"""Erases a user from files of a lake without a stack and without versions: for tests/erase.rs.

Usage: python3 tests/erase_rows.py ENDPOINT BUCKET USER_ID KEY…; the credentials are the SDK's variables.
"""

import sys

import boto3

sys.path.insert(0, "tools")
sys.dont_write_bytecode = True
import erase  # noqa: E402

endpoint, bucket, user_id, *keys = sys.argv[1:]
lake = erase.Lake.__new__(erase.Lake)
lake.bucket, lake.prefix = bucket, ""
path_style = boto3.session.Config(s3={"addressing_style": "path"})
lake.s3 = boto3.client("s3", region_name="us-west-2", endpoint_url=endpoint, config=path_style)
for key in keys:
    assert key in lake.siblings(keys[0]), key
    _, found = lake.read(key)
    erase.write_without(lake, key, found["ETag"], user_id)
