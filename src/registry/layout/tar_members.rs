//! The files in a tar file. It may come from anywhere: its headers are read one by one, and what extends a header only up to
//! a limit. The tar crate's own reader holds as much of that as the file claims to have.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use tar::{EntryType, Header, PaxExtensions};

const BLOCK: u64 = 512;

/// The longest record that extends a header, in bytes: names have 4,096 at most, attributes of files 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

/// A million files, more than any layout has, each with extended headers.
const MAX_HEADERS: usize = 4_000_000;

/// Bytes behind the end in which another tar file is looked for; tar fills the last 10 KiB with zeros.
const SEARCHED_BEHIND: u64 = 1 << 20;

/// A regular file in a tar file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub offset: u64,
    pub size: u64,
    /// Its bytes are not in one piece.
    pub is_sparse: bool,
}

/// Why the members can't be listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum MembersError {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// As a reason behind the file's name: `is no tar file …`.
    #[error("{0}")]
    Unusable(String),
}

/// What stands before a header and belongs to it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    pax: Option<Vec<u8>>,
}

/// What extensions say about a member.
#[derive(Default)]
struct Attributes {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

/// Calls `on_member` with the name of each regular file and where it is; its errors are reasons as in
/// [`MembersError::Unusable`]. Names that are no UTF-8 are left out.
pub(super) fn for_each(
    file: &File,
    mut on_member: impl FnMut(&str, Member) -> Result<(), String>,
) -> Result<(), MembersError> {
    let length = file.metadata()?.len();
    let (mut at, mut headers) = (0, 0);
    let mut before = Extensions::default();
    while at < length {
        let block = read(file, at, BLOCK, length)?;
        if block.iter().all(|byte| *byte == 0) {
            return ends_here(file, at + BLOCK, length);
        }
        at += BLOCK;
        headers += 1;
        if headers > MAX_HEADERS {
            return Err(unusable("has more than a million files".to_owned()));
        }
        let header = Header::from_byte_slice(&block);
        check(header)?;
        let (kind, size) = (header.entry_type(), header.entry_size().map_err(damaged)?);
        match kind {
            EntryType::GNULongName => keep(&mut before.long_name, read_extension(file, at, size, length)?)?,
            EntryType::XHeader => keep(&mut before.pax, read_extension(file, at, size, length)?)?,
            // Neither the target of a link nor a comment for all files is needed.
            EntryType::GNULongLink | EntryType::XGlobalHeader => {}
            _ => {
                let said = Attributes::of(std::mem::take(&mut before))?;
                let name = said.name.unwrap_or_else(|| header.path_bytes().into_owned());
                let size = said.size.unwrap_or(size);
                let is_sparse = said.is_sparse || kind.is_gnu_sparse();
                if kind.is_gnu_sparse() {
                    at = behind_sparse_map(file, header, at, length)?;
                }
                let member = Member { offset: at, size, is_sparse };
                let name = std::str::from_utf8(&name).ok().filter(|_| kind.is_file() || is_sparse);
                // The oldest format has no other sign of a folder.
                let name = name.map(|name| name.trim_start_matches("./")).filter(|name| !name.ends_with('/'));
                if at.checked_add(size).is_none_or(|end| end > length) {
                    return Err(unusable(format!("ends in the middle of {}: copy it again", name.unwrap_or("a file"))));
                }
                if let Some(name) = name {
                    on_member(name, member).map_err(unusable)?;
                }
                at = behind(at, size)?;
                continue;
            }
        }
        at = behind(at, size)?;
    }
    Ok(())
}

impl Attributes {
    fn of(extensions: Extensions) -> Result<Self, MembersError> {
        let mut said = Self::default();
        for record in PaxExtensions::new(extensions.pax.as_deref().unwrap_or_default()) {
            let record = record.map_err(damaged)?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"path" if !said.is_sparse => said.name = Some(value.to_owned()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    said.size = Some(size.ok_or_else(|| damaged(io::Error::other("a size is no number")))?);
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    said.is_sparse = true;
                    if key == b"GNU.sparse.name" {
                        said.name = Some(value.to_owned());
                    }
                }
                _ => {}
            }
        }
        if let Some(name) = extensions.long_name {
            said.name = Some(name.split(|byte| *byte == 0).next().unwrap_or_default().to_owned());
        }
        Ok(said)
    }
}

fn check(header: &Header) -> Result<(), MembersError> {
    let bytes = header.as_bytes();
    // The sum of all bytes, of which those of the sum itself count as spaces.
    let (before, after) = (bytes.get(..148).unwrap_or_default(), bytes.get(156..).unwrap_or_default());
    let sum = before.iter().chain(after).fold(8 * u32::from(b' '), |sum, byte| sum + u32::from(*byte));
    if header.cksum().map_err(damaged)? == sum {
        return Ok(());
    }
    Err(damaged(io::Error::other("the checksum of a header is wrong")))
}

fn keep(kept: &mut Option<Vec<u8>>, extension: Vec<u8>) -> Result<(), MembersError> {
    match kept.replace(extension) {
        None => Ok(()),
        Some(_) => Err(damaged(io::Error::other("a file has two headers of the same kind"))),
    }
}

fn read_extension(file: &File, at: u64, size: u64, length: u64) -> Result<Vec<u8>, MembersError> {
    if size > MAX_EXTENSION {
        let reason = format!("has a record of {size} bytes about one file, more than {MAX_EXTENSION}: make it again");
        return Err(unusable(reason));
    }
    read(file, at, size, length)
}

/// Where the bytes of a sparse file begin: its map may go on in further blocks.
fn behind_sparse_map(file: &File, header: &Header, mut at: u64, length: u64) -> Result<u64, MembersError> {
    let start = at;
    let mut goes_on = header.as_gnu().is_some_and(|header| header.is_extended());
    while goes_on {
        if at - start >= MAX_EXTENSION {
            return Err(unusable("has a sparse file in too many pieces: make it again without --sparse".to_owned()));
        }
        // Behind 21 pieces of 24 bytes.
        goes_on = read(file, at, BLOCK, length)?.get(504).is_some_and(|flag| *flag == 1);
        at += BLOCK;
    }
    Ok(at)
}

/// Fails if another tar file follows: tar would not read it either.
fn ends_here(file: &File, at: u64, length: u64) -> Result<(), MembersError> {
    let searched = length.saturating_sub(at).min(SEARCHED_BEHIND);
    if read(file, at, searched, length)?.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(unusable("goes on behind its end: it is several tar files in one; load each by itself".to_owned()))
}

fn read(file: &File, at: u64, size: u64, length: u64) -> Result<Vec<u8>, MembersError> {
    let is_within = at.checked_add(size).is_some_and(|end| end <= length);
    let size = usize::try_from(size).ok().filter(|_| is_within);
    let mut bytes = vec![0; size.ok_or_else(|| unusable("ends in the middle of a header: copy it again".to_owned()))?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Files begin at whole blocks.
fn behind(at: u64, size: u64) -> Result<u64, MembersError> {
    let end = size.checked_next_multiple_of(BLOCK).and_then(|size| at.checked_add(size));
    end.ok_or_else(|| damaged(io::Error::other("a size is too large")))
}

fn unusable(reason: String) -> MembersError {
    MembersError::Unusable(reason)
}

fn damaged(error: io::Error) -> MembersError {
    unusable(format!("is no tar file, or damaged: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tar::Builder;

    use super::*;

    fn members(bytes: &[u8]) -> Result<Vec<(String, Member)>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut found = Vec::new();
        let on_member = |name: &str, member| {
            found.push((name.to_owned(), member));
            Ok(())
        };
        for_each(&file, on_member).map_err(|error| error.to_string())?;
        Ok(found)
    }

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_path("some").unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn with(records: &[(Header, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (header, data) in records {
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes
    }

    #[test]
    fn names_and_sizes_are_those_of_the_extensions() {
        let mut builder = Builder::new(Vec::new());
        let long = format!("{}/end", "folder/".repeat(60));
        for name in ["./short", &long] {
            builder.append_data(&mut header(EntryType::Regular, 3), name, &b"abc"[..]).unwrap();
        }
        builder.append_pax_extensions([("path", &b"./by pax"[..]), ("size", b"600"), ("comment", b"x")]).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(bytes.len() - 1024);
        // Its own size is of no account.
        bytes.extend(with(&[(header(EntryType::Regular, 0), &[7; 600]), (header(EntryType::Directory, 0), b"")]));
        bytes.extend(with(&[(header(EntryType::Regular, 5), b"final")]));
        let found = members(&bytes).unwrap();
        let names: Vec<_> = found.iter().map(|(name, member)| (name.as_str(), member.size)).collect();
        assert_eq!(names, [("short", 3), (&long, 3), ("by pax", 600), ("some", 5)]);
        for (name, member) in &found {
            let start = bytes[usize::try_from(member.offset).unwrap()];
            assert_eq!(
                start,
                match member.size {
                    3 => b'a',
                    600 => 7,
                    _ => b'f',
                },
                "{name}"
            );
        }
        bytes.resize(bytes.len() + 10_240, 0);
        assert_eq!(members(&bytes).unwrap(), found);
        assert_eq!(members(b"").unwrap(), []);
    }

    #[test]
    fn what_claims_to_be_endless_is_refused() {
        let huge = 1 << 40;
        for kind in [EntryType::GNULongName, EntryType::XHeader] {
            let error = members(&with(&[(header(kind, huge), b"")])).unwrap_err();
            assert!(error.contains("a record of 1099511627776 bytes about one file"), "{error}");
            let error = members(&with(&[(header(kind, 600), &[1; 100])])).unwrap_err();
            assert!(error.contains("ends in the middle"), "{error}");
            let twice = members(&with(&[(header(kind, 2), b"a\n"), (header(kind, 2), b"a\n")])).unwrap_err();
            assert!(twice.contains("two headers of the same kind"), "{twice}");
        }
        let mut sparse = header(EntryType::GNUSparse, 0);
        sparse.as_gnu_mut().unwrap().set_is_extended(true);
        sparse.set_cksum();
        let mut block = [0; 512];
        block[504] = 1;
        let endless = with(&[(sparse, &block.repeat(3000))]);
        let error = members(&endless).unwrap_err();
        assert!(error.contains("too many pieces"), "{error}");
        let error = members(&with(&[(header(EntryType::Regular, u64::MAX), b"")])).unwrap_err();
        assert!(error.contains("ends in the middle of some"), "{error}");
    }

    #[test]
    fn no_damage_does_more_than_an_error() {
        let mut builder = Builder::new(Vec::new());
        builder.append_data(&mut header(EntryType::Regular, 3), "name/".repeat(60), &b"abc"[..]).unwrap();
        builder.append_pax_extensions([("path", &b"by pax"[..]), ("size", b"3")]).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 3), "short", &b"abc"[..]).unwrap();
        let whole = builder.into_inner().unwrap();
        assert!(members(&whole).is_ok());
        for length in (0..whole.len()).step_by(7) {
            let _ = members(&whole[..length]);
        }
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << (position % 8);
            let _ = members(&damaged);
        }
    }

    #[test]
    fn what_follows_the_end_is_told() {
        let one = with(&[(header(EntryType::Regular, 5), b"final")]);
        let two = [one.as_slice(), &[0; 1024], &one].concat();
        let error = members(&two).unwrap_err();
        assert!(error.contains("several tar files in one"), "{error}");
    }

    #[test]
    fn damaged_headers_are_told() {
        let whole = with(&[(header(EntryType::Regular, 5), b"final")]);
        for position in [0, 130, 156, 300] {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            let error = members(&damaged).unwrap_err();
            assert!(error.contains("is no tar file, or damaged"), "{position}: {error}");
        }
    }
}
