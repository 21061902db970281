//! Pages that say why there is nothing else to show.

use askama::Template;

use super::{finish::finish, frame::Frame};

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    what: &'a str,
    why: &'a str,
}

/// Says what can't be shown, and why.
///
/// # Errors
/// If the template fails.
pub fn problem(what: &str, why: &str) -> askama::Result<String> {
    let frame = Frame::new(format!("{what} – k8s-copycat"), None, "/status".to_owned());
    finish(&ProblemPage { frame, what, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_and_why() {
        let page = problem("No such image", "nothing at <script>").unwrap();
        assert!(page.contains("<h1>No such image</h1>") && page.contains("nothing at &#60;script&#62;"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
    }
}
