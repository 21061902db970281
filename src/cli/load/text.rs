//! Outcomes as lines for people.

use crate::{
    cli::{
        sync::line,
        terminal::{bytes, duration},
    },
    mirror::Loaded,
    model::{Status, printable},
};

/// An outcome: one line, or several if it does not fit the width.
pub fn loaded(loaded: &Loaded, width: Option<usize>) -> String {
    let name = if loaded.name.is_empty() { "(no name)" } else { &loaded.name };
    let (name, mut destination) = match &loaded.destination {
        Some(destination) => (name.to_owned(), format!("-> {destination}")),
        None => (format!("{name}:"), String::new()),
    };
    let mut detail = String::new();
    match (&loaded.status, &loaded.referrers) {
        (Status::Copied(_), Some(referrers)) => destination += &format!(" ({} referrers)", referrers.copied),
        (Status::Copied(_), None) => {
            destination += &format!(" ({} in {})", bytes(loaded.bytes), duration(loaded.took));
        }
        (Status::Failed(failure), _) => {
            if !destination.is_empty() {
                destination.push(':');
            }
            detail = failure.to_string();
        }
        (Status::AlreadyThere(_) | Status::WouldCopy(_) | Status::WouldPull, _) => {}
    }
    let word = loaded.status.name().replace('_', " ");
    line(&word, [name, destination, detail].map(|part| printable(&part).into_owned()), width)
}
