-- How many of this session's participants were still there after 25, 50 and 75 % of its length
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-02'
--   2. the last day, e.g. '2026-11-02'
--   3. the session's id, e.g. 'st-Lecture000001'
-- A day of another form, or that is no date, is refused.
-- Columns: three rows for each stage with a session of this id. percent_of_session: 25, 50 or 75. instant: when that was.
-- there: how many were there at this instant. participants: how many were there at any time of the session, also those who came
-- later. percent_there: there, of participants, in whole percent, cut. users: different user ids of those who were there at
-- this instant. not_collected: participants of whom it is not known when they were there. The other columns do not count them.
-- Who leaves at the instant is not there; who joins at it is. Who left and came back by then is there.
-- Not counted: replicas, and others of whom IVS told neither joining nor leaving. There is no row for a session until it is
-- collected, an hour or more after its end, and none if nobody was there.
-- Reads only the days from 1 to 2.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
listed AS (
  SELECT *
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
),
attended AS (
  SELECT *
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
),
unknown AS (
  SELECT listed.dt, listed.stage_arn, listed.session_id, count_if(connected_ms IS NULL) AS not_collected
  FROM listed
  LEFT JOIN attended
    ON attended.dt = listed.dt
    AND attended.stage_arn = listed.stage_arn
    AND attended.session_id = listed.session_id
    AND attended.participant_id = listed.participant_id
  GROUP BY listed.dt, listed.stage_arn, listed.session_id
),
quarters AS (
  SELECT
    *,
    date_add(
      'millisecond',
      date_diff('millisecond', session_start_time, session_end_time) * percent / 100,
      session_start_time
    ) AS instant
  FROM stays
  CROSS JOIN UNNEST(ARRAY[25, 50, 75]) AS quarter (percent)
  WHERE session_id = ?
    AND dt IN (SELECT dt FROM days)
    AND NOT while_publishing
),
counts AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    percent,
    instant,
    count(DISTINCT participant_id) AS participants,
    count(DISTINCT if(joined_at <= instant AND instant < left_at, participant_id)) AS there,
    count(DISTINCT if(joined_at <= instant AND instant < left_at, nullif(user_id, ''))) AS users
  FROM quarters
  GROUP BY dt, stage_arn, session_id, percent, instant
)
SELECT
  counts.stage_arn,
  percent AS percent_of_session,
  instant,
  there,
  counts.participants,
  there * 100 / counts.participants AS percent_there,
  users,
  not_collected
FROM counts
INNER JOIN unknown
  ON unknown.dt = counts.dt
  AND unknown.stage_arn = counts.stage_arn
  AND unknown.session_id = counts.session_id
ORDER BY counts.stage_arn, percent
