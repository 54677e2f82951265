-- How many sessions a day, with how many participants and different users
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
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
WHERE dt BETWEEN ? AND ?
GROUP BY dt
ORDER BY dt
