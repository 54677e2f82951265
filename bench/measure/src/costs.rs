//! `make costs` and `make bill`: what the deployed stack costs a month.
//!
//! `measure` counts and times the real function on the local stack, `bill` is the arithmetic, and `page` is
//! `docs/costs.md`, which holds the prices and assumptions that a reader may change and takes up what comes out.

pub mod bill;
mod measure;
mod page;

use std::error::Error;
use std::io;
use std::path::Path;

pub use crate::costs::page::Page;
use ivs_attendance_local::folder::at;

const PAGE: &str = "docs/costs.md";
const TEMPLATE: &str = "template.yaml";

fn read(file: &str) -> io::Result<String> {
    std::fs::read_to_string(file).map_err(at(file.as_ref()))
}

/// Measures, and writes what was measured and the bill into the page.
///
/// # Errors
/// When a server fails, the function does not do what it was asked for, or the page lacks something.
pub async fn costs(bootstrap: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let measured = measure::all(bootstrap, folder).await?;
    let mut page = Page::new(read(PAGE)?);
    for (block, text) in [
        ("looks", measured.looks_table()),
        ("ticks", measured.ticks_table()),
        ("measured", measured.variables_table()),
    ] {
        println!("{text}");
        page.put(block, &text)?;
    }
    std::fs::write(PAGE, page.text()).map_err(at(PAGE.as_ref()))?;
    write_bill()
}

/// Writes the bill into the page, from what the page and the template say.
///
/// # Errors
/// When one of them lacks something.
pub fn write_bill() -> Result<(), Box<dyn Error>> {
    let template = read(TEMPLATE)?;
    let mut page = Page::new(read(PAGE)?);
    page.put_bill(&template)?;
    let headline = bill::headline(&page.bills(&template)?);
    println!("{}{}", page.block("bill")?, page.block("sweeps")?);
    println!("In README: {headline}");
    std::fs::write(PAGE, page.text()).map_err(at(PAGE.as_ref()))?;
    Ok(())
}
