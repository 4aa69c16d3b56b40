use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::*;

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// Exports one file that says `text`.
    fn export(&self, text: &str, is_link: bool, grace: Duration) -> Result<()> {
        let dest = Dest::find(&self.path("out"), None)?;
        let lock = dest.try_lock()?.unwrap();
        let export = Export::new(&dest, &lock, grace)?;
        export.directory("c", is_link, &Job::unattended(), |sink| {
            sink.file(b"a/b/app.yaml", false, text.as_bytes())?;
            sink.file(b"a/run.sh", true, b"x")?;
            sink.link(b"a/link", b"b/app.yaml")?;
            sink.submodule(b"module")
        })
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("out/a/b/app.yaml")).unwrap()
    }

    fn beside(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path(".out.alumiini")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_directory_takes_the_place_of_the_one_before() {
    let fixture = Fixture::new();
    for text in ["1", "2", "3"] {
        fixture.export(text, false, Duration::ZERO).unwrap();
        assert_eq!(fixture.text(), text);
        assert_eq!(fixture.beside(), ["made"]);
    }
    let mode = |name| {
        fs::metadata(fixture.path(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("out/a/run.sh") & 0o100, 0o100);
    assert_eq!(mode("out/a/b/app.yaml") & 0o100, 0);
    let link = fs::read_link(fixture.path("out/a/link")).unwrap();
    assert_eq!(link, Path::new("b/app.yaml"));
    assert!(fixture.path("out/module").is_dir());
}

#[test]
fn a_link_is_moved_and_what_it_led_to_stays_for_a_while() {
    let fixture = Fixture::new();
    let hour = Duration::from_secs(3_600);
    fixture.export("1", true, hour).unwrap();
    let first = fs::read_link(fixture.path("out")).unwrap();
    fixture.export("2", true, hour).unwrap();
    assert_eq!(fixture.text(), "2");
    let old = fixture.path("").join(&first).join("a/b/app.yaml");
    assert_eq!(fs::read_to_string(old).unwrap(), "1");
    fixture.export("3", true, Duration::ZERO).unwrap();
    assert_eq!(fixture.text(), "3");
    assert_eq!(fixture.beside().len(), 1);
    // The one becomes the other.
    fixture.export("4", false, Duration::ZERO).unwrap();
    assert!(!fixture.path("out").is_symlink());
    fixture.export("5", true, Duration::ZERO).unwrap();
    assert!(fixture.path("out").is_symlink());
    assert_eq!(fixture.text(), "5");
}

#[test]
fn what_no_export_made_is_not_replaced() {
    let fixture = Fixture::new();
    let kept = fixture.path("out/theirs");
    fs::create_dir(fixture.path("out")).unwrap();
    for is_link in [false, true] {
        // Empty, it may be taken.
        fixture.export("1", is_link, Duration::ZERO).unwrap();
        match is_link {
            true => fs::remove_file(fixture.path("out")).unwrap(),
            false => fs::remove_dir_all(fixture.path("out")).unwrap(),
        }
        fs::create_dir(fixture.path("out")).unwrap();
    }
    fs::write(&kept, "theirs").unwrap();
    let before = fixture.beside();
    for is_link in [false, true] {
        let error = fixture.export("2", is_link, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind, Kind::Occupied);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "theirs");
        assert_eq!(fixture.beside(), before);
    }
    fs::remove_dir_all(fixture.path("out")).unwrap();
    std::os::unix::fs::symlink("/etc", fixture.path("out")).unwrap();
    let error = fixture.export("3", true, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind, Kind::Occupied);
    fs::remove_dir_all(fixture.path(".out.alumiini")).unwrap();
    std::os::unix::fs::symlink("/etc", fixture.path(".out.alumiini")).unwrap();
    let error = fixture.export("4", true, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind, Kind::UnsafePath);
}

#[test]
fn one_that_fails_or_was_interrupted_leaves_nothing() {
    let fixture = Fixture::new();
    fixture.export("1", false, Duration::ZERO).unwrap();
    let dest = Dest::find(&fixture.path("out"), None).unwrap();
    let lock = dest.try_lock().unwrap().unwrap();
    assert!(dest.try_lock().unwrap().is_none());
    let export = Export::new(&dest, &lock, Duration::ZERO).unwrap();
    let failed = export.directory("c", false, &Job::unattended(), |sink| {
        sink.file(b"half", false, b"x")?;
        Err::<(), _>(Error::invalid("no more"))
    });
    assert!(failed.is_err());
    assert_eq!(fixture.beside(), ["made"]);
    drop(lock);
    fs::create_dir_all(fixture.path(".out.alumiini/c-0/half")).unwrap();
    fixture.export("2", false, Duration::ZERO).unwrap();
    assert_eq!(fixture.beside(), ["made"]);
    assert_eq!(fixture.text(), "2");
}

/// The bytes are part of what is promised: whoever changes them says so in the changelog.
#[test]
fn an_archive_is_the_same_bytes_everywhere() {
    let fixture = Fixture::new();
    let long = [&b"d/".repeat(80)[..], b"\xff.yaml"].concat();
    let text: String = (0..20_000)
        .map(|n| format!("key{}: {}\n", n % 97, n * n))
        .collect();
    let mut digests = Vec::new();
    for name in ["one.tar.gz", "two.tar.gz"] {
        let dest = Dest::find(&fixture.path(name), None).unwrap();
        let lock = dest.try_lock().unwrap().unwrap();
        let export = Export::new(&dest, &lock, Duration::ZERO).unwrap();
        let digest = export.file("c", &Job::unattended(), |file: File| {
            let mut archive = Archive::new(file, 1_700_000_000, Path::new(name))?;
            archive.file(b"a/app.yaml", false, text.as_bytes())?;
            archive.file(b"a/run.sh", true, b"#!/bin/sh\n")?;
            archive.file(&long, false, b"")?;
            archive.link(b"link", b"a/app.yaml")?;
            archive.submodule(b"module")?;
            archive.end()
        });
        digests.push(digest.unwrap());
    }
    let golden = "bc79160754bf2151ac03bf4407be3a931770c037cce18f308c75a01aae04a738";
    assert_eq!(digests, [golden, golden]);
    let mut bytes = Vec::new();
    let file = File::open(fixture.path("one.tar.gz")).unwrap();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    let mut read = tar::Archive::new(&bytes[..]);
    let entries = read.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let head = entry.header();
        assert_eq!(head.mtime().unwrap(), 1_700_000_000);
        (entry.path_bytes().to_vec(), head.mode().unwrap())
    });
    let expected = [
        (b"a/app.yaml".to_vec(), 0o644),
        (b"a/run.sh".to_vec(), 0o755),
        (long.clone(), 0o644),
        (b"link".to_vec(), 0o777),
        (b"module/".to_vec(), 0o755),
    ];
    assert_eq!(entries.collect::<Vec<_>>(), expected);
}
