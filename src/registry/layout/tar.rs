//! A layout in a tar file, which is read where it is: the members are listed once, and their bytes read at their offsets.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::{
    LayoutError,
    files::{self, MAX_INDEX, MAX_MARKER},
    folder::VERSION,
    index::LayoutEntry,
    tar_members::{self, Member, MembersError},
    verified,
};
use crate::{model::Digest, registry::manifest::Manifest};

/// The file that marks the folder of a layout.
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";

/// More than the name of any blob has.
const MAX_NAME: usize = 200;

/// The first bytes of gzip, zstd, bzip2 and xz.
const COMPRESSED: [&[u8]; 4] = [&[0x1f, 0x8b], &[0x28, 0xb5, 0x2f, 0xfd], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z']];

/// A layout in a tar file. All functions block.
pub struct LayoutTar {
    path: PathBuf,
    file: File,
    /// The files of the layout, by path below its folder.
    members: HashMap<String, Member>,
}

impl LayoutTar {
    /// Lists the members.
    pub(super) fn open(path: &Path) -> Result<Self, LayoutError> {
        let io = || LayoutError::io("read", path);
        let Some(file) = files::open(path)? else { return Err(io()(io::ErrorKind::NotFound.into())) };
        let unusable = |reason: &str| LayoutError::Unusable { path: path.to_owned(), reason: reason.to_owned() };
        let mut start = [0; 5];
        let read = file.read_at(&mut start, 0).map_err(io())?;
        if COMPRESSED.iter().any(|magic| start.get(..read).is_some_and(|start| start.starts_with(magic))) {
            return Err(unusable("is compressed: decompress it first"));
        }
        let failed = |error| match error {
            MembersError::Io(error) => io()(error),
            MembersError::Unusable(reason) => unusable(&reason),
        };
        // The layout may be in a folder of the tar file.
        let folder = only_folder(&file).map_err(failed)?;
        let folder = folder.ok_or_else(|| LayoutError::NoLayout { path: path.to_owned() })?;
        let members = members_below(&file, &folder).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file, members })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn entries(&self) -> Result<Vec<LayoutEntry>, LayoutError> {
        verified::version(&self.bytes(MARKER, MAX_MARKER)?, &self.member_path(MARKER), VERSION)?;
        let index = self.bytes(INDEX, MAX_INDEX)?;
        verified::entries(&index, &self.member_path(INDEX))
    }

    pub(super) fn read_manifest(&self, digest: &Digest, media_type: &str) -> Result<Manifest, LayoutError> {
        let name = blob_name(digest);
        let bytes = self.bytes(&name, verified::MAX_MANIFEST)?;
        verified::manifest(bytes, digest, media_type, &self.member_path(&name))
    }

    pub(super) fn check_blob(&self, digest: &Digest, size: u64) -> Result<(), LayoutError> {
        let (member, path) = self.blob(digest)?;
        verified::size(Some(member.size), size, &path)
    }

    /// Whether it has a blob that can be read.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.member(&blob_name(digest)).is_ok()
    }

    /// Where a blob is, and how errors call it.
    pub(super) fn blob(&self, digest: &Digest) -> Result<(Member, PathBuf), LayoutError> {
        let name = blob_name(digest);
        Ok((self.member(&name)?, self.member_path(&name)))
    }

    fn member(&self, name: &str) -> Result<Member, LayoutError> {
        match self.members.get(name) {
            None => Err(verified::damaged(&self.member_path(name), "is missing")),
            Some(member) if member.is_sparse => {
                let reason = "is stored as a sparse file: make the tar file without --sparse".to_owned();
                Err(LayoutError::Unusable { path: self.member_path(name), reason })
            }
            Some(member) => Ok(*member),
        }
    }

    /// So many bytes at an offset.
    pub(super) fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn bytes(&self, name: &str, max: u64) -> Result<Vec<u8>, LayoutError> {
        let path = self.member_path(name);
        let member = self.member(name)?;
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

/// The folder of the only layout in a tar file, with a slash at its end unless it is the root.
fn only_folder(file: &File) -> Result<Option<String>, MembersError> {
    let mut folder: Option<String> = None;
    tar_members::for_each(file, |name, _| {
        let Some(found) = name.strip_suffix(MARKER).filter(|found| found.is_empty() || found.ends_with('/')) else {
            return Ok(());
        };
        match folder.replace(found.to_owned()) {
            Some(other) if other != found => {
                let told = |folder: &str| if folder.is_empty() { "its root".to_owned() } else { format!("{folder:?}") };
                let (one, two) = (told(&other), told(found));
                Err(format!("has several image layouts, in {one} and in {two}: put each into a tar file of its own"))
            }
            _ => Ok(()),
        }
    })?;
    Ok(folder)
}

/// The files of the layout in `folder`; others are left out.
fn members_below(file: &File, folder: &str) -> Result<HashMap<String, Member>, MembersError> {
    let mut members = HashMap::new();
    tar_members::for_each(file, |name, member| {
        let Some(part) = name.strip_prefix(folder).filter(|part| is_of_a_layout(part)) else { return Ok(()) };
        match members.insert(part.to_owned(), member) {
            None => Ok(()),
            // Programs differ in which of them they read.
            Some(_) => Err(format!("has the file {name:?} twice: make it again from the layout's folder")),
        }
    })?;
    Ok(members)
}

fn is_of_a_layout(name: &str) -> bool {
    [MARKER, INDEX].contains(&name) || name.starts_with("blobs/") && name.len() <= MAX_NAME
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}
