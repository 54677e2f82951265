//! `docs/costs.md` as data: variables are the table rows that begin with a name in backticks, blocks lie between
//! comments such as `<!-- bill -->` and `<!-- /bill -->`.

use crate::costs::bill::{self, Account, Bill, Variables};

/// The text of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page(String);

impl Page {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What lies in a block.
    ///
    /// # Errors
    /// When there is no such block.
    pub fn block(&self, name: &str) -> Result<&str, String> {
        let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
        self.0
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split_once(&end))
            .map(|(block, _)| block)
            .ok_or_else(|| format!("the page has no block {name}"))
    }

    /// Puts a text into a block, in place of what lies there.
    ///
    /// # Errors
    /// As [`Page::block`].
    pub fn put(&mut self, name: &str, text: &str) -> Result<(), String> {
        let old = self.block(name)?;
        let at = old.as_ptr() as usize - self.0.as_ptr() as usize;
        self.0
            .replace_range(at..at + old.len(), &format!("\n{}\n\n", text.trim_end()));
        Ok(())
    }

    /// The variables: the number in the second cell, over that in the third if there is one.
    #[must_use]
    pub fn variables(&self) -> Variables {
        let rows = self.0.lines().filter_map(|line| {
            let name = line.strip_prefix("| `")?.split('`').next()?;
            let mut cells = line.split('|').skip(2);
            let value = number(cells.next()?)?;
            let per = cells.next().and_then(number).unwrap_or(1.0);
            Some((name.to_owned(), value / per))
        });
        Variables(rows.collect())
    }

    /// The accounts that the bill is made out for: sessions a month, stages, participants, days listed.
    ///
    /// # Errors
    /// As [`Page::block`].
    pub fn accounts(&self) -> Result<Vec<Account>, String> {
        let rows = self.block("accounts")?.lines().filter_map(|line| {
            let cells: Vec<f64> = line.split('|').filter_map(number).collect();
            let [sessions, stages, participants, listed_days] = cells[..] else {
                return None;
            };
            Some(Account {
                sessions,
                stages,
                participants,
                listed_days,
            })
        });
        Ok(rows.collect())
    }

    /// The bills of the page's accounts.
    ///
    /// # Errors
    /// When the page or the template lacks something.
    pub fn bills(&self, template: &str) -> Result<Vec<Bill>, String> {
        let variables = self.variables_with(template)?;
        let accounts = self.accounts()?;
        let bills = accounts.iter().map(|account| Bill::of(account, &variables));
        bills.collect()
    }

    /// Makes the bill anew.
    ///
    /// # Errors
    /// As [`Page::bills`].
    pub fn put_bill(&mut self, template: &str) -> Result<(), String> {
        let bills = self.bills(template)?;
        let sweeps = bill::sweeps_table(&self.variables_with(template)?)?;
        self.put("bill", &bill::table(&bills))?;
        self.put("sweeps", &sweeps)?;
        self.put(
            "template",
            &bill::template_table(&bill::of_template(template)?),
        )
    }

    fn variables_with(&self, template: &str) -> Result<Variables, String> {
        let mut variables = self.variables();
        variables.0.extend(bill::of_template(template)?);
        Ok(variables)
    }
}

/// A number, which may have commas between its digits.
fn number(cell: &str) -> Option<f64> {
    cell.trim().replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# A page
| name | dollars | for | |
|---|---|---|---|
| `request` | 0.40 | 1,000,000 | requests |
| `days` | 30 | of a query |
| name | `no variable` | 7 |
<!-- accounts -->
| sessions | stages | participants | days |
|---|---|---|---|
| 1,000 | 50 | 100 | 30 |
<!-- /accounts -->
<!-- bill -->
old
<!-- /bill -->
";

    #[test]
    fn variables_are_the_rows_that_begin_with_a_name() {
        let variables = Page::new(PAGE.to_owned()).variables();
        assert_eq!(variables.0.len(), 2);
        assert!((variables.0["request"] - 0.4e-6).abs() < 1e-15);
        assert!((variables.0["days"] - 30.0).abs() < f64::EPSILON);
    }

    #[test]
    fn accounts_are_the_rows_of_numbers() {
        let accounts = Page::new(PAGE.to_owned()).accounts().unwrap();
        let account = Account {
            sessions: 1000.0,
            stages: 50.0,
            participants: 100.0,
            listed_days: 30.0,
        };
        assert_eq!(accounts, [account]);
    }

    #[test]
    fn a_block_is_replaced_and_nothing_else() {
        let mut page = Page::new(PAGE.to_owned());
        page.put("bill", "new").unwrap();
        assert_eq!(page.text(), PAGE.replace("\nold\n", "\n\nnew\n\n"));
        page.put("bill", "new").unwrap();
        assert_eq!(page.block("bill"), Ok("\nnew\n\n"));
        assert!(page.put("other", "new").is_err());
    }
}
