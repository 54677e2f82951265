-- How many sessions a day, with how many participants and different users
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each day with a session that somebody joined. participants: of all sessions. users: different user
-- ids of the day, where the tokens had any.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
SELECT
  dt,
  count(DISTINCT ROW(stage_arn, session_id)) AS sessions,
  count(DISTINCT stage_arn) AS stages,
  count(*) AS participants,
  count(DISTINCT nullif(user_id, '')) AS users,
  count_if(published) AS publishers
FROM participants
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
GROUP BY dt
ORDER BY dt
