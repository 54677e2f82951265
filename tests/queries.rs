//! The query pack: each file of `queries/` says what it needs, reads no day that it was not asked for, and is a named
//! query of the template, word for word. That the answers are right, `make athena` shows on the engine itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

/// The files by their names without `.sql`.
fn queries() -> BTreeMap<String, String> {
    let paths = std::fs::read_dir("queries").unwrap();
    let paths = paths.map(|file| file.unwrap().path());
    let query = |path: std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.filter(|path| path.is_file()).map(query).collect()
}

/// The lines of a query's head, without their dashes.
fn head(query: &str) -> Vec<&str> {
    let lines = query.lines().take_while(|line| line.starts_with("--"));
    lines.map(|line| line[2..].trim_start()).collect()
}

/// A query's SQL, without comments.
fn sql(query: &str) -> String {
    let lines = query.lines().filter(|line| !line.starts_with("--"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn each_is_a_named_query_of_the_template() {
    let template = std::fs::read_to_string("template.yaml").unwrap();
    let block = |(name, query): (&String, &String)| {
        let words = name.split('_').map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_uppercase() + rest
        });
        let resource: String = words.collect();
        let description = head(query)[0].replace('\'', "''");
        let text: String = query
            .lines()
            .map(|line| format!("        {line}\n"))
            .collect();
        // Without the table there is nothing to ask.
        let condition = if query.contains("FROM history\n") {
            "    Condition: WithHistory\n"
        } else {
            ""
        };
        format!(
            "  {resource}Query:\n    Type: AWS::Athena::NamedQuery\n{condition}    Properties:\n      Name: {name}\n      \
             Description: '{description}'\n      WorkGroup: !Ref WorkGroup\n      Database: !Ref Database\n      \
             QueryString: |\n{text}"
        )
    };
    let blocks: Vec<_> = queries().iter().map(block).collect();
    let blocks = blocks.join("\n");
    assert!(
        template.contains(&blocks),
        "paste into template.yaml:\n{blocks}"
    );
    let named = template.matches("Type: AWS::Athena::NamedQuery").count();
    assert_eq!(named, queries().len(), "and no others");
}

#[test]
fn each_twin_asks_history_the_same() {
    let queries = queries();
    for (name, table) in [
        ("devices", "attendance"),
        ("returning_users", "participants"),
    ] {
        let asked = sql(&queries[name]).replace(&format!("FROM {table}\n"), "FROM history\n");
        assert_eq!(sql(&queries[&format!("history_{name}")]), asked, "{name}");
    }
}

#[test]
fn each_says_what_it_answers_and_needs() {
    for (name, query) in queries() {
        let head = head(&query);
        assert!(!head[0].is_empty() && head[1].is_empty(), "{name}");
        for begins in ["Parameters", "Columns: ", "Reads "] {
            let lines = head.iter().filter(|line| line.starts_with(begins));
            assert_eq!(lines.count(), 1, "{name}: {begins}");
        }
        let examples = head.iter().filter(|line| line.contains(", e.g. '")).count();
        assert_eq!(
            examples,
            sql(&query).matches('?').count(),
            "{name}: an example for each question mark"
        );
        let prunes = ["WHERE dt ", "WHERE replica.dt "]
            .iter()
            .any(|condition| sql(&query).contains(condition));
        assert_ne!(prunes, query.contains("-- Reads all days"), "{name}");
        // What counts them by itself must not find more.
        assert!(!head.iter().any(|line| line.contains('?')), "{name}");
        assert!(!sql(&query).contains(';'), "{name}: one statement");
    }
}

/// That this form refuses others, `make athena` shows.
#[test]
fn each_day_is_asked_for_in_the_form_that_refuses_others() {
    for (name, query) in queries() {
        let days = head(&query)
            .iter()
            .filter(|line| line.contains("day") && line.contains(", e.g. '"))
            .count();
        let form =
            r"regexp_replace('not YYYY-MM-DD: ' || ?, '^not YYYY-MM-DD: (\d{4}-\d\d-\d\d)$', '$1')";
        assert_eq!(sql(&query).matches(form).count(), days, "{name}");
        let says = query.contains("-- A day of another form, or that is no date, is refused.\n");
        assert_eq!(says, days > 0, "{name}");
    }
}

/// Athena takes parameters in a WHERE clause only:
/// <https://docs.aws.amazon.com/athena/latest/ug/querying-with-prepared-statements.html>.
#[test]
fn question_marks_stand_where_athena_takes_them() {
    for (name, query) in queries() {
        let sql = sql(&query);
        for (at, _) in sql.match_indices('?') {
            let clauses = [
                "SELECT ",
                "SELECT\n",
                "FROM ",
                "WHERE ",
                "GROUP BY ",
                "HAVING",
                "ORDER BY ",
            ];
            let last = clauses
                .iter()
                .max_by_key(|&&clause| sql[..at].rfind(clause).map_or(0, |found| found + 1));
            assert_eq!(last, Some(&"WHERE "), "{name}");
        }
    }
}

/// By who asks, in the order of usefulness: the order is not a machine's to tell.
#[test]
fn the_page_of_data_lists_each_once() {
    let page = std::fs::read_to_string("docs/data.md").unwrap();
    for (name, query) in queries() {
        let row = format!(
            "\n| [{name}](../queries/{name}.sql) | {} |\n",
            head(&query)[0]
        );
        assert_eq!(page.matches(&row).count(), 1, "docs/data.md:{row}");
    }
    let rows = page.matches("](../queries/").count();
    assert_eq!(rows, queries().len(), "and no others");
}
