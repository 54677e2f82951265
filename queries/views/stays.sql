-- From when to when each participant was there
--
-- A row for each stay: the time from joining to leaving. A session that is not collected has no row.
-- inferred: no event tells when the stay began, or none tells when it ended. A beginning is then the participant's
-- first_join_time. An end is then the session's end, or the last JOINED or LEFT if that is later.
-- while_publishing: IVS told of no joining and no leaving, as of a replica. These stays are the times in which the participant
-- published. One without a stop ends as in publications.sql.
-- The rules are those of src/presence.rs. JOINED adds 1 to a depth, and LEFT takes 1 away, but never below 0. At equal times
-- JOINED comes first. A stay lasts while the depth is above 0.
-- instants has a row for each second in which something happened. balance is the sum so far, and may be below 0. depth is the
-- sum that never goes below 0: balance, less its lowest value so far if that is below 0.
-- Ask for days by the column dt: only they are read.
WITH instants AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    participant_id,
    event_time AS instant,
    count_if(name = 'JOINED') AS joined,
    count_if(name = 'LEFT') AS gone,
    count_if(name = 'PUBLISH_STARTED') AS started,
    count_if(name = 'PUBLISH_STOPPED') AS stopped
  FROM participant_events
  WHERE event_time IS NOT NULL
    AND name IN ('JOINED', 'LEFT', 'PUBLISH_STARTED', 'PUBLISH_STOPPED')
  GROUP BY dt, stage_arn, session_id, participant_id, event_time
),
balances AS (
  SELECT
    *,
    sum(joined - gone) OVER (PARTITION BY dt, stage_arn, session_id, participant_id ORDER BY instant) AS balance,
    max(if(joined + gone > 0, instant)) OVER (PARTITION BY dt, stage_arn, session_id, participant_id) AS last_change,
    min(if(stopped > 0, instant)) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id
      ORDER BY instant
      ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    ) AS next_stop
  FROM instants
),
depths AS (
  SELECT
    *,
    balance - least(
      0,
      min(balance) OVER (PARTITION BY dt, stage_arn, session_id, participant_id ORDER BY instant)
    ) AS depth
  FROM balances
),
changes AS (
  SELECT
    *,
    joined + lag(depth, 1, 0) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id
      ORDER BY instant
    ) AS depth_joined
  FROM depths
),
people AS (
  SELECT
    attendance.dt,
    attendance.stage_arn,
    attendance.session_id,
    attendance.session_start_time,
    attendance.session_end_time,
    attendance.participant_id,
    attendance.user_id,
    attendance.first_join_time,
    if(
      participants.replication_type = 'REPLICA',
      greatest(attendance.session_end_time, attendance.last_event_time)
    ) AS open_end
  FROM attendance
  LEFT JOIN participants
    ON participants.dt = attendance.dt
    AND participants.stage_arn = attendance.stage_arn
    AND participants.session_id = attendance.session_id
    AND participants.participant_id = attendance.participant_id
),
candidates AS (
  SELECT
    people.*,
    instant,
    depth,
    started,
    next_stop,
    last_change,
    (depth_joined > 0 AND depth = 0) OR (depth > 0 AND instant = last_change) AS is_end,
    max(if(joined > 0 AND depth_joined = joined, instant)) OVER (
      PARTITION BY people.dt, people.stage_arn, people.session_id, people.participant_id
      ORDER BY instant
    ) AS begun_at,
    if(depth = 0, instant, greatest(session_end_time, instant)) AS ended_at,
    min(if(gone > depth_joined AND instant > first_join_time, instant)) OVER (
      PARTITION BY people.dt, people.stage_arn, people.session_id, people.participant_id
    ) AS unmatched_at
  FROM changes
  INNER JOIN people
    ON people.dt = changes.dt
    AND people.stage_arn = changes.stage_arn
    AND people.session_id = changes.session_id
    AND people.participant_id = changes.participant_id
),
spans AS (
  SELECT
    *,
    min(if(is_end AND begun_at < ended_at, begun_at)) OVER (
      PARTITION BY dt, stage_arn, session_id, participant_id
    ) AS first_begun_at
  FROM candidates
)
SELECT
  dt,
  stage_arn,
  session_id,
  session_start_time,
  session_end_time,
  participant_id,
  user_id,
  min(stay.joined_at) AS joined_at,
  stay.left_at,
  stay.inferred,
  stay.while_publishing
FROM spans
CROSS JOIN UNNEST(ARRAY[
  CAST(
    ROW(if(is_end, begun_at), ended_at, depth > 0, false)
    AS ROW(joined_at timestamp(3), left_at timestamp(3), inferred boolean, while_publishing boolean)
  ),
  ROW(
    if(instant = unmatched_at AND coalesce(first_begun_at >= instant, true), first_join_time),
    instant,
    true,
    false
  ),
  ROW(
    if(last_change IS NULL AND started > 0, instant),
    coalesce(next_stop, open_end, instant),
    next_stop IS NULL,
    true
  )
]) AS stay (joined_at, left_at, inferred, while_publishing)
WHERE stay.joined_at IS NOT NULL
GROUP BY
  dt,
  stage_arn,
  session_id,
  session_start_time,
  session_end_time,
  participant_id,
  user_id,
  stay.left_at,
  stay.inferred,
  stay.while_publishing
