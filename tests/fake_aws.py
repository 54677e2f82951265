#!/usr/bin/env python3
"""Stands in for the AWS CLI: tests/operate.rs links to it as `aws` in a folder, and puts that folder on the PATH.

`answers.json` in that folder holds for each command the list of its answers, one a call: {"stdout": …}, of `lambda
invoke` {"payload": …} too, of `configure get` {"text": …}, or {"stderr": …, "code": …}. Each call is kept as a line of
`calls.jsonl`, with the variables of the CLI.
"""

import json
import os
import sys
from pathlib import Path

folder = Path(sys.argv[0]).parent
arguments = sys.argv[1:]
command = " ".join(arguments[:2])

calls = folder / "calls.jsonl"
before = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
variables = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
call = {"command": command, "arguments": arguments, "environment": variables, "stdin": sys.stdin.read()}
for argument in arguments:
    if argument.startswith("fileb://"):
        call["payload"] = json.loads(Path(argument.removeprefix("fileb://")).read_text())
with calls.open("a") as lines:
    lines.write(json.dumps(call) + "\n")

number = sum(earlier["command"] == command for earlier in before)
answers = json.loads((folder / "answers.json").read_text()).get(command, [])
if number >= len(answers):
    sys.exit(f"fake aws: no answer to call {number + 1} of {command}")
answer = answers[number]
if "payload" in answer:
    # The one argument without a name: where the payload is to go.
    Path(arguments[-3]).write_text(json.dumps(answer["payload"]))
if "stderr" in answer:
    print(answer["stderr"], file=sys.stderr)
    sys.exit(answer["code"])
print(answer["text"] if "text" in answer else json.dumps(answer.get("stdout", {})))
