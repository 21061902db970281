//! What `--bytes` was too small for, in words.

use crate::{cli::terminal::bytes, mirror::NotRead};

/// How much was not read, why, and what to do; none if everything was read.
pub fn not_read(not_read: &NotRead) -> Option<String> {
    if not_read.blobs == 0 {
        return None;
    }
    let mut text = format!("{} ({}) not read", blobs(not_read.blobs), bytes(not_read.bytes));
    if not_read.is_continued() {
        text += ": --bytes was used up";
    }
    if let Some((digest, size)) = &not_read.largest {
        let number = not_read.larger_than_budget;
        let are = if number == 1 { "is" } else { "are" };
        text +=
            &format!("; {} {are} larger than all of it, the largest, {digest}, needs --bytes {size}", blobs(number));
    }
    Some(text)
}

fn blobs(count: usize) -> String {
    format!("{count} {}", if count == 1 { "blob" } else { "blobs" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn it_is_said_what_a_larger_budget_would_read() {
        assert_eq!(not_read(&NotRead::default()), None);
        let used_up = NotRead { blobs: 3, bytes: 3_000_000, ..NotRead::default() };
        assert_eq!(not_read(&used_up).unwrap(), "3 blobs (3.0 MB) not read: --bytes was used up");
        let digest = Digest::sha256(b"large");
        let large = NotRead {
            blobs: 1,
            bytes: 1_000_000_000,
            larger_than_budget: 1,
            largest: Some((digest.clone(), 1_000_000_000)),
        };
        let needs = format!("1 blob is larger than all of it, the largest, {digest}, needs --bytes 1000000000");
        assert_eq!(not_read(&large).unwrap(), format!("1 blob (1.0 GB) not read; {needs}"));
        let both = NotRead { blobs: 4, ..large };
        assert_eq!(not_read(&both).unwrap(), format!("4 blobs (1.0 GB) not read: --bytes was used up; {needs}"));
    }
}
