-- How many sessions a day, with how many participants and different users
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each day with a session. sessions, stages: all that sweeps saw, or that have participants. So live and
-- missing sessions count, and those that nobody joined. participants, users and publishers are those of the sessions whose
-- participants the lake has; sessions_with_participants says how many these are. The other three are null on a day on
-- which all sessions are live or missing. participants: replicas count. users: different user ids of the day, where the tokens
-- had any. publishers: participants who ever published.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT dt, stage_arn, session_id, session_end_time, user_id, published
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
),
people AS (
  SELECT
    dt,
    count(*) AS participants,
    count(DISTINCT nullif(user_id, '')) AS users,
    count_if(published) AS publishers,
    count(DISTINCT ROW(stage_arn, session_id)) AS sessions
  FROM listed
  GROUP BY dt
),
all_sessions AS (
  SELECT min(dt) AS dt, stage_arn, session_id, max(written_time) AS written
  FROM (
    SELECT DISTINCT dt, stage_arn, session_id, session_end_time AS written_time
    FROM listed
    UNION ALL
    SELECT dt, stage_arn, session_id, participants_written_time
    FROM sessions
    WHERE dt IN (SELECT dt FROM days)
  )
  GROUP BY stage_arn, session_id
)
SELECT
  all_sessions.dt,
  count(*) AS sessions,
  count(DISTINCT all_sessions.stage_arn) AS stages,
  if(count(all_sessions.written) > 0, coalesce(max(people.participants), 0)) AS participants,
  if(count(all_sessions.written) > 0, coalesce(max(people.users), 0)) AS users,
  if(count(all_sessions.written) > 0, coalesce(max(people.publishers), 0)) AS publishers,
  coalesce(max(people.sessions), 0) AS sessions_with_participants
FROM all_sessions
LEFT JOIN people ON people.dt = all_sessions.dt
GROUP BY all_sessions.dt
ORDER BY all_sessions.dt
