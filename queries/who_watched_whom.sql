-- Who watched whom in this session, how long and how often
--
-- Parameters, in the order of the question marks:
--   1. the first day on which it can have started, e.g. '2026-11-05'
--   2. the last day, e.g. '2026-11-05'
--   3. the session's id, e.g. 'st-Recording0001'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each viewer and publisher, both participants; of two stages with a session of this id, one after the
-- other. viewer_user_id and publisher_user_id: null or empty if the token had none. publisher is null where IVS named none.
-- With redundant ingest IVS names a publisher that is no participant: its publisher_user_id is null, too. minutes: how long the
-- viewer watched, in whole minutes, cut. times: how often, with gaps between. started_at: when the first time began.
-- stopped_at: when the last one ended. inferred: IVS left out an end, so the times are an estimate. Where IVS left out a
-- beginning, nothing shows it, and minutes may be too low.
-- A viewer is subscribed while watching: whether anybody looked is not known. There is no row for a session that is not
-- collected yet, an hour or more after its end, and none for viewers of whom IVS was not asked.
-- Reads only the days from 1 to 2.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
watched AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    viewer,
    viewer_user_id,
    publisher,
    sum(date_diff('millisecond', started_at, stopped_at)) / 60000 AS minutes,
    count(*) AS times,
    min(started_at) AS started_at,
    max(stopped_at) AS stopped_at,
    bool_or(inferred) AS inferred
  FROM subscriptions
  WHERE session_id = ?
    AND dt IN (SELECT dt FROM days)
  GROUP BY dt, stage_arn, session_id, viewer, viewer_user_id, publisher
),
listed AS (
  SELECT *
  FROM participants
  WHERE dt IN (SELECT dt FROM days)
)
SELECT
  watched.stage_arn,
  watched.viewer,
  watched.viewer_user_id,
  watched.publisher,
  listed.user_id AS publisher_user_id,
  watched.minutes,
  watched.times,
  watched.started_at,
  watched.stopped_at,
  watched.inferred
FROM watched
LEFT JOIN listed
  ON listed.dt = watched.dt
  AND listed.stage_arn = watched.stage_arn
  AND listed.session_id = watched.session_id
  AND listed.participant_id = watched.publisher
ORDER BY watched.stage_arn, watched.viewer, watched.publisher NULLS LAST
