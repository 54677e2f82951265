-- Makes history say of some days what participants and attendance say
--
-- A row that only the files have is inserted, a row that only history has is deleted, and a row that changed is both. So is a row
-- that history has more than once. A row that both have is left alone, so that nothing is written where nothing changed. Of a row
-- without an id attendance tells nothing more than participants.
-- Reads only the days from ${From} to ${To}, and of history also those before ${Kept}, which have expired. All three are dates in
-- SQL, and ${From} is not before ${Kept}.
MERGE INTO history
USING (
  WITH listed AS (
    SELECT *
    FROM participants
    WHERE dt BETWEEN CAST(${From} AS varchar) AND CAST(${To} AS varchar)
  ),
  attended AS (
    SELECT *
    FROM attendance
    WHERE dt BETWEEN CAST(${From} AS varchar) AND CAST(${To} AS varchar)
      AND participant_id IS NOT NULL
  ),
  rows_of_both AS (
    SELECT
      'files' AS found_in,
      coalesce(listed.stage_arn, attended.stage_arn) AS stage_arn,
      coalesce(listed.session_id, attended.session_id) AS session_id,
      CAST(coalesce(listed.session_start_time, attended.session_start_time) AS timestamp(6)) AS session_start_time,
      CAST(coalesce(listed.session_end_time, attended.session_end_time) AS timestamp(6)) AS session_end_time,
      coalesce(listed.participant_id, attended.participant_id) AS participant_id,
      if(listed.stage_arn IS NULL, attended.user_id, listed.user_id) AS user_id,
      listed.state,
      CAST(if(listed.stage_arn IS NULL, attended.first_join_time, listed.first_join_time) AS timestamp(6)) AS first_join_time,
      if(listed.stage_arn IS NULL, attended.published, listed.published) AS published,
      listed.recording_state,
      listed.replication_type,
      listed.replication_state,
      listed.source_stage_arn,
      listed.source_session_id,
      listed.redundant_ingest,
      listed.ingest_configuration_arn,
      CAST(attended.last_leave_time AS timestamp(6)) AS last_leave_time,
      CAST(attended.last_event_time AS timestamp(6)) AS last_event_time,
      attended.connected_ms,
      attended.watch_ms,
      attended.publish_ms,
      attended.joins,
      attended.publish_starts,
      attended.publishers_watched,
      attended.errors,
      attended.events,
      attended.join_inferred,
      attended.leave_inferred,
      attended.attributes,
      attended.browser_name,
      attended.browser_version,
      attended.os_name,
      attended.os_version,
      attended.sdk_version,
      attended.isp_name,
      attended.protocol,
      attended.recording_s3_bucket_name,
      attended.recording_s3_prefix,
      coalesce(listed.dt, attended.dt) AS dt
    FROM listed
    FULL JOIN attended
      ON attended.dt = listed.dt
      AND attended.stage_arn = listed.stage_arn
      AND attended.session_id = listed.session_id
      AND attended.participant_id = listed.participant_id
    UNION ALL
    SELECT
      'history',
      stage_arn, session_id, session_start_time, session_end_time, participant_id, user_id, state, first_join_time,
      published, recording_state, replication_type, replication_state, source_stage_arn, source_session_id,
      redundant_ingest, ingest_configuration_arn, last_leave_time, last_event_time, connected_ms, watch_ms,
      publish_ms, joins, publish_starts, publishers_watched, errors, events, join_inferred, leave_inferred,
      attributes, browser_name, browser_version, os_name, os_version, sdk_version, isp_name, protocol,
      recording_s3_bucket_name, recording_s3_prefix, dt
    FROM history
    WHERE dt BETWEEN CAST(${From} AS varchar) AND CAST(${To} AS varchar)
      OR dt < CAST(${Kept} AS varchar)
  ),
  counted AS (
    SELECT
      count_if(found_in = 'files') AS in_files,
      count_if(found_in = 'history') AS in_history,
      stage_arn, session_id, session_start_time, session_end_time, participant_id, user_id, state, first_join_time,
      published, recording_state, replication_type, replication_state, source_stage_arn, source_session_id,
      redundant_ingest, ingest_configuration_arn, last_leave_time, last_event_time, connected_ms, watch_ms,
      publish_ms, joins, publish_starts, publishers_watched, errors, events, join_inferred, leave_inferred,
      attributes, browser_name, browser_version, os_name, os_version, sdk_version, isp_name, protocol,
      recording_s3_bucket_name, recording_s3_prefix, dt
    FROM rows_of_both
    GROUP BY
      stage_arn, session_id, session_start_time, session_end_time, participant_id, user_id, state, first_join_time,
      published, recording_state, replication_type, replication_state, source_stage_arn, source_session_id,
      redundant_ingest, ingest_configuration_arn, last_leave_time, last_event_time, connected_ms, watch_ms,
      publish_ms, joins, publish_starts, publishers_watched, errors, events, join_inferred, leave_inferred,
      attributes, browser_name, browser_version, os_name, os_version, sdk_version, isp_name, protocol,
      recording_s3_bucket_name, recording_s3_prefix, dt
  )
  SELECT
    side.found_in,
    stage_arn, session_id, session_start_time, session_end_time, participant_id, user_id, state, first_join_time,
    published, recording_state, replication_type, replication_state, source_stage_arn, source_session_id,
    redundant_ingest, ingest_configuration_arn, last_leave_time, last_event_time, connected_ms, watch_ms, publish_ms,
    joins, publish_starts, publishers_watched, errors, events, join_inferred, leave_inferred, attributes,
    browser_name, browser_version, os_name, os_version, sdk_version, isp_name, protocol, recording_s3_bucket_name,
    recording_s3_prefix, dt
  FROM counted
  CROSS JOIN UNNEST(ARRAY['files', 'history'], ARRAY[in_files, in_history]) AS side (found_in, times)
  WHERE side.times > 0
    AND (in_files = 0 OR in_history <> 1)
) AS difference
  ON difference.found_in = 'history'
  AND (history.dt BETWEEN CAST(${From} AS varchar) AND CAST(${To} AS varchar) OR history.dt < CAST(${Kept} AS varchar))
  AND history.dt = difference.dt
  AND history.stage_arn = difference.stage_arn
  AND history.session_id = difference.session_id
  AND history.session_start_time IS NOT DISTINCT FROM difference.session_start_time
  AND history.session_end_time IS NOT DISTINCT FROM difference.session_end_time
  AND history.participant_id IS NOT DISTINCT FROM difference.participant_id
  AND history.user_id IS NOT DISTINCT FROM difference.user_id
  AND history.state IS NOT DISTINCT FROM difference.state
  AND history.first_join_time IS NOT DISTINCT FROM difference.first_join_time
  AND history.published IS NOT DISTINCT FROM difference.published
  AND history.recording_state IS NOT DISTINCT FROM difference.recording_state
  AND history.replication_type IS NOT DISTINCT FROM difference.replication_type
  AND history.replication_state IS NOT DISTINCT FROM difference.replication_state
  AND history.source_stage_arn IS NOT DISTINCT FROM difference.source_stage_arn
  AND history.source_session_id IS NOT DISTINCT FROM difference.source_session_id
  AND history.redundant_ingest IS NOT DISTINCT FROM difference.redundant_ingest
  AND history.ingest_configuration_arn IS NOT DISTINCT FROM difference.ingest_configuration_arn
  AND history.last_leave_time IS NOT DISTINCT FROM difference.last_leave_time
  AND history.last_event_time IS NOT DISTINCT FROM difference.last_event_time
  AND history.connected_ms IS NOT DISTINCT FROM difference.connected_ms
  AND history.watch_ms IS NOT DISTINCT FROM difference.watch_ms
  AND history.publish_ms IS NOT DISTINCT FROM difference.publish_ms
  AND history.joins IS NOT DISTINCT FROM difference.joins
  AND history.publish_starts IS NOT DISTINCT FROM difference.publish_starts
  AND history.publishers_watched IS NOT DISTINCT FROM difference.publishers_watched
  AND history.errors IS NOT DISTINCT FROM difference.errors
  AND history.events IS NOT DISTINCT FROM difference.events
  AND history.join_inferred IS NOT DISTINCT FROM difference.join_inferred
  AND history.leave_inferred IS NOT DISTINCT FROM difference.leave_inferred
  AND history.attributes IS NOT DISTINCT FROM difference.attributes
  AND history.browser_name IS NOT DISTINCT FROM difference.browser_name
  AND history.browser_version IS NOT DISTINCT FROM difference.browser_version
  AND history.os_name IS NOT DISTINCT FROM difference.os_name
  AND history.os_version IS NOT DISTINCT FROM difference.os_version
  AND history.sdk_version IS NOT DISTINCT FROM difference.sdk_version
  AND history.isp_name IS NOT DISTINCT FROM difference.isp_name
  AND history.protocol IS NOT DISTINCT FROM difference.protocol
  AND history.recording_s3_bucket_name IS NOT DISTINCT FROM difference.recording_s3_bucket_name
  AND history.recording_s3_prefix IS NOT DISTINCT FROM difference.recording_s3_prefix
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED AND difference.found_in = 'files' THEN INSERT (
  stage_arn, session_id, session_start_time, session_end_time, participant_id, user_id, state, first_join_time,
  published, recording_state, replication_type, replication_state, source_stage_arn, source_session_id,
  redundant_ingest, ingest_configuration_arn, last_leave_time, last_event_time, connected_ms, watch_ms, publish_ms,
  joins, publish_starts, publishers_watched, errors, events, join_inferred, leave_inferred, attributes, browser_name,
  browser_version, os_name, os_version, sdk_version, isp_name, protocol, recording_s3_bucket_name,
  recording_s3_prefix, dt
)
VALUES (
  difference.stage_arn, difference.session_id, difference.session_start_time, difference.session_end_time,
  difference.participant_id, difference.user_id, difference.state, difference.first_join_time, difference.published,
  difference.recording_state, difference.replication_type, difference.replication_state, difference.source_stage_arn,
  difference.source_session_id, difference.redundant_ingest, difference.ingest_configuration_arn,
  difference.last_leave_time, difference.last_event_time, difference.connected_ms, difference.watch_ms,
  difference.publish_ms, difference.joins, difference.publish_starts, difference.publishers_watched,
  difference.errors, difference.events, difference.join_inferred, difference.leave_inferred, difference.attributes,
  difference.browser_name, difference.browser_version, difference.os_name, difference.os_version,
  difference.sdk_version, difference.isp_name, difference.protocol, difference.recording_s3_bucket_name,
  difference.recording_s3_prefix, difference.dt
)
