-- What did this user attend over the months, from when to when
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-10-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the user id, exactly as in the tokens, e.g. 'ana'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant with this user id. last_leave_time: the last leaving that IVS told of. minutes: how long
-- the participant was connected, all stays together, in whole minutes, cut. If join_inferred or leave_inferred is true, IVS left
-- out a joining or a leaving, and minutes are an estimate. What attendance tells is null where the session is not collected, and
-- where IVS was not asked. All columns, and when each stay ended, are the answer of attendance_of_user.
-- Reads only the days from 1 to 2, of the table history: the sessions that started on them, in UTC. It has them from the next
-- morning on.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
kept AS (
  SELECT *
  FROM history
  WHERE dt IN (SELECT dt FROM days)
)
SELECT
  dt,
  stage_arn,
  session_id,
  participant_id,
  first_join_time,
  last_leave_time,
  connected_ms / 60000 AS minutes,
  join_inferred,
  leave_inferred,
  errors
FROM kept
WHERE user_id = ?
ORDER BY session_start_time, stage_arn, session_id, first_join_time NULLS LAST, participant_id
