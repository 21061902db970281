//! The report for people.

use std::{
    io::{self, Write},
    path::Path,
};

use super::folder::Written;
use crate::{
    cli::terminal::{Row, Table, fold},
    model::printable,
    restore::{Counts, DifferenceKind, Report, ReportedImage, Status},
};

/// The most names of one kind of difference that are printed.
const MOST_NAMES: usize = 10;

/// The images that are not covered come last. Without a width nothing is folded.
pub fn write(
    out: &mut dyn Write,
    report: &Report,
    folder: &Path,
    written: &Written,
    width: Option<usize>,
) -> io::Result<()> {
    let with = |status| report.images.iter().filter(move |image| image.status == status);
    let images = [Status::NamedAtMirror, Status::Covered, Status::Uncovered].into_iter().flat_map(with);
    Table::new(["IMAGE", "COMES FROM"], images.map(row).collect()).write(out, width)?;
    let mut lines = vec![summary(&report.summary)];
    lines.extend(differences(report));
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    let shown = printable(&folder.to_string_lossy()).into_owned();
    let (runtime, files) = (report.runtime.name(), counted(report.files.len(), "file"));
    lines.push(match (report.files.is_empty(), written.is_unchanged) {
        (true, _) => format!("{shown}: there is nothing that {runtime} could be told; only the report was written"),
        (false, true) => format!("{shown}: {files} there already, unchanged"),
        (false, false) => {
            format!("{shown}: {files} for {runtime}, and restore.json; comments say where they belong")
        }
    });
    for edited in &written.edited {
        lines.push(format!("an edited file was kept: {}", printable(&edited.to_string_lossy())));
    }
    for line in lines {
        fold(&line, width.unwrap_or(usize::MAX)).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    Ok(())
}

fn row(image: &ReportedImage) -> Row<2> {
    let from = match (image.status, &image.mirror) {
        (Status::Covered, Some(mirror)) => mirror.clone(),
        (Status::Uncovered, _) => "(not from the mirror)".to_owned(),
        (Status::Covered, None) | (Status::NamedAtMirror, _) => "(named as an image of the mirror)".to_owned(),
    };
    let mut notes = Vec::new();
    if let Some(reason) = &image.reason {
        notes.push(match &image.remedy {
            Some(remedy) => format!("{reason}; {remedy}"),
            None => reason.clone(),
        });
        notes.push(match image.workloads.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
        });
    }
    Row { cells: [printable(&image.image).into_owned(), from], notes }
}

fn summary(counts: &Counts) -> String {
    let Counts { images, covered, uncovered, named_at_mirror, .. } = *counts;
    let mut text = format!("{}: {covered} covered", counted(images, "image"));
    if named_at_mirror > 0 {
        text += &format!(", {named_at_mirror} named as images of the mirror");
    }
    format!("{text}, {uncovered} not covered")
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Names of one kind with the same text share a line.
fn differences(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for difference in report.differences.iter().filter(|difference| difference.kind == DifferenceKind::AnotherImage) {
        lines.push(format!("resolved differently: {}: {}", difference.name, difference.text));
    }
    let short: Vec<_> =
        report.differences.iter().filter(|difference| difference.kind == DifferenceKind::ShortName).collect();
    if let Some(first) = short.first() {
        let mut names: Vec<&str> = short.iter().take(MOST_NAMES).map(|difference| difference.name.as_str()).collect();
        let more = format!("{} more", short.len().saturating_sub(MOST_NAMES));
        if short.len() > MOST_NAMES {
            names.push(&more);
        }
        lines.push(format!("resolved differently: {}: {}", names.join(", "), first.text));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_covered_comes_last_with_its_reason() {
        let image = |image: &str, status: &str, mirror: Option<&str>, reason: Option<&str>| {
            json!({
                "image": image, "status": status, "by": "tag", "mirror": mirror, "reason": reason, "remedy": "set this",
                "uses": 2, "workloads": ["deployment shop/a", "deployment shop/b"],
            })
        };
        let report = json!({
            "apiVersion": "k8s-copycat/v1", "kind": "RestoreReport", "runtime": "crio", "digestOnly": false,
            "target": { "name": "default", "registry": "r.io", "scheme": "https" },
            "summary": { "images": 3, "covered": 1, "uncovered": 1, "namedAtMirror": 1, "differences": 1, "rules": 1, "files": 1 },
            "images": [
                image("docker.io/library/a:1", "uncovered", None, Some("it is skipped")),
                image("docker.io/library/b:1", "covered", Some("r.io/b:1"), None),
                image("r.io/c:1", "namedAtMirror", None, None),
            ],
            "differences": [{ "name": "b:1", "kind": "shortName", "text": "it has no registry" }],
            "notes": ["look"], "rules": [], "files": [{ "path": "x", "sha256": "00" }],
        });
        let report: Report = serde_json::from_value(report).unwrap();
        let mut out = Vec::new();
        write(&mut out, &report, Path::new("di\nr"), &Written::default(), None).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
IMAGE                  COMES FROM
r.io/c:1               (named as an image of the mirror)
docker.io/library/b:1  r.io/b:1
docker.io/library/a:1  (not from the mirror)
    it is skipped; set this
    deployment shop/a and 1 more
3 images: 1 covered, 1 named as images of the mirror, 1 not covered
resolved differently: b:1: it has no registry
note: look
di\\nr: 1 file for crio, and restore.json; comments say where they belong
"
        );
    }
}
