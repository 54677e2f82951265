-- The table history: everybody who was in a session, for questions over months
--
-- Runs each day, before the MERGE; once the table is there it does nothing. CloudFormation cannot make it (docs/decisions.md).
-- In Athena's own dialect: https://docs.aws.amazon.com/athena/latest/ug/querying-iceberg-creating-tables.html
CREATE TABLE IF NOT EXISTS history (
  stage_arn string,
  session_id string,
  session_start_time timestamp,
  session_end_time timestamp,
  participant_id string,
  user_id string,
  state string,
  first_join_time timestamp,
  published boolean,
  recording_state string,
  replication_type string,
  replication_state string,
  source_stage_arn string,
  source_session_id string,
  redundant_ingest boolean,
  ingest_configuration_arn string,
  last_leave_time timestamp,
  last_event_time timestamp,
  connected_ms bigint,
  watch_ms bigint,
  publish_ms bigint,
  joins int,
  publish_starts int,
  publishers_watched int,
  errors int,
  events int,
  join_inferred boolean,
  leave_inferred boolean,
  attributes map<string,string>,
  browser_name string,
  browser_version string,
  os_name string,
  os_version string,
  sdk_version string,
  isp_name string,
  protocol string,
  recording_s3_bucket_name string,
  recording_s3_prefix string,
  dt string
)
PARTITIONED BY (month(session_start_time))
LOCATION 's3://${LakeBucket}/${Prefix}history/'
TBLPROPERTIES (
  'table_type' = 'ICEBERG',
  'format' = 'parquet',
  'write_compression' = 'zstd',
  'optimize_rewrite_data_file_threshold' = '1',
  'optimize_rewrite_delete_file_threshold' = '1',
  'vacuum_max_snapshot_age_seconds' = '432000'
)
