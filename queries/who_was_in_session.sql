-- Who was in this session
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-06'
--   2. the last day, e.g. '2026-11-06'
--   3. the session's id, e.g. 'st-Reconnect0001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each participant, in the order of joining; of two stages with a session of this id, one after the other.
-- Reads only the days from 1 to 2.
-- When somebody left cannot be told: the list of IVS has the first time of joining only. The session's end is the latest
-- that it can have been.
SELECT
  stage_arn,
  session_id,
  participant_id,
  user_id,
  first_join_time,
  published,
  recording_state,
  state,
  session_end_time
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND session_id = ?
ORDER BY stage_arn, first_join_time NULLS LAST, participant_id
