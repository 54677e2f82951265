"""`make dashboard`: writes dashboards/grafana.json, a dashboard for Grafana's data source for Amazon Athena.

Usage: python3 grafana.py [FILE]

Of Grafana's documentation it follows "Amazon Athena query editor" (the macros and the query's members), "Amazon Athena
template variables" (`text` and `value`), "Variable syntax" (`sqlstring`) and "Variable selection options" (a custom value for
all is never escaped).

What the SQL here must do:

- Ask for days by text, as `dt` is: `$__rawTimeFrom('yyyy-MM-dd')` becomes the quoted day of the range's beginning, in UTC. The
  macro `$__dateFilter` gives a date instead, with which `dt` cannot be compared.
- Take variables as `${name:sqlstring}` only: quoted, with apostrophes doubled, and with commas between if there are many. The
  data source passes no parameters.
- Give numbers as integer, bigint or double: the data source makes text of a decimal.
- Give flat columns, since no panel shows a map.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.builders import athena, common, dashboard, stat, table, text, timeseries, trend
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.athena import FormatOptions
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DynamicConfigValue,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.text import TextMode

FILE = pathlib.Path(__file__).with_name("grafana.json")
SOURCE = DataSourceRef(type_val="grafana-athena-datasource", uid="${datasource}")
# A number with its digits in groups.
COUNT = "locale"
# More lines cannot be told apart.
STAGES_AT_MOST = 10
# A point a minute for a day.
POINTS_AT_MOST = 1440

# Both ends, because a range of less than a day must find the day that it lies in.
DAYS = "dt BETWEEN $__rawTimeFrom('yyyy-MM-dd') AND $__rawTimeTo('yyyy-MM-dd')"
# 'all' is the value for all: without any stage, a list of all would be empty, which is no SQL. No ARN is 'all'.
STAGE = "(stage_arn IN (${stage:sqlstring}) OR 'all' IN (${stage:sqlstring}))"
# A session's id is unique within its stage only, so the variable's value is the day, the ARN and the id. Without a session it is
# empty, has no second part, and finds nothing.
SESSION = """dt = split_part(${session:sqlstring}, ' ', 1)
    AND stage_arn = split_part(${session:sqlstring}, ' ', 2)
    AND session_id = split_part(${session:sqlstring}, ' ', 3)"""


def stage_label(name: str) -> str:
    """SQL for how a stage is shown: by its name, if it has one, and its id, because names are not unique."""
    return f"coalesce(nullif({name}, '') || ' (' || split_part(stage_arn, '/', 2) || ')', split_part(stage_arn, '/', 2))"


STAGES = f"""SELECT {stage_label("max_by(stage_name, session_start_time)")} AS text, stage_arn AS value
FROM sessions
WHERE {DAYS}
GROUP BY stage_arn
ORDER BY 1, 2"""

SESSIONS = f"""SELECT
  date_format(session_start_time, '%Y-%m-%d %H:%i') || ' ' || {stage_label("stage_name")} || ' ' || session_id
    || if(attendance_written_time IS NULL, ', not collected', '') AS text,
  dt || ' ' || stage_arn || ' ' || session_id AS value
FROM sessions
WHERE {DAYS}
  AND {STAGE}
  AND session_end_time IS NOT NULL
ORDER BY session_start_time DESC, 2"""

SESSIONS_A_DAY = f"""SELECT CAST(date(dt) AS timestamp(3)) AS day, count(*) AS sessions
FROM sessions
WHERE {DAYS}
  AND {STAGE}
GROUP BY dt
ORDER BY 1"""

PEOPLE_A_DAY = f"""SELECT
  CAST(date(dt) AS timestamp(3)) AS day,
  count(*) AS participants,
  nullif(count(DISTINCT nullif(user_id, '')), 0) AS users
FROM participants
WHERE {DAYS}
  AND {STAGE}
GROUP BY dt
ORDER BY 1"""

PEAK_A_DAY = f"""WITH changes AS (
  SELECT instant, sum(change) AS change
  FROM stays
  CROSS JOIN UNNEST(ARRAY[joined_at, left_at], ARRAY[1, -1]) AS moments (instant, change)
  WHERE {DAYS}
    AND {STAGE}
    AND joined_at < left_at
  GROUP BY instant
),
counts AS (
  SELECT
    instant,
    lead(instant) OVER (ORDER BY instant) AS next_instant,
    sum(change) OVER (ORDER BY instant) AS connected
  FROM changes
)
SELECT CAST(day AS timestamp(3)) AS day, max(connected) AS connected_at_once
FROM counts
CROSS JOIN UNNEST(sequence(date(instant), date(date_add('millisecond', -1, next_instant)), INTERVAL '1' DAY)) AS calendar (day)
WHERE connected > 0
  AND CAST(day AS varchar) BETWEEN $__rawTimeFrom('yyyy-MM-dd') AND $__rawTimeTo('yyyy-MM-dd')
GROUP BY day
ORDER BY 1"""

HOURS_A_DAY = f"""WITH hours AS (
  SELECT dt, stage_arn, sum(connected_ms) AS connected_ms
  FROM attendance
  WHERE {DAYS}
    AND {STAGE}
  GROUP BY dt, stage_arn
),
ranked AS (
  SELECT stage_arn, row_number() OVER (ORDER BY sum(connected_ms) DESC NULLS LAST, stage_arn) AS place
  FROM hours
  GROUP BY stage_arn
),
names AS (
  SELECT stage_arn, {stage_label("max_by(stage_name, session_start_time)")} AS stage
  FROM sessions
  WHERE {DAYS}
  GROUP BY stage_arn
),
labelled AS (
  SELECT
    hours.dt,
    hours.connected_ms,
    if(place > {STAGES_AT_MOST}, 'all other stages', coalesce(names.stage, split_part(hours.stage_arn, '/', 2))) AS stage
  FROM hours
  INNER JOIN ranked ON ranked.stage_arn = hours.stage_arn
  LEFT JOIN names ON names.stage_arn = hours.stage_arn
)
SELECT CAST(date(dt) AS timestamp(3)) AS day, stage, sum(connected_ms) / 3600000e0 AS hours
FROM labelled
GROUP BY dt, stage
ORDER BY 1, 2"""

ERRORS = f"""SELECT
  name AS error,
  error_code AS code,
  count(*) AS errors,
  count(DISTINCT ROW(stage_arn, session_id, participant_id)) AS participants,
  count(DISTINCT ROW(stage_arn, session_id)) AS sessions
FROM participant_events
WHERE {DAYS}
  AND {STAGE}
  AND substr(name, -6) = '_ERROR'
GROUP BY name, error_code
ORDER BY errors DESC, error, code NULLS LAST"""

CURVE = f"""WITH spans AS (
  SELECT
    date_diff('millisecond', session_start_time, joined_at) AS joined_ms,
    date_diff('millisecond', session_start_time, left_at) AS left_ms
  FROM stays
  WHERE {DAYS}
    AND {SESSION}
    AND joined_at < left_at
),
steps AS (
  SELECT greatest(1, CAST(ceil((max(left_ms) - min(joined_ms)) / {POINTS_AT_MOST * 60000}e0) AS bigint)) AS minutes
  FROM spans
),
changes AS (
  SELECT at_ms, sum(change) AS change
  FROM spans
  CROSS JOIN UNNEST(ARRAY[joined_ms, left_ms], ARRAY[1, -1]) AS moments (at_ms, change)
  GROUP BY at_ms
),
counts AS (
  SELECT
    at_ms,
    lead(at_ms) OVER (ORDER BY at_ms) AS next_ms,
    sum(change) OVER (ORDER BY at_ms) AS connected
  FROM changes
)
SELECT number * minutes AS minute, max(connected) AS connected_at_once
FROM counts
CROSS JOIN steps
CROSS JOIN UNNEST(
  sequence(
    CAST(floor(at_ms / (minutes * 60000e0)) AS bigint),
    CAST(floor((next_ms - 1) / (minutes * 60000e0)) AS bigint)
  )
) AS numbers (number)
GROUP BY number, minutes
ORDER BY 1"""

PEOPLE_OF_SESSION = f"""WITH listed AS (
  SELECT *
  FROM participants
  WHERE {DAYS}
    AND {SESSION}
),
attended AS (
  SELECT *
  FROM attendance
  WHERE {DAYS}
    AND {SESSION}
),
stayed AS (
  SELECT participant_id, max(left_at) AS last_end
  FROM stays
  WHERE {DAYS}
    AND {SESSION}
  GROUP BY participant_id
)
SELECT
  listed.user_id,
  listed.participant_id,
  listed.first_join_time AS joined,
  coalesce(greatest(last_end, last_leave_time), last_end, last_leave_time) AS left_at,
  attended.connected_ms / 60000 AS minutes,
  attended.join_inferred OR attended.leave_inferred AS inferred
FROM listed
LEFT JOIN attended ON attended.participant_id = listed.participant_id
LEFT JOIN stayed ON stayed.participant_id = listed.participant_id
ORDER BY listed.first_join_time NULLS LAST, listed.participant_id"""

# A failure counts if it is later than what was written, and younger than a day: docs/data.md.
STATES = f"""WITH states AS (
  SELECT
    *,
    CASE
      WHEN session_end_time IS NULL THEN 'live'
      WHEN failed_time > CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp(3)) - INTERVAL '1' DAY
        AND failed_time > coalesce(participants_written_time, TIMESTAMP '1970-01-01 00:00:00')
        AND failed_time > coalesce(attendance_written_time, TIMESTAMP '1970-01-01 00:00:00')
        THEN 'failing'
      WHEN participants_written_time IS NULL THEN 'missing'
      WHEN attendance_written_time IS NULL THEN 'exported'
      ELSE 'collected'
    END AS state
  FROM sessions
  WHERE {DAYS}
    AND {STAGE}
)"""

STATES_COUNTED = f"""{STATES}
SELECT
  count_if(state = 'failing') AS failing,
  count_if(state = 'missing') AS missing,
  count_if(state = 'exported') AS exported,
  count_if(state = 'collected') AS collected,
  count_if(state = 'live') AS live
FROM states
HAVING count(*) > 0"""

NOT_COLLECTED = f"""{STATES}
SELECT
  state,
  {stage_label("stage_name")} AS stage,
  session_id,
  session_start_time AS started,
  session_end_time AS ended,
  failed_time AS last_failed
FROM states
WHERE state IN ('failing', 'missing', 'exported')
ORDER BY state, session_start_time DESC, stage_arn, session_id"""

NOTE = """All days and times are UTC. A session counts on the day on which it **started**: of a range, the first and the last day are \
shown whole, and sessions that started before it are not shown, even if they reach into it. Times of leaving, hours and errors are \
there once a session is collected, some 90 minutes after its end. What is not known is shown as a gap or as *not known*, never as 0."""


def query(sql: str, form: FormatOptions = FormatOptions.TABLE) -> athena.Dataquery:
    return athena.Dataquery().format(form).connection_args(athena.ConnectionArgs()).raw_sql(sql).ref_id("A")


def variable(name: str, label: str, description: str, sql: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(SOURCE)
        .query(plain(query(sql).build()))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        # The order of the SQL.
        .sort(VariableSort.DISABLED)
        .allow_custom_value(False)
    )


def put(panel, number: int, title: str, description: str, empty: str, target: athena.Dataquery):
    """What all panels have. `empty` is said where there is no row."""
    return panel.id(number).title(title).description(description).datasource(SOURCE).no_value(empty).with_target(target)


def over_days(panel, unit: str):
    """Bars, one for each day, on a scale that begins at 0."""
    return (
        panel.unit(unit)
        .min(0)
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(60)
        .line_width(1)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .legend(legend())
    )


def legend() -> common.VizLegendOptions:
    return common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM).show_legend(True)


def named(panel, **names: str):
    """How columns are called."""
    for column, name in names.items():
        panel.override_by_name(column, [DynamicConfigValue(id_val="displayName", value=name)])
    return panel


def with_unknowns(panel, said: str = "not known"):
    """What a cell without a value says. By itself it would say what an empty table says."""
    return panel.override_by_regexp("/.*/", [DynamicConfigValue(id_val="noValue", value=said)])


def yes_or_no(column: str, panel):
    words = {"true": {"text": "yes", "index": 0}, "false": {"text": "no", "index": 1}}
    return panel.override_by_name(column, [DynamicConfigValue(id_val="mappings", value=[{"type": "value", "options": words}])])


def built() -> dashboard.Dashboard:
    page = (
        dashboard.Dashboard("Attendance of Amazon IVS stages")
        .uid("ivs-attendance")
        .description("Who attended sessions of Amazon IVS stages, for how long, and what is not there yet.")
        .tags(["ivs", "attendance"])
        .timezone("utc")
        .time("now-29d/d", "now")
        # Each look asks Athena, which costs.
        .refresh("")
        .editable()
        .with_variable(
            dashboard.DatasourceVariable("datasource")
            .label("Data source")
            .description("The data source for Amazon Athena whose database is that of the attendance")
            .type("grafana-athena-datasource")
        )
        .with_variable(
            variable("stage", "Stage", "The stages with a session in the time range", STAGES)
            .multi(True)
            .include_all(True)
            .all_value("'all'")
            .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
        .with_variable(
            variable(
                "session",
                "Session",
                "The sessions of these stages that started in the time range and have ended, newest first",
                SESSIONS,
            )
        )
    )
    page.with_row(dashboard.Row("Days").id(11))
    page.with_panel(text.Panel().id(1).title("Which days").mode(TextMode.MARKDOWN).content(NOTE).height(4).span(24))
    page.with_panel(
        over_days(
            put(
                timeseries.Panel(),
                2,
                "Sessions a day",
                "How many sessions started on each day, live ones and those that nobody joined included. A day without a bar has no "
                "session that a sweep has seen.",
                "No session started in this time range.",
                query(SESSIONS_A_DAY),
            ),
            COUNT,
        )
        .height(8)
        .span(8)
    )
    page.with_panel(
        over_days(
            put(
                timeseries.Panel(),
                3,
                "People a day",
                "Participants: the participant ids of all ended sessions of the day, replicas included. Users: the different user ids of the "
                "day. Who has no user id is no user here, and a day on which nobody has one has no bar of users.",
                "Nobody joined a session that started in this time range.",
                query(PEOPLE_A_DAY),
            ),
            COUNT,
        )
        .height(8)
        .span(8)
    )
    page.with_panel(
        named(
            over_days(
                put(
                    timeseries.Panel(),
                    4,
                    "Most participants connected at once",
                    "The highest number of participants who were connected at one instant of the day, in all chosen stages together, replicas "
                    "included. Only collected sessions that started in the time range count, so the number of its first day is too low if "
                    "a session of the day before went on.",
                    "No session of this time range is collected.",
                    query(PEAK_A_DAY),
                ),
                COUNT,
            ),
            connected_at_once="connected at once",
        )
        .height(8)
        .span(8)
    )
    page.with_panel(
        over_days(
            put(
                timeseries.Panel(),
                5,
                "Participant-hours a day, by stage",
                "How long all participants together were connected to the sessions that started on the day, replicas included. Only collected "
                f"sessions count. The {STAGES_AT_MOST} stages with the most hours are shown by name and id, and all others as one.",
                "No session of this time range is collected.",
                query(HOURS_A_DAY, FormatOptions.TIME_SERIES),
            ),
            "suffix: h",
        )
        .decimals(1)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        .display_name("${__field.labels.stage}")
        .height(9)
        .span(14)
    )
    page.with_panel(
        with_unknowns(
            put(
                table.Panel().show_header(True),
                6,
                "Errors",
                "What IVS told of errors, by event and code, most first. A lower bound: failures of a participant's network are no events.",
                "IVS told of no error in the collected sessions of this time range.",
                query(ERRORS),
            ),
            "none",
        )
        .unit(COUNT)
        .filterable(True)
        .height(9)
        .span(10)
    )
    page.with_row(dashboard.Row("The chosen session").id(12))
    page.with_panel(
        named(
            put(
                trend.Panel(),
                7,
                "Participants connected, minute by minute",
                "The most participants who were connected at once in each minute, replicas included. Minute 0 begins with the session. Of more than "
                f"{POINTS_AT_MOST:,} minutes there is a number for every few minutes.",
                "No session is chosen, or the chosen one is not collected, or nobody was connected to it.",
                query(CURVE),
            ),
            # The panel finds its x by name, so minute keeps its own.
            connected_at_once="connected at once",
        )
        .x_field("minute")
        .unit(COUNT)
        .override_by_name("minute", [DynamicConfigValue(id_val="unit", value="suffix: min")])
        # Not of the minutes, which begin below 0 if somebody was there before the session's start.
        .override_by_name("connected_at_once", [DynamicConfigValue(id_val="min", value=0)])
        .line_interpolation(LineInterpolation.STEP_AFTER)
        .fill_opacity(20)
        .show_points(VisibilityMode.NEVER)
        .legend(legend())
        .height(10)
        .span(24)
    )
    page.with_panel(
        yes_or_no(
            "inferred",
            with_unknowns(
                named(
                    put(
                        table.Panel().show_header(True),
                        8,
                        "Who attended the chosen session",
                        "A row for each participant, in the order of joining: a user on two devices has two. Joined: the first time. Left: the last "
                        "leaving, or the end of the last stay if that is later; a stay without a leaving ends with the session. Minutes: how long the participant was connected, all stays together, "
                        "in whole minutes. Inferred: IVS left out a joining or a leaving, so minutes is an estimate. Left, minutes and inferred are "
                        "not known until the session is collected. A replica neither joins nor leaves: its stays are the times in which it published.",
                        "No session is chosen, or nobody joined the chosen one.",
                        query(PEOPLE_OF_SESSION),
                    ),
                    user_id="user",
                    participant_id="participant",
                    left_at="left",
                )
            ),
        )
        .override_by_name("minutes", [DynamicConfigValue(id_val="unit", value="suffix: min")])
        .filterable(True)
        .height(12)
        .span(24)
    )
    page.with_row(dashboard.Row("What is not there yet").id(13))
    page.with_panel(
        named(
            put(
                stat.Panel(),
                9,
                "Sessions by state",
                "Failing: exporting or collecting failed in the last day, and has not succeeded since. Missing: ended, and not exported. Not collected: "
                "exported, and when people left is not known yet. As new as the last sweep.",
                "No session started in this time range.",
                query(STATES_COUNTED),
            ),
            exported="exported, not collected",
        )
        .unit(COUNT)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(color="text")]))
        .override_by_name("failing", [thresholds_of("red")])
        .override_by_name("missing", [thresholds_of("orange")])
        .height(5)
        .span(24)
    )
    page.with_panel(
        with_unknowns(
            named(
                put(
                    table.Panel().show_header(True),
                    10,
                    "Sessions that are failing, missing or not collected",
                    "A session is collected from an hour after its end on; large ones take hours. What fails is described in the runbook.",
                    "Every ended session of this time range is collected, or none started in it.",
                    query(NOT_COLLECTED),
                ),
                session_id="session",
                last_failed="last failed",
            ),
            "none",
        )
        .filterable(True)
        .height(9)
        .span(24)
    )
    return page


def thresholds_of(color: str) -> DynamicConfigValue:
    """In this color from 1 on."""
    steps = [{"value": None, "color": "text"}, {"value": 1, "color": color}]
    return DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps})


def plain(value) -> dict:
    """What the SDK built, as JSON has it."""
    return json.loads(JSONEncoder().encode(value))


def made() -> str:
    """The text of grafana.json."""
    return json.dumps(plain(built().build()), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(made(), encoding="utf-8")
