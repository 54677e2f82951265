-- How many participant-hours did each stage have on each day, and what do they cost by estimate
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
--   3. the key of the tag, exactly as at the stage, e.g. 'team'
--   4. dollars for a participant-hour, from '0.0000' to '0.9999', always with four digits, e.g. '0.0720'
-- A day of another form, or that is no date, is refused.
-- A rate of another form is refused, too.
-- Columns: a row for each day, stage, stage name and value of the tag, the newest day first. tag: the value. It is null where
-- the stage did not have the tag when sweeps last listed it, and where no sweep has seen the session yet. hours: how long all
-- participants together were connected, to a hundredth, cut. participants: rows of the table participants.
-- sessions_not_collected: sessions whose hours are not there yet, also live and missing ones. participants_without_hours:
-- participants whose session is not collected, or about whom IVS was not asked. participants and participants_without_hours are
-- null where no session has participants. While sessions_not_collected or participants_without_hours is above 0, hours are too
-- low. hours and price are null where nobody's are known. price: in dollars, cut to four digits after the point.
-- A replica counts while it is published: IVS bills host, viewer and replica alike. Rows that have expired or were erased do
-- not count.
-- The price is an estimate: IVS bills by where each participant connects from and by the month's volume, and its API tells
-- neither. For stages with cost allocation tags the bill itself is told by tag.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC. All hours of a session count on that day.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
known AS (
  SELECT dt, stage_arn, session_id, stage_name, attendance_written_time
  FROM sessions
  WHERE dt IN (SELECT dt FROM days)
),
tagged AS (
  SELECT stage_arn, session_id, entry.tag
  FROM sessions
  CROSS JOIN UNNEST(stage_tags) AS entry (tag_key, tag)
  WHERE entry.tag_key = ?
    AND dt IN (SELECT dt FROM days)
),
rates AS (
  SELECT rate
  FROM UNNEST(sequence(0, 9999)) AS numbers (rate)
  WHERE rate = CAST(
      regexp_replace('not 0.0000 to 0.9999: ' || ?, '^not 0\.0000 to 0\.9999: 0\.(\d{4})$', '$1') AS integer
    )
),
listed AS (
  SELECT dt, stage_arn, session_id, count(*) AS participants
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id
),
attended AS (
  SELECT dt, stage_arn, session_id, count(connected_ms) AS participants, sum(connected_ms) AS connected_ms
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id
),
all_sessions AS (
  SELECT
    coalesce(listed.dt, known.dt) AS dt,
    coalesce(listed.stage_arn, known.stage_arn) AS stage_arn,
    coalesce(listed.session_id, known.session_id) AS session_id,
    known.stage_name,
    known.attendance_written_time,
    listed.participants
  FROM listed
  FULL JOIN known
    ON known.stage_arn = listed.stage_arn
    AND known.session_id = listed.session_id
),
totals AS (
  SELECT
    all_sessions.dt,
    all_sessions.stage_arn,
    all_sessions.stage_name,
    tagged.tag,
    sum(attended.connected_ms) AS connected_ms,
    sum(all_sessions.participants) AS participants,
    count(*) AS sessions,
    count_if(all_sessions.attendance_written_time IS NULL AND attended.session_id IS NULL) AS sessions_not_collected,
    sum(greatest(0, all_sessions.participants - coalesce(attended.participants, 0))) AS participants_without_hours
  FROM all_sessions
  LEFT JOIN tagged
    ON tagged.stage_arn = all_sessions.stage_arn
    AND tagged.session_id = all_sessions.session_id
  LEFT JOIN attended
    ON attended.dt = all_sessions.dt
    AND attended.stage_arn = all_sessions.stage_arn
    AND attended.session_id = all_sessions.session_id
  GROUP BY all_sessions.dt, all_sessions.stage_arn, all_sessions.stage_name, tagged.tag
)
SELECT
  totals.dt,
  totals.stage_arn,
  totals.stage_name,
  totals.tag,
  CAST(totals.connected_ms / 36000 AS decimal(18, 2)) / 100 AS hours,
  totals.participants,
  totals.sessions,
  totals.sessions_not_collected,
  totals.participants_without_hours,
  CAST(totals.connected_ms * rates.rate / 3600000 AS decimal(18, 4)) / 10000 AS price
FROM totals
CROSS JOIN rates
ORDER BY totals.dt DESC, totals.stage_arn, totals.stage_name NULLS LAST, totals.tag NULLS LAST
