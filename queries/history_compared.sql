-- On which days does history have more or fewer rows than the files
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-10-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each day of which history has another number of rows than the files, the oldest first; none at all is
-- good.
-- participants, participants_in_history: everybody of that day in the tables participants and attendance, and in history.
-- collected, collected_in_history: for how many of them events are counted, also 0. Today and yesterday are usually not there yet.
-- make history takes over other days; docs/history.md says why they can be late. A change within a row is not seen here.
-- Reads only the days from 1 to 2, of history, participants and attendance: the sessions that started on them, in UTC.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT dt, stage_arn, session_id, participant_id
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
),
attended AS (
  SELECT dt, stage_arn, session_id, participant_id, events
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
    AND participant_id IS NOT NULL
),
filed AS (
  SELECT coalesce(listed.dt, attended.dt) AS dt, count(*) AS participants, count(attended.events) AS collected
  FROM listed
  FULL JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY coalesce(listed.dt, attended.dt)
),
kept AS (
  SELECT dt, count(*) AS participants, count(events) AS collected
  FROM history
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt
)
SELECT
  days.dt,
  coalesce(filed.participants, 0) AS participants,
  coalesce(kept.participants, 0) AS participants_in_history,
  coalesce(filed.collected, 0) AS collected,
  coalesce(kept.collected, 0) AS collected_in_history
FROM days
LEFT JOIN filed
  ON filed.dt = days.dt
LEFT JOIN kept
  ON kept.dt = days.dt
WHERE coalesce(filed.participants, 0) <> coalesce(kept.participants, 0)
  OR coalesce(filed.collected, 0) <> coalesce(kept.collected, 0)
ORDER BY days.dt
