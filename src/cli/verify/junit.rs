//! The result as `JUnit` XML: one test case for each image at each destination.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{Verified, not_read::not_read};
use crate::model::{VerifiedImage, Wholeness, printable};

pub fn write(out: &mut dyn Write, verified: &Verified) -> io::Result<()> {
    let (mut failures, mut errors) = (0, verified.undecided.len());
    for image in &verified.images {
        match image.wholeness {
            Wholeness::Missing | Wholeness::Incomplete | Wholeness::Corrupt | Wholeness::Drifted => failures += 1,
            Wholeness::Unknown => errors += 1,
            Wholeness::Whole => {}
        }
    }
    let tests = verified.images.len() + verified.undecided.len();
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"k8s-copycat verify\" {counts}>")?;
    writeln!(out, "<testsuite name=\"images\" {counts}>")?;
    for image in &verified.images {
        let (class, name) = (&image.destination.target.name, image.destination.to_string());
        write!(out, "<testcase classname=\"{}\" name=\"{}\"", escaped(class), escaped(&name))?;
        let element = match image.wholeness {
            Wholeness::Whole => {
                writeln!(out, "/>")?;
                continue;
            }
            Wholeness::Unknown => "error",
            _ => "failure",
        };
        let reason = image.reason.as_deref().unwrap_or_default();
        let (result, details) = (image.wholeness.name(), details(image));
        writeln!(out, "><{element} type=\"{result}\" message=\"{}\">", escaped(reason))?;
        writeln!(out, "{}</{element}></testcase>", escaped(&details))?;
    }
    for undecided in &verified.undecided {
        let (workload, image) = (escaped(&undecided.workload), escaped(&undecided.image));
        let reason = escaped(&undecided.reason);
        writeln!(out, "<testcase classname=\"{workload}\" name=\"{image}\">")?;
        writeln!(out, "<error type=\"undecided\" message=\"{reason}\"/></testcase>")?;
    }
    if let Some(text) = not_read(&verified.not_read) {
        writeln!(out, "<system-out>{}</system-out>", escaped(&text))?;
    }
    writeln!(out, "</testsuite>\n</testsuites>")
}

fn details(image: &VerifiedImage) -> String {
    let mut details = format!("source {}\n", image.source);
    for workload in &image.workloads {
        let _ = writeln!(details, "used by {workload}");
    }
    for problem in &image.problems {
        let (kind, part) = (problem.kind.name(), problem.part.text());
        let _ = writeln!(details, "{kind} {part} {}: {}", problem.digest, problem.message);
    }
    details
}

/// For an attribute or a text. XML has no control characters, not even as references.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        for c in printable(line).chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
                other => escaped.push(other),
            }
        }
        escaped.push_str(end);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_the_document() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}\u{202e}\u{ffff}"), "a&lt;b&gt;&amp;&quot;c&quot;\\u{1}\\u{202e}\u{fffd}");
        assert_eq!(escaped("one\ntwo\n"), "one\ntwo\n");
    }
}
