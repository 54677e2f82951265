-- Which errors did people meet, with which browser, system and SDK
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-11-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: a row for each combination, the most frequent first. name: what failed, such as SUBSCRIBE_ERROR. error_code: why.
-- browser_major_version: what stands before the first dot. events: how often. participants, sessions: how many had it.
-- browser_name to sdk_version are empty text where IVS sent that. They are null where IVS sent none or no longer knew the
-- participant, and where it was not asked: with CollectDetails=false.
-- Reads only the days from 1 to 2: the sessions that started on them, in UTC.
-- The numbers are a lower bound. What fails in the client's network is no event. A token with a wrong signature is none,
-- either. Sessions that are not collected yet have no events. Equal events of one second count as one.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
failures AS (
  SELECT dt, stage_arn, session_id, participant_id, name, error_code
  FROM participant_events
  WHERE dt IN (SELECT dt FROM days)
    AND name LIKE '%\_ERROR' ESCAPE '\'
),
devices AS (
  SELECT
    dt,
    stage_arn,
    session_id,
    participant_id,
    browser_name,
    split_part(browser_version, '.', 1) AS browser_major_version,
    os_name,
    sdk_version
  FROM attendance
  WHERE dt IN (SELECT dt FROM days)
)
SELECT
  failures.name,
  failures.error_code,
  devices.browser_name,
  devices.browser_major_version,
  devices.os_name,
  devices.sdk_version,
  count(*) AS events,
  count(DISTINCT ROW(failures.stage_arn, failures.session_id, failures.participant_id)) AS participants,
  count(DISTINCT ROW(failures.stage_arn, failures.session_id)) AS sessions
FROM failures
LEFT JOIN devices
  ON devices.dt = failures.dt
  AND devices.stage_arn = failures.stage_arn
  AND devices.session_id = failures.session_id
  AND devices.participant_id = failures.participant_id
GROUP BY
  failures.name,
  failures.error_code,
  devices.browser_name,
  devices.browser_major_version,
  devices.os_name,
  devices.sdk_version
ORDER BY
  events DESC,
  participants DESC,
  failures.name,
  failures.error_code NULLS LAST,
  devices.browser_name NULLS LAST,
  devices.browser_major_version NULLS LAST,
  devices.os_name NULLS LAST,
  devices.sdk_version NULLS LAST
