-- Which sessions were there, how long were they, and how many people came
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each session, the newest first. minutes: from start to end. users: different user ids, where the
-- tokens had any. people_without_user_id: participants who cannot be told apart.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- A session that nobody joined has a file but no row, and is not in any query: `aws s3 ls` shows it.
SELECT
  dt,
  stage_arn,
  session_id,
  session_start_time,
  session_end_time,
  date_diff('minute', session_start_time, session_end_time) AS minutes,
  count(*) AS participants,
  count(DISTINCT nullif(user_id, '')) AS users,
  count_if(coalesce(user_id, '') = '') AS people_without_user_id,
  count_if(published) AS publishers
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
GROUP BY dt, stage_arn, session_id, session_start_time, session_end_time
ORDER BY session_start_time DESC, stage_arn, session_id
