-- Who was in one session under several participant ids: reconnected with a new token, or on two devices
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session and user id with two participants or more. participant_ids: in the order of joining.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- People without a user id cannot be told apart and are left out. Which of the two it was cannot be told: IVS lists no
-- time of leaving.
SELECT
  dt,
  stage_arn,
  session_id,
  user_id,
  count(*) AS participants,
  min(first_join_time) AS first_join,
  max(first_join_time) AS last_join,
  array_join(array_agg(participant_id ORDER BY first_join_time NULLS LAST, participant_id), ', ') AS participant_ids
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND user_id <> ''
GROUP BY dt, stage_arn, session_id, user_id
HAVING count(*) > 1
ORDER BY dt, stage_arn, session_id, participants DESC, user_id
