-- Which browsers, operating systems, SDKs, providers and protocols did people have over the months, and how many had errors
--
-- Parameters, in the order of the question marks:
--   1. the first day, e.g. '2026-10-01'
--   2. the last day, e.g. '2026-11-30'
-- A day of another form, or that is no date, is refused.
-- Columns: as of devices, a row for each value of each property, the most frequent first. property: browser, operating system,
-- SDK version, provider or protocol. participants: who had it. asked: of how many of them IVS was asked for events. with_errors:
-- how many of these had an error, a lower bound as in the query errors; null if none was asked for.
-- value is empty text where IVS sent that. It is null where IVS sent none or no longer knew the participant, and where it was
-- not asked: with CollectDetails=false, of viewers with Collect=publishers, and where a session is not collected.
-- Reads only the days from 1 to 2, of the table history: the sessions that started on them, in UTC. It has them from the next
-- morning on.
-- Who came with several participant ids counts for each.
WITH days AS (
  SELECT CAST(day AS varchar) AS dt
  FROM UNNEST(sequence(DATE '2020-01-01', current_date + INTERVAL '1' DAY)) AS calendar (day)
  WHERE CAST(day AS varchar)
    BETWEEN CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
    AND CAST(date(regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')) AS varchar)
),
attended AS (
  SELECT browser_name, os_name, sdk_version, isp_name, protocol, errors
  FROM history
  WHERE dt IN (SELECT dt FROM days)
)
SELECT
  device.property,
  device.value,
  count(*) AS participants,
  count(attended.errors) AS asked,
  if(count(attended.errors) > 0, count_if(attended.errors > 0)) AS with_errors
FROM attended
CROSS JOIN UNNEST(
  ARRAY['browser', 'operating system', 'SDK version', 'provider', 'protocol'],
  ARRAY[browser_name, os_name, sdk_version, isp_name, protocol]
) WITH ORDINALITY AS device (property, value, place)
GROUP BY device.place, device.property, device.value
ORDER BY device.place, participants DESC, device.value NULLS LAST
