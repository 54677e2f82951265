-- What did this user attend, from when to when: all that the lake holds of them but events, for a data protection request
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the user id, exactly as in the tokens, e.g. 'ana'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant with this user id, with all columns of participants and of attendance. left_at: the last
-- leaving that IVS told of, or the end of the last stay if that is later. minutes: how long the participant was connected, all
-- stays together, in whole minutes, cut. If join_inferred or leave_inferred is true, IVS left out a joining or a leaving, and
-- left_at and minutes are estimates. What attendance tells is null until the session is collected, an hour or more after its
-- end, and where IVS was not asked, as of a participant without an id. A participant who is in attendance only has nulls in what
-- only participants tells.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. All there is: from the stack's FirstDay to
-- today.
-- Their events are the answer of events_of_user.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT *
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
    AND participant_id IS NOT NULL
),
ends AS (
  SELECT dt, stage_arn, session_id, participant_id, max(left_at) AS last_end
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id, participant_id
)
SELECT
  coalesce(listed.stage_arn, attended.stage_arn) AS stage_arn,
  coalesce(listed.session_id, attended.session_id) AS session_id,
  coalesce(listed.session_start_time, attended.session_start_time) AS session_start_time,
  coalesce(listed.session_end_time, attended.session_end_time) AS session_end_time,
  coalesce(listed.participant_id, attended.participant_id) AS participant_id,
  if(listed.stage_arn IS NULL, attended.user_id, listed.user_id) AS user_id,
  listed.state,
  if(listed.stage_arn IS NULL, attended.first_join_time, listed.first_join_time) AS first_join_time,
  if(listed.stage_arn IS NULL, attended.published, listed.published) AS published,
  listed.recording_state,
  listed.replication_type,
  listed.replication_state,
  listed.source_stage_arn,
  listed.source_session_id,
  listed.redundant_ingest,
  listed.ingest_configuration_arn,
  coalesce(listed.dt, attended.dt) AS dt,
  coalesce(greatest(ends.last_end, attended.last_leave_time), ends.last_end, attended.last_leave_time) AS left_at,
  attended.connected_ms / 60000 AS minutes,
  attended.last_leave_time,
  attended.last_event_time,
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
  attended.recording_s3_prefix
FROM listed
FULL JOIN attended
  ON attended.dt = listed.dt
  AND attended.stage_arn = listed.stage_arn
  AND attended.session_id = listed.session_id
  AND attended.participant_id = listed.participant_id
LEFT JOIN ends
  ON ends.dt = attended.dt
  AND ends.stage_arn = attended.stage_arn
  AND ends.session_id = attended.session_id
  AND ends.participant_id = attended.participant_id
WHERE ? IN (listed.user_id, attended.user_id)
ORDER BY session_start_time, stage_arn, session_id, first_join_time NULLS LAST, participant_id
