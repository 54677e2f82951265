#!/usr/bin/env python3
"""Opens the pages that tests/check_report.py left in Chromium: strangers' strings do nothing, sorting, filtering and the CSV
work, and no request leaves the file. It leaves pictures, and prints how long a page takes to open.

Usage: python3 tests/browse_report.py FOLDER; `make report-browser` calls both.
"""

import csv
import html
import io
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pyarrow.parquet

# What a person does, and what they see of it, written where the page's text can be read from outside.
VISIT = """<script>
const seen = { open: Math.round(performance.now()), title: document.title, csv: csv(), rows: body.rows.length };
const column = name => [...head.rows[0].cells].findIndex(cell => cell.textContent === name);
const texts = name => [...body.rows].map(row => row.cells[column(name)].textContent);
const press = name => head.rows[0].cells[column(name)].firstChild.click();
const state = name => head.rows[0].cells[column(name)].ariaSort;
press("Connected"); seen.longest = [state("Connected"), texts("Connected")];
press("Connected"); seen.shortest = [state("Connected"), texts("Connected")];
press("User"); seen.users = [state("User"), state("Connected"), texts("User")];
filter.value = "ONERROR"; filter.dispatchEvent(new Event("input")); seen.filtered = [count.textContent, body.rows.length];
filter.value = ""; kind.value = "errors"; kind.dispatchEvent(new Event("change")); seen.errors = texts("Errors");
kind.value = "all"; kind.dispatchEvent(new Event("change"));
dispatchEvent(new Event("beforeprint")); seen.printed = body.rows.length;
dispatchEvent(new Event("afterprint")); seen.after = body.rows.length;
seen.elements = ["img", "iframe", "object", "embed", "svg[onload]"].filter(it => document.querySelector(it));
seen.scripts = document.scripts.length;
seen.wide = document.documentElement.scrollWidth - innerWidth; seen.width = innerWidth;
document.body.replaceChildren(Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) }));
</script>"""


def equal(what: str, found, wanted) -> None:
    if found != wanted:
        sys.exit(f"{what}: {found!r} must be {wanted!r}")


def chromium(page: pathlib.Path, *more: str) -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program:
        sys.exit("chromium is missing; on Debian: apt install chromium")
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"),
                *("--disable-background-networking", "--disable-component-update", "--no-first-run", *more, page.as_uri()),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    return done.stdout


def seconds(text: str) -> int:
    return sum(int(it) * 60**place for place, it in enumerate(reversed(text.split(":"))))


def requests(log: pathlib.Path) -> list[str]:
    """What a page asked for. What Chromium asks for of itself has no origin."""
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    return [event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"]


def check_log(folder: pathlib.Path) -> None:
    """A page that does ask for something is noticed."""
    page, log = folder / "asking.html", folder / "requests.json"
    page.write_text('<img src="http://127.0.0.1:9/">')
    chromium(page, "--dump-dom", f"--log-net-log={log}")
    equal("requests of a page that asks", requests(log), ["http://127.0.0.1:9/"])


def visit(folder: pathlib.Path, width: int) -> dict:
    page, log = folder / "visited.html", folder / "requests.json"
    text = (folder / "report.html").read_text()
    page.write_text(text.replace("</body>", VISIT + "</body>"))
    shown = chromium(page, f"--window-size={width},2000", "--dump-dom", f"--log-net-log={log}")
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', shown, re.DOTALL)[1]))
    equal("requests", requests(log), [])
    return seen


def check(folder: pathlib.Path, width: int) -> None:
    (file,) = folder.glob("attendance/dt=*/*.parquet")
    rows = pyarrow.parquet.ParquetFile(file).read().to_pylist()
    seen = visit(folder, width)
    equal("the title", seen["title"], "Attendance of st-1CVugbu2cf2n8")
    equal("elements of strangers", (seen["elements"], seen["scripts"]), ([], 3))
    equal("what is wider than the page", seen["wide"], 0)
    equal("rows at first", seen["rows"], min(len(rows), 500))
    equal("rows in print, and after", (seen["printed"], seen["after"]), (len(rows), seen["rows"]))

    order, texts = seen["longest"]
    times = [seconds(text) for text in texts if text != "–"]
    equal("the longest first", (order, times), ("descending", sorted(times, reverse=True)))
    equal("the longest", times[0], round(max(row["connected_ms"] for row in rows) / 1000))
    order, texts = seen["shortest"]
    times = [seconds(text) for text in texts if text != "–"]
    equal("the shortest first", (order, times), ("ascending", sorted(times)))
    equal("orders of two columns", seen["users"][:2], ["ascending", "none"])
    known = [text != "–" for text in seen["users"][2]]
    equal("who has no user id comes last", known, sorted(known, reverse=True))
    hostile = sum("onerror" in f"{row['user_id']} {row['os_name']} {row['attributes']}" for row in rows)
    equal("rows with a text", seen["filtered"][0].split(" participants")[0], f"{hostile:,} of {len(rows):,}")
    equal("rows with errors", len(seen["errors"]), min(500, sum(row["errors"] > 0 for row in rows)))

    equal("the CSV's mark of UTF-8", seen["csv"][0], "\ufeff")
    lines = list(csv.DictReader(io.StringIO(seen["csv"][1:], newline="")))
    equal("lines of the CSV", len(lines), len(rows))
    for line, row in zip(lines, rows):
        for name, value in row.items():
            if value is None or value == "":
                wanted = ""
            elif name.endswith("_time"):
                wanted = f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03}Z"
            elif name == "attributes":
                wanted = json.dumps(dict(value), ensure_ascii=False, separators=(",", ":"))
            else:
                wanted = str(value).lower() if isinstance(value, bool) else str(value)
            # As the page says: what begins like a formula gets an apostrophe.
            wanted = f"'{wanted}" if wanted.startswith("=") else wanted
            equal(f"{name} in the CSV", line[name], wanted)
    print(f"{folder.name}: {len(rows):,} people, {seen['width']} px, open after {seen['open']} ms")


def main(folder: str) -> None:
    folder = pathlib.Path(folder).resolve()
    check_log(folder)
    for name in ("few", "many"):
        for width in (1280, 390):
            check(folder / name, width)
    page = folder / "few/report.html"
    for name, width, more in [("light", 1280, []), ("dark", 1280, ["--blink-settings=preferredColorScheme=0"]), ("narrow", 390, [])]:
        chromium(page, f"--window-size={width},2400", f"--screenshot={folder / name}.png", *more)
    chromium(page, f"--print-to-pdf={folder / 'printed.pdf'}")
    print(f"the pages do what they should; pictures are in {folder}")


if __name__ == "__main__":
    main(*sys.argv[1:])
