-- How do the last 28 days compare, each with the same weekday of the week before
--
-- Parameters: none.
-- Columns: a row for each day, the newest first, with zeroes for a day without participants. sessions: those with participants.
-- participants: replicas count. participants_week_before: those of the same weekday of the week before. change: by how many
-- percent participants differs from it, cut towards zero; null if there were none the week before. The newest day is today in
-- UTC, and is not over: its change compares it with a whole day.
-- Reads only the days from 34 days ago on: the sessions that started on them, in UTC.
WITH days AS (
  SELECT date(dt) AS day, count(DISTINCT ROW(stage_arn, session_id)) AS sessions, count(*) AS participants
  FROM participants
  WHERE dt >= CAST(current_date - INTERVAL '34' DAY AS varchar)
  GROUP BY date(dt)
)
SELECT
  calendar.day,
  date_format(calendar.day, '%W') AS weekday,
  coalesce(this.sessions, 0) AS sessions,
  coalesce(this.participants, 0) AS participants,
  coalesce(before.participants, 0) AS participants_week_before,
  100 * (coalesce(this.participants, 0) - before.participants) / before.participants AS change
FROM UNNEST(sequence(current_date - INTERVAL '27' DAY, current_date)) AS calendar (day)
LEFT JOIN days AS this ON this.day = calendar.day
LEFT JOIN days AS before ON before.day = calendar.day - INTERVAL '7' DAY
ORDER BY calendar.day DESC
