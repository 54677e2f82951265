"""`make bill`: the bill of docs/costs.md. The page itself holds the prices, the numbers and the formula; this program evaluates
the formula for each account of the page, and writes the tables `bill`, `sweeps` and `collections` between their marks.

Usage: python3 bench/costs.py bill            write the tables
       python3 bench/costs.py check           compare instead of write; print the first totals as README has them
       python3 bench/costs.py evaluate JSON   print all names and parts as JSON, with these numbers in place of the page's
"""

import json
import math
import pathlib
import re
import sys

PAGE = pathlib.Path("docs/costs.md")
ACCOUNT = ["sessions", "stages", "participants", "days_listed"]
OF_COLLECTIONS = ["collect_lambda", "collect_s3", "collect_sqs"]
OF_SWEEPS = ["Lambda: sweeps", "Lambda: requests", "SQS: messages", "S3: requests"]


def number(cell: str) -> float | None:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(page: str, name: str) -> list[list[str]]:
    """The rows of a marked table, without its head."""
    table = page.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]
    return [cells(line) for line in table.strip().splitlines()[2:]]


def put(page: str, name: str, *table: list[str]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    before, after = page.split(f"<!-- {name} -->\n")[0], page.split(f"<!-- /{name} -->")[1]
    return f"{before}<!-- {name} -->\n\n" + "\n".join(lines) + f"\n\n<!-- /{name} -->{after}"


def variables(page: str) -> dict[str, float]:
    """The rows that begin with a name: the number in the second cell, over that in the third if there is one."""
    found = {}
    for row in map(cells, page.splitlines()):
        if re.fullmatch(r"`\w+`", row[0]) and (value := number(row[1])) is not None:
            found[row[0].strip("`")] = value / (number(row[2]) or 1)
    return found


def value(formula: str, names: dict[str, float]) -> float:
    """The value of a formula of the page. At a semicolon a remark begins."""
    text = formula.split(";")[0].replace("`", "").replace("×", "*").replace("÷", "/")
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    superscripts = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
    text = re.sub(r"10([⁰¹²³⁴-⁹]+)", lambda power: "1e" + power[1].translate(superscripts), text)
    return eval(text, {"__builtins__": {}, "min": min, "max": max, "ceil": math.ceil}, names)


def evaluate(page: str, numbers: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """All names and the parts of the bill, with these numbers in place of the page's."""
    names = variables(page) | numbers
    for name, _, formula in rows(page, "names"):
        names[name.strip("`")] = value(formula, names)
    return names, {part: value(formula, names) for part, formula in rows(page, "parts")}


def dollars(price: float) -> str:
    return "0" if price == 0 else "<$0.01" if price < 0.005 else f"${price:.2f}"


def bill(page: str) -> tuple[str, str]:
    """The page with its bill made, and the first three totals in a few words."""
    table, totals = [], []
    for account in rows(page, "accounts"):
        names, parts = evaluate(page, dict(zip(ACCOUNT, map(number, account))))
        sessions, stages, days = (f"{names[name]:,.0f}" for name in ["sessions", "stages", "days_listed"])
        total = dollars(sum(parts.values()))
        table.append([sessions, stages, days, f"**{total}**", *map(dollars, parts.values())])
        totals.append(f"{total} for {sessions} sessions")
    page = put(page, "bill", ["sessions a month", "stages", "days listed", "**total**", *parts], *table)
    table = []
    for stages in [10, 100, 1000]:
        names, parts = evaluate(page, dict.fromkeys(ACCOUNT, 0) | {"stages": stages})
        table.append([f"{stages:,}", f"{names['tick']:.1f}", dollars(sum(parts[part] for part in OF_SWEEPS))])
    page = put(page, "sweeps", ["stages", "seconds of a tick", "Lambda, S3 and SQS a month"], *table)
    table = []
    for people in [10, 1000, 10_000, 50_000]:
        names, _ = evaluate(page, dict.fromkeys(ACCOUNT, 0) | {"participants": people})
        prices = [names[name] for name in OF_COLLECTIONS]
        hours = people * names["collect_seconds"] / 3600
        table.append([f"{people:,}", f"{hours:.2f}", f"{names['collect_turns']:,.0f}", *(f"{price:.6f}" for price in [*prices, sum(prices)])])
    head = ["participants", "hours", "invocations", "Lambda", "S3: requests", "SQS", "together"]
    page = put(page, "collections", head, *table)
    return page, ", ".join(totals[:3])


def main(command: str, *arguments: str) -> None:
    try:
        page = PAGE.read_text(encoding="utf-8")
    except OSError as error:
        sys.exit(f"error: {PAGE}: {error.strerror}")
    if command == "evaluate":
        names, parts = evaluate(page, json.loads(arguments[0]))
        return print(json.dumps({"names": names, "parts": parts}))
    made, totals = bill(page)
    if command == "bill":
        PAGE.write_text(made, encoding="utf-8")
    elif made != page:
        sys.exit(f"{PAGE} is out of date: run `make bill`")
    print(totals)


if __name__ == "__main__":
    main(*sys.argv[1:])
