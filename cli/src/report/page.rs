//! The page: the document within a template, with nothing to fetch.

use std::path::Path;

use super::Document;
use crate::error::CliError;

const PAGE: &str = include_str!("../report_page/page.html");
const STYLE: &str = include_str!("../report_page/style.css");
const SCRIPT: &str = concat!(
    include_str!("../report_page/base.js"),
    include_str!("../report_page/model.js"),
    include_str!("../report_page/charts.js"),
    include_str!("../report_page/flame.js"),
    include_str!("../report_page/table.js"),
    include_str!("../report_page/script.js"),
);

/// Writes the page.
pub(crate) fn write_page(path: &Path, document: &Document) -> Result<(), CliError> {
    std::fs::write(path, page(document)?).map_err(|source| CliError::Write {
        path: path.to_owned(),
        source,
    })
}

fn page(document: &Document) -> Result<String, CliError> {
    // Within a script no `<` may begin an end of it.
    let data = serde_json::to_string(document)?.replace('<', "\\u003c");
    let title = format!("Slackwater: {}", document.kind);
    let parts = [
        ("{{TITLE}}", title.as_str()),
        ("{{STYLE}}", STYLE),
        ("{{SCRIPT}}", SCRIPT),
        ("{{DATA}}", &data),
    ];
    let mut page = String::with_capacity(data.len() + PAGE.len() + STYLE.len() + SCRIPT.len());
    let mut rest = PAGE;
    // What is put in is not looked through again.
    while let Some((at, (name, text))) = parts
        .iter()
        .filter_map(|part| Some((rest.find(part.0)?, part)))
        .min_by_key(|(at, _)| *at)
    {
        page.push_str(&rest[..at]);
        page.push_str(text);
        rest = &rest[at + name.len()..];
    }
    page.push_str(rest);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_cannot_end_the_script() {
        let mut document = Document::new("replay");
        document.runs.push(super::super::RunReport {
            name: "</script>{{STYLE}}".to_owned(),
            mode: "fresh",
            path: "split",
            threads: 1,
            fuel_meter: "off",
            ok: true,
            result: String::new(),
            seconds: 0.0,
            error: None,
            divergence: None,
            blocks: Vec::new(),
        });
        let page = page(&document).expect("a page");
        assert!(page.contains("\\u003c/script>{{STYLE}}"));
        for name in ["{{TITLE}}", "{{SCRIPT}}", "{{DATA}}"] {
            assert!(!page.contains(name), "{name} is left");
        }
        let begins = page.matches("<script").count();
        assert_eq!(page.matches("</script>").count(), begins);
    }
}
