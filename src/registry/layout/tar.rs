//! A layout in a tar file, which is read where it is: the members are listed once, and their bytes read at their offsets.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{LayoutError, folder::VERSION, index::LayoutEntry, verified};
use crate::{model::Digest, registry::manifest::Manifest};

/// More files than any layout has.
const MAX_MEMBERS: usize = 1_000_000;

/// The longest `index.json`, in bytes; an entry has some 300.
const MAX_INDEX: u64 = 256 << 20;

/// The file that marks the folder of a layout.
const MARKER: &str = "oci-layout";

/// The first bytes of gzip, zstd, bzip2 and xz.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z']];

/// A layout in a tar file. All functions block.
pub struct LayoutTar {
    path: PathBuf,
    file: File,
    /// By path below the layout's folder.
    members: HashMap<String, Member>,
}

/// Where the bytes of a member are.
#[derive(Clone, Copy)]
pub(super) struct Member {
    pub offset: u64,
    pub size: u64,
}

impl LayoutTar {
    /// Lists the members.
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let io = || LayoutError::io("read", path);
        let file = File::open(path).map_err(io())?;
        let unusable = |reason: &str| LayoutError::Unusable { path: path.to_owned(), reason: reason.to_owned() };
        let length = file.metadata().map_err(io())?.len();
        let mut start = [0; 5];
        let read = file.read_at(&mut start, 0).map_err(io())?;
        if COMPRESSED.iter().any(|magic| start.get(..read).is_some_and(|start| start.starts_with(magic))) {
            return Err(unusable("is compressed: decompress it first"));
        }
        let mut archive = tar::Archive::new(&file);
        let mut members = HashMap::new();
        let mut marker = None;
        for entry in archive.entries_with_seek().map_err(io())? {
            let entry = entry.map_err(|error| unusable(&format!("is no tar file, or damaged: {error}")))?;
            // A sparse member's bytes are not in one piece.
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path().map_err(io())?;
            let Some(name) = name.to_str().map(|name| name.trim_start_matches("./").to_owned()) else { continue };
            let member = Member { offset: entry.raw_file_position(), size: entry.size() };
            if member.offset.checked_add(member.size).is_none_or(|end| end > length) {
                return Err(unusable(&format!("ends in the middle of {name}: copy it again")));
            }
            if marker.is_none() && name.rsplit('/').next() == Some(MARKER) {
                marker = name.strip_suffix(MARKER).map(str::to_owned);
            }
            members.insert(name, member);
            if members.len() > MAX_MEMBERS {
                return Err(unusable("has more than a million files"));
            }
        }
        // The layout may be in a folder of the tar file.
        let Some(folder) = marker else { return Err(LayoutError::NoLayout { path: path.to_owned() }) };
        let members = members
            .into_iter()
            .filter_map(|(name, member)| Some((name.strip_prefix(&folder)?.to_owned(), member)))
            .collect();
        Ok(Self { path: path.to_owned(), file, members })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn entries(&self) -> Result<Vec<LayoutEntry>, LayoutError> {
        verified::version(&self.bytes(MARKER, MAX_INDEX)?, &self.member_path(MARKER), VERSION)?;
        let index = self.bytes("index.json", MAX_INDEX)?;
        verified::entries(&index, &self.member_path("index.json"))
    }

    pub(super) fn read_manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest, LayoutError> {
        let name = blob_name(digest);
        let bytes = self.bytes(&name, verified::MAX_MANIFEST)?;
        verified::manifest(bytes, digest, media_type, &self.member_path(&name))
    }

    pub(super) fn check_blob(&self, digest: &Digest, size: u64) -> Result<(), LayoutError> {
        let name = blob_name(digest);
        verified::size(self.members.get(&name).map(|member| member.size), size, &self.member_path(&name))
    }

    /// Where a blob is, and how errors call it.
    pub(super) fn blob(&self, digest: &Digest) -> (Option<Member>, PathBuf) {
        let name = blob_name(digest);
        (self.members.get(&name).copied(), self.member_path(&name))
    }

    /// So many bytes at an offset.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn bytes(&self, name: &str, max: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.member_path(name);
        let member = self.members.get(name).ok_or_else(|| verified::damaged(&path, "is missing"))?;
        let length = usize::try_from(member.size).ok().filter(|_| member.size <= max);
        let length =
            length.ok_or_else(|| verified::damaged(&path, format!("is too long, with {} bytes", member.size)))?;
        self.read_at(member.offset, length).map_err(LayoutError::io("read", path))
    }

    /// As errors call it: the tar file, and the member in it.
    fn member_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
