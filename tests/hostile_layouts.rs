//! Layouts that are not what they seem: `load` tells it, with what to do, and reads no more than it must.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use tempfile::TempDir;

use crate::{
    mirroring::index,
    support::{Access, Finished, Program, Registry, deployment, list},
};

async fn layout(name: &str) -> TempDir {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push(&format!("team/{name}"), "1", &index(name)).await;
    let folder = tempfile::tempdir().unwrap();
    let sync = Program::new(&["sync", "-f", "-"]).stdin(&list(&[deployment(name).image(&image).manifest()]));
    sync.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path()).run().await.assert_code(0);
    folder
}

/// Loads into a registry that must not be written to.
async fn refused(layout: &Path, target: &Registry) -> Finished {
    let load = Program::new(&["load"]).arg(layout).env("TARGET_KIND", "docker");
    let finished = load.env("TARGET_REGISTRY", target.host()).run().await.assert_code(1);
    let requests = target.take_requests();
    assert!(requests.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{requests:#?}");
    finished
}

fn tar(folder: &Path, arguments: &[&OsStr]) {
    assert!(Command::new("tar").arg("-C").arg(folder).args(arguments).status().unwrap().success());
}

#[tokio::test]
async fn a_tar_file_with_more_than_one_layout_is_refused() {
    let (one, two) = (layout("one").await, layout("two").await);
    let target = Registry::distribution(Access::Anonymous).await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::rename(one.keep(), at("one")).unwrap();
    fs::rename(two.keep(), at("two")).unwrap();
    let file = |name: &str| at(name).into_os_string();
    tar(folder.path(), &["-cf".as_ref(), &file("both.tar"), "one".as_ref(), "two".as_ref()]);
    // The folder of one holds the other.
    tar(&at("one"), &["-cf".as_ref(), &file("inner.tar"), ".".as_ref(), "../two".as_ref(), "-P".as_ref()]);
    // Another index.json for the same blobs.
    tar(&at("one"), &["-cf".as_ref(), &file("twice.tar"), ".".as_ref()]);
    tar(&at("two"), &["-rf".as_ref(), &file("twice.tar"), "index.json".as_ref()]);
    tar(&at("one"), &["-cf".as_ref(), &file("marked twice.tar"), ".".as_ref()]);
    tar(&at("one"), &["-rf".as_ref(), &file("marked twice.tar"), "./oci-layout".as_ref()]);
    tar(&at("two"), &["-cf".as_ref(), &file("two.tar"), ".".as_ref()]);
    let joined = [fs::read(at("two.tar")).unwrap(), fs::read(at("two.tar")).unwrap()].concat();
    fs::write(at("joined.tar"), joined).unwrap();
    for (name, message) in [
        ("both.tar", "has several image layouts, in \"one/\" and in \"two/\": put each into a tar file of its own"),
        ("inner.tar", "has several image layouts, in its root and in \"../two/\""),
        ("twice.tar", "has the file \"index.json\" twice: make it again from the layout's folder"),
        ("marked twice.tar", "has the file \"oci-layout\" twice"),
        ("joined.tar", "it is several tar files in one; load each by itself"),
    ] {
        let finished = refused(&at(name), &target).await;
        assert!(finished.stderr.contains(name) && finished.stderr.contains(message), "{name}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_layout_without_images_is_no_success() {
    let layout = layout("none").await;
    let target = Registry::distribution(Access::Anonymous).await;
    for (index, message) in [
        (r#"{"schemaVersion":2,"manifests":[]}"#, "has no images: its index.json names none; write them into it"),
        (r#"{"schemaVersion":2}"#, "has no images"),
        ("[]", "is damaged"),
    ] {
        fs::write(layout.path().join("index.json"), index).unwrap();
        let finished = refused(layout.path(), &target).await;
        let path = layout.path().display().to_string();
        assert!(finished.stderr.contains(&path) && finished.stderr.contains(message), "{}", finished.stderr);
    }
    fs::remove_file(layout.path().join("index.json")).unwrap();
    assert!(refused(layout.path(), &target).await.stderr.contains("index.json is missing"));
}

#[tokio::test]
async fn files_that_are_none_are_neither_waited_for_nor_read_for_ever() {
    let target = Registry::distribution(Access::Anonymous).await;
    for name in ["index.json", "oci-layout"] {
        let layout = layout("odd").await;
        let path = layout.path().join(name);
        type Make = fn(&Path);
        let kinds: [(Make, &str); 4] = [
            (|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()), "it is no regular file"),
            (|path| symlink("/dev/zero", path).unwrap(), "it is no regular file"),
            (|path| fs::create_dir(path).unwrap(), "it is no regular file"),
            // Of which nothing is on disk.
            (|path| File::create(path).unwrap().set_len(1 << 40).unwrap(), "it has more than"),
        ];
        for (make, message) in kinds {
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            make(&path);
            let finished = refused(layout.path(), &target).await;
            let told = format!("{} is damaged ({message}", path.display());
            assert!(finished.stderr.contains(&told), "{told}: {}", finished.stderr);
        }
    }
}

#[tokio::test]
async fn records_of_a_tar_file_that_claim_to_be_endless_are_refused() {
    let target = Registry::distribution(Access::Anonymous).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.tar");
    // Far more memory than the machine has.
    let size = 1 << 40;
    for kind in [tar::EntryType::GNULongName, tar::EntryType::XHeader] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        let mut file = File::create(&path).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.set_len(size + 1024).unwrap();
        let finished = refused(&path, &target).await;
        assert!(finished.stderr.contains("has a record of 1099511627776 bytes about one file"), "{}", finished.stderr);
    }
    // A file of this size is skipped.
    let mut header = tar::Header::new_gnu();
    header.set_path("large").unwrap();
    header.set_size(size);
    header.set_cksum();
    let mut file = File::create(&path).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(size + 1024).unwrap();
    assert!(refused(&path, &target).await.stderr.contains("it has no file oci-layout"));
}

#[tokio::test]
async fn a_sparse_file_in_a_tar_file_is_named() {
    let layout = layout("sparse").await;
    let target = Registry::distribution(Access::Anonymous).await;
    let index = layout.path().join("index.json");
    let holes = fs::OpenOptions::new().write(true).open(&index).unwrap();
    let length = holes.metadata().unwrap().len();
    holes.set_len(length + (1 << 20)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for format in ["--format=gnu", "--format=pax"] {
        let path = folder.path().join("sparse.tar");
        tar(layout.path(), &[format.as_ref(), "--sparse".as_ref(), "-cf".as_ref(), path.as_ref(), ".".as_ref()]);
        let finished = refused(&path, &target).await;
        let message = "index.json is stored as a sparse file: make the tar file without --sparse";
        assert!(finished.stderr.contains(message), "{format}: {}", finished.stderr);
    }
}
