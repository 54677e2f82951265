#!/usr/bin/env python3
"""Where the operator's commands work: the region and the account, printed first. For `make erase` it then runs a program.

The tools of AWS read the region from different places: SAM and boto3 only from AWS_DEFAULT_REGION or the profile, the AWS
CLI from AWS_REGION first. So each command of ours chooses the region once, in the order of the AWS CLI, and gives it to
all programs that it starts. tools/operate.py asks the AWS CLI for the profile's region, and the others ask boto3.
"""

import os
import re
import sys

# The queue of collections is named STACK-collect.fifo, and a queue's name has at most 80 characters.
STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,66}")
STACK_RULE = "must be a stack's name: letters, digits and -, the first a letter, at most 67"

VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}")
RULE = "must be the name of a region, such as us-west-2"


class Problem(Exception):
    """What the operator is told; nothing else went wrong."""


def chosen(of_profile):
    """AWS_REGION, else AWS_DEFAULT_REGION, else what `of_profile` finds in the profile: for all programs from here on."""
    variable = next((name for name in VARIABLES if os.environ.get(name)), None)
    region = os.environ[variable] if variable else of_profile()
    if not region:
        raise Problem(f"no region is set; AWS_REGION, AWS_DEFAULT_REGION or the region of your profile {RULE}")
    if not REGION.fullmatch(region):
        named = f"{variable}={region!r}" if variable else f"the region of your profile, {region!r},"
        raise Problem(f"{named} {RULE}")
    os.environ.update(dict.fromkeys(VARIABLES, region))
    return region



def announce(region, account):
    """Prints where a command works, before it does anything there."""
    print(f"Account {account}, region {region}, stack {os.environ.get('STACK')}", flush=True)


def settle_by_boto3():
    """The region that boto3 and SAM are to use."""
    import boto3  # Only in .venv; tools/operate.py does without.
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        session = boto3.Session()
        region = chosen(lambda: session.region_name)
        sts = session.client("sts", region_name=region, config=Config(connect_timeout=10, retries={"total_max_attempts": 2}))
        announce(region, sts.get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        raise Problem(f"AWS does not tell whose credentials these are: {error}")
    return region


if __name__ == "__main__":
    try:
        settle_by_boto3()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    os.execv(sys.argv[1], sys.argv[1:])
