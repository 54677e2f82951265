-- From when to when each participant watched whom
--
-- A row for each time without a gap in which viewer watched publisher. A session that is not collected has no row.
-- viewer, publisher: participant ids. With redundant ingest IVS names one publisher for all streams, whose id no participant
-- has. publisher is null where IVS named none.
-- inferred: no event tells when the watching ended. It then ends with the viewer's stay. Outside every stay it has no length.
-- The rules are those of src/presence.rs. A depth is counted as in stays.sql, for each publisher. It begins at 0 in each stay
-- of the viewer, and what has not stopped ends with the stay. What begins outside every stay ends with the next stop. Times
-- that overlap or touch are one.
-- Ask for days by the column dt: only they are read.
WITH instants AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    participant_id,
    remote_participant_id,
    event_time AS instant,
    count_if(name = 'SUBSCRIBE_STARTED') AS started,
    count_if(name = 'SUBSCRIBE_STOPPED') AS stopped
  FROM participant_events
  WHERE event_time IS NOT NULL
    AND name IN ('SUBSCRIBE_STARTED', 'SUBSCRIBE_STOPPED')
  GROUP BY dt, stage_arn, session_id, participant_id, remote_participant_id, event_time
),
placed AS (
  SELECT
    instants.dt,
    instants.stage_arn,
    instants.session_id,
    instants.participant_id,
    instants.remote_participant_id,
    instant,
    started,
    stopped,
    min(joined_at) AS joined_at,
    max(left_at) AS left_at
  FROM instants
  LEFT JOIN stays
    ON stays.dt = instants.dt
    AND stays.stage_arn = instants.stage_arn
    AND stays.session_id = instants.session_id
    AND stays.participant_id = instants.participant_id
    AND NOT stays.while_publishing
    AND instant BETWEEN joined_at AND left_at
  GROUP BY
    instants.dt,
    instants.stage_arn,
    instants.session_id,
    instants.participant_id,
    instants.remote_participant_id,
    instant,
    started,
    stopped
),
balances AS (
  SELECT
    *,
    sum(started - stopped) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id, joined_at
      ORDER BY instant
    ) AS balance,
    lead(instant) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id, joined_at
      ORDER BY instant
    ) IS NULL AS is_last,
    min(if(stopped > 0, instant)) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id
      ORDER BY instant
      ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS next_stop
  FROM placed
),
depths AS (
  SELECT
    *,
    balance - least(
      0,
      min(balance) OVER (
        PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id, joined_at
        ORDER BY instant
      )
    ) AS depth
  FROM balances
),
changes AS (
  SELECT
    *,
    started + lag(depth, 1, 0) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id, joined_at
      ORDER BY instant
    ) AS depth_started
  FROM depths
),
candidates AS (
  SELECT
    *,
    if(
      joined_at IS NULL,
      started > 0,
      (depth_started > 0 AND depth = 0) OR (depth > 0 AND is_last)
    ) AS is_end,
    if(
      joined_at IS NULL,
      instant,
      max(if(started > 0 AND depth_started = started, instant)) OVER (
        PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id, joined_at
        ORDER BY instant
      )
    ) AS begun_at
  FROM changes
),
spans AS (
  SELECT
    attendance.dt,
    attendance.stage_arn,
    attendance.session_id,
    attendance.session_start_time,
    attendance.session_end_time,
    attendance.participant_id,
    attendance.user_id,
    remote_participant_id,
    begun_at,
    CASE
      WHEN joined_at IS NULL THEN coalesce(next_stop, instant)
      WHEN depth > 0 THEN left_at
      ELSE instant
    END AS ended_at,
    if(joined_at IS NULL, next_stop IS NULL, depth > 0) AS inferred
  FROM candidates
  INNER JOIN attendance
    ON attendance.dt = candidates.dt
    AND attendance.stage_arn = candidates.stage_arn
    AND attendance.session_id = candidates.session_id
    AND attendance.participant_id = candidates.participant_id
  WHERE is_end
),
touches AS (
  SELECT
    *,
    coalesce(
      max(ended_at) OVER (
        PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id
        ORDER BY begun_at
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) >= begun_at,
      false
    ) AS goes_on
  FROM spans
),
numbered AS (
  SELECT
    *,
    count_if(NOT goes_on) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id, remote_participant_id
      ORDER BY begun_at
    ) AS number
  FROM touches
)
SELECT
  dt,
  stage_arn,
  session_id,
  session_start_time,
  session_end_time,
  participant_id AS viewer,
  user_id AS viewer_user_id,
  remote_participant_id AS publisher,
  min(begun_at) AS started_at,
  max(ended_at) AS stopped_at,
  coalesce(max(ended_at) > max(ended_at) FILTER (WHERE NOT inferred), true) AS inferred
FROM numbered
GROUP BY
  dt,
  stage_arn,
  session_id,
  session_start_time,
  session_end_time,
  participant_id,
  user_id,
  remote_participant_id,
  number
