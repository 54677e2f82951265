"""What one would write instead, as short as it can be while the rows are the same: boto3, pyarrow, and its default settings."""

import io
import os
from datetime import timezone

import boto3
import pyarrow
import pyarrow.parquet
from botocore.exceptions import ClientError

IVS = boto3.client("ivs-realtime")
S3 = boto3.client("s3")
BUCKET = os.environ["BUCKET"]
TIME = pyarrow.timestamp("ms", "UTC")
# Column: member of the API, type.
MEMBERS = {
    "participant_id": ("participantId", pyarrow.string()),
    "user_id": ("userId", pyarrow.string()),
    "state": ("state", pyarrow.string()),
    "first_join_time": ("firstJoinTime", TIME),
    "published": ("published", pyarrow.bool_()),
    "recording_state": ("recordingState", pyarrow.string()),
    "replication_type": ("replicationType", pyarrow.string()),
    "replication_state": ("replicationState", pyarrow.string()),
    "source_stage_arn": ("sourceStageArn", pyarrow.string()),
    "source_session_id": ("sourceSessionId", pyarrow.string()),
    "redundant_ingest": ("redundantIngest", pyarrow.bool_()),
    "ingest_configuration_arn": ("ingestConfigurationArn", pyarrow.string()),
}


def handler(event, _context):
    name = {"stageArn": event["stage_arn"], "sessionId": event["session_id"]}
    session = IVS.get_stage_session(**name)["stageSession"]
    if "endTime" not in session:
        return {"outcome": "still_live"}
    start, end = (session[time].astimezone(timezone.utc) for time in ("startTime", "endTime"))
    stage = name["stageArn"].rsplit("/", 1)[1]
    key = f"participants/dt={start:%Y-%m-%d}/{stage}_{name['sessionId']}.parquet"
    try:
        S3.head_object(Bucket=BUCKET, Key=key)
        return {"outcome": "up_to_date"}
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
    rows, token = [], {}
    while True:
        page = IVS.list_participants(**name, maxResults=100, **token)
        rows += page["participants"]
        if not page.get("nextToken"):
            break
        token = {"nextToken": page["nextToken"]}
    columns = {
        "stage_arn": pyarrow.repeat(name["stageArn"], len(rows)),
        "session_id": pyarrow.repeat(name["sessionId"], len(rows)),
        "session_start_time": pyarrow.repeat(pyarrow.scalar(start, TIME), len(rows)),
        "session_end_time": pyarrow.repeat(pyarrow.scalar(end, TIME), len(rows)),
    }
    for column, (member, kind) in MEMBERS.items():
        columns[column] = pyarrow.array([row.get(member) for row in rows], kind)
    table = pyarrow.table(columns).sort_by([("first_join_time", "ascending"), ("participant_id", "ascending")])
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, compression="zstd")
    S3.put_object(Bucket=BUCKET, Key=key, Body=file.getvalue(), IfNoneMatch="*")
    return {"outcome": "exported", "participants": len(rows)}
