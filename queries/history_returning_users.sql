-- Who came back over the months: which users were in more than one session
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-10-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: as of returning_users, a row for each user id that was in two sessions or more, the most frequent first. days: on how
-- many days those sessions started. first_join, last_join: the earliest and the latest time at which one of the user's
-- participants first joined. Replicas do not count: who is shown on a second stage was not there.
-- Reads only the days from 1 to 2, of the table history: the sessions that started on them, in UTC. It has them from the next
-- morning on.
-- People without a user id cannot be told apart and are left out.
SELECT
  user_id,
  count(DISTINCT ROW(stage_arn, session_id)) AS sessions,
  count(DISTINCT dt) AS days,
  min(first_join_time) AS first_join,
  max(first_join_time) AS last_join
FROM history
WHERE dt IN (
    SELECT CAST(day AS varchar)
    FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
    WHERE CAST(day AS varchar)
      BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
      AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
  )
  AND user_id <> ''
  AND replication_type IS DISTINCT FROM 'REPLICA'
GROUP BY user_id
HAVING count(DISTINCT ROW(stage_arn, session_id)) > 1
ORDER BY sessions DESC, user_id
