#!/usr/bin/env python3
"""The operator's commands on a deployed stack: sweep, backfill, export, collect, redrive, rewrite, recollect. The Makefile calls it.

It works through the operator's own AWS CLI, finds the queues in the stack's outputs, and sends what lies in events/. It
asks nothing of IVS and writes nothing to the lake: the function does, so each command may be given again at any time.
The environment says the rest: STACK, for export and collect STAGE and SESSION, for backfill YES, for rewrite and recollect
BEFORE.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from region import STACK_NAME, STACK_RULE, Problem, announce, chosen

EVENTS = Path(__file__).resolve().parent.parent / "events"
INSTALL = "https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html"

# MaximumConcurrency of the queue of work.
INVOCATIONS = 2
# The largest QueueAtMost.
MOST_QUEUED = 100000
# A dry run answers within 4 minutes, because NAT gateways cut a connection that is silent for 350 seconds.
ANSWER_WITHIN = 300
COUNTS = ("stages", "sessions", "live", "missing", "due", "failing", "left", "failed")

# As in src/session.rs.
STAGE_ARN = re.compile(r"arn:aws:ivs:[a-z0-9-]+:[0-9]+:stage/[A-Za-z0-9-]+")
STAGE_RULE = "must be a stage's ARN, arn:aws:ivs:REGION:ACCOUNT:stage/ID, of at most 128 characters"
SESSION_ID = re.compile(r"st-[A-Za-z0-9]{13}")
SESSION_RULE = "must be a stage session's id: st- and 13 letters or digits, 16 characters in all"
# The parameters of a rewrite and of its like for attendance, and their form as in the template.
REWRITE = "RewriteBefore"
RECOLLECT = "RecollectBefore"
INSTANT = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})")
INSTANT_RULE = "must be an instant by RFC 3339, such as 2026-11-23T00:00:00Z"
# Of the CLI's settings in the operator's environment and files none may change what a command does.
CLI_SETTINGS = {"AWS_CLI_AUTO_PROMPT": "off", "AWS_PAGER": "", "AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "3"}


class CliFailed(Problem):
    """The AWS CLI refused or failed, and said why on its standard error, which the operator has seen."""

    def __init__(self, arguments, code, said):
        super().__init__(f"`aws {arguments[0]} {arguments[1]}` failed with exit code {code}")
        self.code, self.said = code, said


def cli(*arguments, timeout=None, **environment):
    """What the AWS CLI prints. Its own words about a failure go on to the operator."""
    environment = {**os.environ, **CLI_SETTINGS, **environment}
    try:
        done = subprocess.run(
            ["aws", *arguments, "--output", "json"], env=environment, timeout=timeout, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
    except FileNotFoundError:
        raise Problem(f"the AWS CLI is missing (no program `aws` on the PATH); install its version 2: {INSTALL}")
    except subprocess.TimeoutExpired:
        raise Problem(f"`aws {arguments[0]} {arguments[1]}` got no answer within {timeout} seconds")
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise CliFailed(arguments, done.returncode, done.stderr)
    return done.stdout


def aws(*arguments, **more):
    """The answer of an operation."""
    return json.loads(cli(*arguments, **more) or "{}")


def region_of_profile():
    try:
        return cli("configure", "get", "region").strip()
    except CliFailed as failure:
        # So it says that there is none.
        if failure.code == 1 and not failure.said.strip():
            return None
        raise


def given(name, pattern, rule, at_most=128):
    """A variable of the environment that has to be there, and follow a rule."""
    value = os.environ.get(name, "")
    if len(value) > at_most or not pattern.fullmatch(value):
        raise Problem(f"{name}={value!r} {rule}" if value else f"{name} is missing: it {rule}")
    return value


class Stack:
    """A deployed stack: its outputs, its parameters, its region."""

    def __init__(self):
        self.name = given("STACK", STACK_NAME, STACK_RULE)
        self.region = chosen(region_of_profile)
        announce(self.region, aws("sts", "get-caller-identity")["Account"])
        try:
            stacks = aws("cloudformation", "describe-stacks", "--stack-name", self.name)["Stacks"]
        except CliFailed as failure:
            if "does not exist" not in failure.said:
                raise
            raise Problem(f"{failure}; STACK={self.name!r} must name a stack that is deployed in this account and region")
        self.outputs = {it["OutputKey"]: it["OutputValue"] for it in stacks[0].get("Outputs", [])}
        self.parameters = {it["ParameterKey"]: it["ParameterValue"] for it in stacks[0].get("Parameters", [])}

    def output(self, name):
        return self.look("output", self.outputs, name)

    def parameter(self, name):
        return self.look("parameter", self.parameters, name)

    def look(self, kind, values, name):
        if name not in values:
            raise Problem(f"the stack {self.name!r} has no {kind} {name}; it must be ivs-attendance, wholly deployed")
        return values[name]

    def watch(self, queue):
        return (
            f"Watch the log, and how much waits and is worked on:\n  {self.output('FollowLogs')}\n"
            f"  aws sqs get-queue-attributes --region {self.region} --queue-url {self.output(queue)} "
            "--attribute-names ApproximateNumberOfMessages ApproximateNumberOfMessagesNotVisible"
        )


def send_sweep(stack):
    # An id of its own: by its content alone it would be dropped within five minutes of another one.
    aws(
        "sqs", "send-message", "--queue-url", stack.output("SweepQueueUrl"),
        "--message-body", (EVENTS / "sweep.json").read_text().strip(),
        "--message-group-id", "sweep", "--message-deduplication-id", f"by-hand-{time.time_ns()}",
    )  # fmt: skip
    print("The sweep is sent. It begins within a minute or so, or once the sweep that runs has ended.")
    print(stack.watch("WorkQueueUrl"))


def sweep():
    send_sweep(Stack())


def dry_run(stack, payload):
    """The report of one dry run."""
    with tempfile.TemporaryDirectory() as folder:
        sent, answer = Path(folder, "payload.json"), Path(folder, "answer.json")
        sent.write_text(json.dumps(payload))
        # By itself the CLI gives up reading after 60 seconds, and invokes again.
        outcome = aws(
            "lambda", "invoke", "--function-name", stack.output("FunctionName"), "--cli-read-timeout", "0",
            "--payload", f"fileb://{sent}", str(answer), timeout=ANSWER_WITHIN, AWS_MAX_ATTEMPTS="1",
        )  # fmt: skip
        report = json.loads(answer.read_text() or "null")
    if "FunctionError" in outcome:
        report = report if isinstance(report, dict) else {}
        raise Problem(f"the dry run failed with {report.get('errorType')}: {report.get('errorMessage')}")
    if not isinstance(report, dict) or any(not isinstance(report.get(name), int) for name in COUNTS):
        raise Problem(f"the dry run answered {json.dumps(report)}, which must be a report with {', '.join(COUNTS)}")
    return report


def dry_runs(stack):
    """The sums over all stages, however many invocations they take."""
    payload = json.loads((EVENTS / "sweep-dry-run.json").read_text())
    sums, failed_stages = dict.fromkeys(COUNTS, 0), []
    while True:
        report = dry_run(stack, payload)
        for name in COUNTS:
            sums[name] += report[name]
        failed_stages += report.get("failed_stages", [])
        after, before = report.get("after"), payload["sweep"].get("after", "")
        if after is None:
            return sums, failed_stages
        if after <= before:
            raise Problem(f"the dry run goes on after {after!r}, which must lie behind {before!r}")
        print(f"  {sums['stages']:,} stages so far, on after {after}", flush=True)
        payload["sweep"]["after"] = after


def rate(schedule):
    """The seconds between two ticks, where the schedule tells."""
    match = re.fullmatch(r"rate\(([0-9]+) (minute|hour|day)s?\)", schedule)
    return match and int(match[1]) * {"minute": 60, "hour": 3600, "day": 86400}[match[2]]


def outlook(stack, sessions):
    """How long so many sessions take, at least: at the pace, and by what each tick puts into the queue."""
    each = float(stack.parameter("CallsPerSecond"))
    pace, at_most = each * INVOCATIONS, int(stack.parameter("QueueAtMost"))
    schedule, on = stack.parameter("SweepSchedule"), stack.parameter("SweepState") == "ENABLED"
    print(f"\n{sessions:,} sessions to export, in at least {2 * sessions:,} calls to IVS: for each of them GetStageSession and")
    print("ListParticipants once, and ListParticipants again for every further 100 participants.")
    print(f"The pace allows {pace:g} calls a second of each ({each:g} by one of {INVOCATIONS} invocations):")
    print(f"  at least {sessions / pace / 3600:.1f} hours.")
    ticks, seconds = -(-sessions // at_most), rate(schedule)
    print(f"A sweep fills the queue up to {at_most:,} sessions (QueueAtMost), so it takes at least {ticks:,} sweeps:")
    if not on:
        print("  the schedule is off (SweepState), so the others do not come by themselves: send them (make sweep).")
    elif seconds is None:
        print(f"  they come by the schedule {schedule}.")
    else:
        print(f"  at {schedule} that is at least {(ticks - 1) * seconds / 3600:.1f} hours.")
        if sessions / pace < (ticks - 1) * seconds:
            enough = min(int(pace * seconds), MOST_QUEUED)
            print(f"  A larger QueueAtMost is faster: make deploy PARAMETERS=QueueAtMost={enough} keeps the function busy.")
            print("  But then new sessions wait behind as many old ones.")


def agreed():
    if os.environ.get("YES") == "1":
        return True
    try:
        return input("\nSend the sweep? (y/N) ").strip().lower() in ("y", "yes")
    except EOFError:
        raise Problem("nobody answered, so nothing was sent; YES=1 skips the question")


def backfill():
    stack = Stack()
    pace = float(stack.parameter("SweepCallsPerSecond")) / 4
    print(f"A dry run first, which sends nothing. It lists {pace:g} stages a second, a quarter of SweepCallsPerSecond, so")
    print(f"1,000 stages take at least {1000 / pace / 60:.0f} minutes. Every 4 minutes or sooner it says how far it is.", flush=True)
    sums, failed_stages = dry_runs(stack)
    for name, meaning in (
        ("stages", "stages"),
        ("failed", "of them could not be listed"),
        ("sessions", "sessions"),
        ("live", "of them are live"),
        ("missing", "have ended and are missing from the lake"),
        ("due", "are due for their second look, or for a rewrite"),
        ("failing", "of these two failed for good within a day, and are left out"),
        ("left", "to export"),
    ):
        print(f"  {sums[name]:>9,}  {meaning} ({name})")
    for stage in failed_stages:
        print(f"  could not be listed: {stage}")
    ignored = stack.parameters.get("IgnoreEndedBefore")
    if ignored:
        print(f"  What ended before {ignored} is left out (IgnoreEndedBefore).")
    kept = stack.parameters.get("RetentionDays", "0")
    if kept != "0":
        print(f"  What ended more than {kept} days ago is left out (RetentionDays).")
    if not sums["left"]:
        print("There is nothing to export, so nothing was sent.")
        return
    outlook(stack, sums["left"])
    ticks = stack.parameter("SweepSchedule") if stack.parameter("SweepState") == "ENABLED" else None
    if not agreed():
        print("Nothing was sent." + (f" But the next tick sweeps all the same ({ticks})." if ticks else ""))
        return
    send_sweep(stack)
    if ticks:
        print(f"What it leaves, the ticks carry on ({ticks}); make backfill tells how much that is.")


def one_session():
    """The stack, and the members that name the session."""
    stage = given("STAGE", STAGE_ARN, STAGE_RULE)
    session = given("SESSION", SESSION_ID, SESSION_RULE)
    stack = Stack()
    if stage.split(":")[3] != stack.region:
        raise Problem(f"STAGE={stage!r} must be a stage of {stack.region}, the only region that this stack asks")
    return stack, {"stage_arn": stage, "session_id": session}


def export():
    stack, session = one_session()
    request = json.loads((EVENTS / "request.json").read_text())
    request.update(session)
    aws(
        "sqs", "send-message", "--queue-url", stack.output("WorkQueueUrl"), "--delay-seconds", "0",
        "--message-body", json.dumps(request),
    )  # fmt: skip
    print("The request is sent. Its turn comes within a minute, or behind what waits.")
    print(stack.watch("WorkQueueUrl"))


def collect():
    stack, session = one_session()
    request = json.loads((EVENTS / "collect.json").read_text())
    request["collect"].update(session)
    # The session's own group, as in the function's messages, so that it is not collected twice at once.
    group = f"{session['stage_arn'].rsplit('/', 1)[1]}_{session['session_id']}"
    aws(
        "sqs", "send-message", "--queue-url", stack.output("CollectQueueUrl"), "--message-body", json.dumps(request),
        "--message-group-id", group, "--message-deduplication-id", f"by-hand-{time.time_ns()}",
    )  # fmt: skip
    print("The request is sent. Its turn comes within a minute, or behind what waits. A participant takes half a second or more,")
    print("and where attendance is there already, nothing is done.")
    print(stack.watch("CollectQueueUrl"))


def redrive():
    """Both queues: one that cannot be moved does not keep the other."""
    stack, failures = Stack(), []
    queues = ((stack.output("WorkDeadLetterQueueUrl"), "work"), (stack.output("CollectDeadLetterQueueUrl"), "collections"))
    for queue, name in queues:
        try:
            redrive_one(stack, queue, name)
        except CliFailed as failure:
            failures.append(failure)
    print(stack.watch("WorkQueueUrl"))
    print(stack.watch("CollectQueueUrl"))
    if failures:
        raise failures[0]


def redrive_one(stack, queue, name):
    asked = ("QueueArn", "ApproximateNumberOfMessages")
    queue = aws("sqs", "get-queue-attributes", "--queue-url", queue, "--attribute-names", *asked)["Attributes"]
    aws("sqs", "start-message-move-task", "--source-arn", queue["QueueArn"])
    print(f"About {queue['ApproximateNumberOfMessages']} messages go back from the dead-letter queue to the queue of {name}.")
    print("How far that is:")
    print(f"  aws sqs list-message-move-tasks --region {stack.region} --source-arn {queue['QueueArn']}")


def set_instant(parameter):
    """Sets one of the two parameters to BEFORE. The sweeps do the rest."""
    before = os.environ.get("BEFORE")
    if before is None:
        raise Problem(f"BEFORE is missing: it {INSTANT_RULE}, or be empty, which ends it")
    if before:
        check_past("BEFORE", before)
    stack = Stack()
    if parameter not in stack.parameters:
        raise Problem(f"the stack {stack.name!r} has no parameter {parameter}; deploy this version first: make deploy")
    if stack.parameters[parameter] == before:
        print(f"{parameter} is {before or 'empty'} already, so nothing was changed.")
    else:
        change(stack, parameter, before)
    return stack, before


def rewrite():
    stack, before = set_instant(REWRITE)
    if not before:
        print("No file is written anew any more, but for those that wait in the queue of work.")
        return
    print(f"Every file last written before {before} is written once more, if IVS still lists its session: its participants are")
    print("listed again, and what IVS says now replaces what is stored. Sweeps do that behind all other work, until no such file")
    print("is left. How many are left, each sweep says in its line of the log under `rewrites`, and `make backfill` under `due`,")
    print("together with second looks:")
    print(f"  {stack.output('FollowLogs')}")
    print("Rows that `make erase` removed before that instant come back (docs/erasure.md).")
    print("Later deployments keep the instant, which does no harm: a file that was written since is not written again.")


def recollect():
    stack, before = set_instant(RECOLLECT)
    if not before:
        print("No attendance is collected anew any more, but for what waits in the queue of collections.")
        return
    print(f"Attendance last written before {before} is collected once more, if IVS still lists its session: IVS is asked again")
    print("for each participant. Where it tells of fewer events than are stored, the stored ones are kept. Sweeps do that behind")
    print("all other work, until no such file is left. How much, each sweep says in its line of the log under `collect_enqueued`:")
    print(f"  {stack.output('FollowLogs')}")
    print("It asks for those who stand in the file of participants. What may come back of a user who was erased: docs/erasure.md.")


def check_past(name, value):
    """An instant that the function accepts: by the template's rule, by the calendar, and not in the future."""
    try:
        if not INSTANT.fullmatch(value):
            raise ValueError
        instant = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        raise Problem(f"{name}={value!r} {INSTANT_RULE}")
    now = datetime.datetime.now(datetime.timezone.utc)
    if instant > now:
        raise Problem(f"{name}={value!r} must not lie in the future: now it is {now:%Y-%m-%dT%H:%M:%SZ}")


def change(stack, parameter, value):
    """Updates the stack with one parameter changed and all else as it is, and waits until that is done."""
    parameters = [{"ParameterKey": name, "UsePreviousValue": True} for name in stack.parameters if name != parameter]
    parameters.append({"ParameterKey": parameter, "ParameterValue": value})
    named = ("--stack-name", stack.name)
    aws(
        "cloudformation", "update-stack", *named, "--use-previous-template",
        # The template is SAM's, which CloudFormation expands anew.
        "--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND",
        "--parameters", json.dumps(parameters),
    )  # fmt: skip
    print(f"The stack is updated with {parameter}={value or '(empty)'}, which takes a minute or two.", flush=True)
    try:
        cli("cloudformation", "wait", "stack-update-complete", *named)
    except CliFailed as failure:
        events = f"aws cloudformation describe-stack-events --region {stack.region} --stack-name {stack.name} --max-items 20"
        raise Problem(f"{failure}; whether and why the update failed:\n  {events}")
    print("The update is done.")


COMMANDS = {command.__name__: command for command in (sweep, backfill, export, collect, redrive, rewrite, recollect)}


def main():
    command = sys.argv[1] if len(sys.argv) == 2 else " ".join(sys.argv[1:])
    if command not in COMMANDS:
        raise Problem(f"{command!r} is no command; it must be one of {', '.join(COMMANDS)}")
    COMMANDS[command]()


if __name__ == "__main__":
    try:
        main()
    except Problem as problem:
        sys.exit(f"error: {problem}")
    except KeyboardInterrupt:
        sys.exit("\nerror: interrupted")
