//! The last step of every page.

use askama::Template;

use crate::model::printable;

/// Renders a page, and escapes what controls or hides text: templates contain none of it, so all of it is external.
pub fn finish(page: &impl Template) -> askama::Result<String> {
    let page = page.render()?;
    let mut finished = String::with_capacity(page.len());
    for line in page.lines() {
        let line = line.trim_start();
        if !line.is_empty() {
            finished.push_str(&printable(line));
            finished.push('\n');
        }
    }
    Ok(finished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Template)]
    #[template(source = "<p title=\"{{ text }}\">\n\n   {{ text }}</p>", ext = "html")]
    struct Page {
        text: &'static str,
    }

    #[test]
    fn external_text_changes_neither_the_page_nor_its_direction() {
        let page = finish(&Page { text: "\"><script>\u{202e}\u{1b}[2J&\u{200b}" }).unwrap();
        let text = "&#34;&#62;&#60;script&#62;\\u{202e}\\u{1b}[2J&#38;\\u{200b}";
        assert_eq!(page, format!("<p title=\"{text}\">\n{text}</p>\n"));
    }
}
