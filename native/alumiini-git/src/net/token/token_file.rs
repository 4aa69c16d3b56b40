//! A file in which somebody keeps a token for us, and replaces it before it ends.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{Error, Key, Kind, Name, Result, panicked};

/// No token is longer: one of 16 KiB is too long for most servers' headers already.
const MAX_BYTES: u64 = 64 << 10;

/// The token in the file at `path`, without the white space around it. It is read anew each time.
///
/// `io` where there is no such file, or it cannot be read; `auth` where it holds no token.
pub(super) async fn read(path: &Path) -> Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read_now(&path))
        .await
        .map_err(|_| panicked())?
}

fn read_now(path: &Path) -> Result<String> {
    let failed = |error| Error::io("read the file with the token,", path, &error);
    // A pipe that nobody writes to would hold the thread.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    let useless = |why: &str| {
        let message = format!("the file {} {why}, so it is no token", path.display());
        Err(Error::new(Kind::Auth, message).with(Key::Path, Name::of(path)))
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return useless("is no regular file");
    }
    let mut bytes = vec![];
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return useless("has more than 64 KiB");
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") => useless("is empty"),
        Ok(token) => Ok(token.to_owned()),
        Err(_) => useless("is not text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_text_of_a_bounded_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let error = read(&path).await.unwrap_err();
        assert_eq!(error.kind, Kind::Io);
        assert!(error.message.contains("token"), "{error}");
        std::fs::write(&path, "\n  a.b.c \n").unwrap();
        assert_eq!(read(&path).await.unwrap(), "a.b.c");
        for (bytes, says) in [
            (vec![], "empty"),
            (b" \n".to_vec(), "empty"),
            (vec![0xff; 10], "text"),
            (vec![b'a'; (64 << 10) + 1], "64 KiB"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).await.unwrap_err();
            assert_eq!(error.kind, Kind::Auth);
            assert!(error.message.contains(says), "{error}");
        }
        let error = read(dir.path()).await.unwrap_err();
        assert!(error.message.contains("no regular file"), "{error}");
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let error = read(&pipe).await.unwrap_err();
        assert!(error.message.contains("no regular file"), "{error}");
    }
}
