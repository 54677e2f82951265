#!/usr/bin/env python3
"""Builds the function and deploys the stack, by SAM: `make deploy`. It runs in .venv, where SAM is.

What can be refused is refused first, before minutes of building, and before SAM makes anything in the account: the stack's
name, the region, and each parameter by the template's own rule and by the calendar. The environment says STACK and YES;
the arguments are the parameters, each NAME=VALUE.
"""

import datetime
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from samcli.yamlhelper import yaml_parse

from region import STACK_NAME, STACK_RULE, Problem, settle_by_boto3

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"

# Instants that the function refuses at its start if they lie in the future.
PAST = ("RewriteBefore", "RecollectBefore")


def parameters(words):
    """The parameters that were given, by name."""
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise Problem(f"PARAMETERS: {word!r} must be NAME=VALUE, and a value with spaces in it stands in quotes")
        # SAM wants quotes of its own around some values. They do no harm here.
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        if '"' in value or "\\" in value:
            raise Problem(f"PARAMETERS: {name}={value!r} must hold no double quote and no backslash")
        given[name] = value
    return given


def broken_rule(name, value, rules, now):
    """What a parameter must be, if it is not."""
    described = rules.get("ConstraintDescription")
    if "AllowedValues" in rules:
        allowed = [str(it) for it in rules["AllowedValues"]]
        if value not in allowed:
            return described or f"must be one of {', '.join(allowed)}"
    if "AllowedPattern" in rules and not re.fullmatch(rules["AllowedPattern"], value):
        return described or f"must match {rules['AllowedPattern']}"
    if len(value) > rules.get("MaxLength", len(value)):
        return f"must have at most {rules['MaxLength']} characters"
    # The pattern has made sure that it is a day, or an instant.
    if name == "FirstDay" and datetime.date.fromisoformat(value) > now.date():
        return f"must not lie in the future: today is {now.date()} in UTC, and every query would fail"
    if name in PAST and value and datetime.datetime.fromisoformat(value) > now:
        return f"must not lie in the future: now it is {now:%Y-%m-%dT%H:%M:%SZ}"
    return None


def check(given, rules, now):
    """All that is wrong with the parameters, not only the first."""
    wrong = []
    for name, value in given.items():
        if name not in rules:
            wrong.append(f"the stack has no parameter {name!r}; it must be one of {', '.join(rules)}")
        elif rule := broken_rule(name, value, rules[name], now):
            wrong.append(f"{name}={value!r} {rule}")
    if wrong:
        raise Problem("\nerror: ".join(wrong))


def run(*command):
    print("$", shlex.join(command), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        raise Problem(f"`{command[0]} {command[1]}` failed with exit code {code}")


def main():
    stack = os.environ.get("STACK", "")
    if not STACK_NAME.fullmatch(stack):
        raise Problem(f"STACK={stack!r} {STACK_RULE}")
    given = parameters(sys.argv[1:])
    rules = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Parameters"]
    check(given, rules, datetime.datetime.now(datetime.timezone.utc))
    region = settle_by_boto3()
    print("SAM uploads the function to a bucket of its own, in the stack aws-sam-cli-managed-default. It makes that stack at")
    print("its first deployment in a region, before it asks you anything (docs/deploy.md).", flush=True)
    run("sam", "build")
    overrides = [f'{name}="{value}"' for name, value in given.items()]
    run(
        "sam", "deploy", "--stack-name", stack, "--s3-prefix", stack, "--region", region,
        *(["--no-confirm-changeset"] if os.environ.get("YES") == "1" else []),
        *(["--parameter-overrides", *overrides] if overrides else []),
    )  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nerror: interrupted")
