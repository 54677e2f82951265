-- Who joined this session late, and who left it early
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-13'
--   2. the last day, e.g. '2026-11-13'
--   3. the session's id, e.g. 'st-Lives00000001'
--   4. after how many minutes somebody is late, or before the end early: 0 to 1440, e.g. '2'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant who joined more than so many minutes after the session's start, or left more than so many
-- before its end; of two stages with a session of this id, one after the other. The start and the end are those that IVS tells.
-- IVS does not know for when the session was planned.
-- late, early: which of the two it was. minutes_late, minutes_early: whole minutes, cut; 0 if it was before the start, or after
-- the end. joined: the first time of joining. left_at: the last leaving that IVS told of, or the end of the last stay if that
-- is later. A stay without a leaving ends with the session, or with a later event. inferred: IVS left out a joining or a
-- leaving, so the times are an estimate.
-- early, minutes_early, left_at and inferred are null until the session is collected, an hour or more after its end. Until then
-- the answer has only those who were late. They stay null where IVS was not asked. Where IVS was asked and told of neither
-- joining nor leaving, only inferred of these is known.
-- A row is a participant, not a user, because people without a user id cannot be told apart. Who came back with a new token is
-- a new participant, and may be late as such. users_of_session puts them together. Replicas are left out, and who never joined.
-- A number of another form is refused.
-- Reads only the days from 1 to 2.
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
  WHERE session_id = ?
    AND dt IN (SELECT dt FROM days)
    AND replication_type IS DISTINCT FROM 'REPLICA'
),
allowed AS (
  SELECT number * 60000 AS milliseconds
  FROM UNNEST(sequence(0, 1440)) AS numbers (number)
  WHERE number = CAST(
      regexp_replace(
        'not 0 to 1440 whole minutes: ' || ?,
        '^not 0 to 1440 whole minutes: (\d|[1-9]\d{1,2}|1[0-3]\d\d|14[0-3]\d|1440)$',
        '$1'
      ) AS integer
    )
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
stayed AS (
  SELECT dt, stage_arn, session_id, participant_id, min(joined_at) AS first_begin, max(left_at) AS last_end
  FROM stays
  WHERE dt IN (SELECT dt FROM days)
    AND NOT while_publishing
  GROUP BY dt, stage_arn, session_id, participant_id
),
times AS (
  SELECT
    listed.stage_arn,
    listed.session_id,
    listed.participant_id,
    listed.user_id,
    listed.session_start_time,
    listed.session_end_time,
    coalesce(listed.first_join_time, first_begin) AS joined,
    coalesce(greatest(last_end, last_leave_time), last_end, last_leave_time) AS left_at,
    join_inferred OR leave_inferred AS inferred
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  LEFT JOIN stayed
    ON stayed.dt = listed.dt
    AND stayed.stage_arn = listed.stage_arn
    AND stayed.session_id = listed.session_id
    AND stayed.participant_id = listed.participant_id
),
judged AS (
  SELECT
    *,
    greatest(0, date_diff('millisecond', session_start_time, joined)) AS late_ms,
    greatest(0, date_diff('millisecond', left_at, session_end_time)) AS early_ms
  FROM times
  WHERE joined IS NOT NULL
)
SELECT
  stage_arn,
  participant_id,
  user_id,
  joined,
  left_at,
  late_ms > milliseconds AS late,
  early_ms > milliseconds AS early,
  late_ms / 60000 AS minutes_late,
  early_ms / 60000 AS minutes_early,
  inferred
FROM judged
CROSS JOIN allowed
WHERE late_ms > milliseconds
  OR early_ms > milliseconds
ORDER BY stage_arn, joined, participant_id
