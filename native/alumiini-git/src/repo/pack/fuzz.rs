//! What the fuzz target feeds: packs whose checksum is right and whose objects inflate, since noise
//! as it is gets no further than those.

use std::cell::OnceCell;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

use super::*;

/// Takes `noise` for a list of objects and deltas, packs them, and indexes that.
pub(crate) fn run(noise: &[u8]) {
    thread_local! {
        static PLACE: OnceCell<(PathBuf, tokio::runtime::Runtime, Turns)> =
            const { OnceCell::new() };
    }
    PLACE.with(|place| {
        let (git_dir, runtime, turns) = place.get_or_init(|| {
            let dir =
                std::env::temp_dir().join(format!("alumiini-git-fuzz-{}", std::process::id()));
            git2::Repository::init(&dir).expect("a repository to fuzz in");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            (dir.join(".git"), runtime, Turns::new(2))
        });
        let pack = Bytes::from(packed(noise));
        let (sender, chunks) = mpsc::channel(8);
        for piece in pack.chunks(pack.len() / 7 + 1) {
            sender
                .try_send(pack.slice_ref(piece))
                .expect("room for eight pieces");
        }
        drop(sender);
        let _inside = runtime.enter();
        let _ = index(
            git_dir,
            chunks,
            &AtomicBool::new(true),
            turns,
            &Job::unattended(),
        );
        let _ = fs::remove_dir_all(incoming(git_dir));
    });
}

/// Of each object: its form and kind in one byte, what it is a delta of in one, its length in one.
fn packed(mut noise: &[u8]) -> Vec<u8> {
    let (mut body, mut offsets, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    let mut count = 0u32;
    while let [form, base, length, rest @ ..] = noise {
        let (content, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        noise = rest;
        let kind = [1, 2, 3, 4, 6, 7, 6, 7][usize::from(form & 7)];
        let offset = body.len();
        // Now and then it lies about its size.
        let size = content.len() + usize::from(form >> 7);
        body.extend([kind << 4 | 0x80 | (size & 15) as u8, (size >> 4) as u8]);
        let base = usize::from(*base).min(offsets.len());
        match kind {
            6 => {
                let back = offset - offsets.get(base).copied().unwrap_or(offset);
                match back {
                    0..128 => body.push(back as u8),
                    _ => body.extend([((back >> 7) - 1) as u8 | 0x80, (back & 0x7f) as u8]),
                }
            }
            7 => body.extend(ids.get(base).copied().unwrap_or([7; 20])),
            _ => {}
        }
        let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
        let _ = deflate.write_all(content);
        body.extend(deflate.finish().unwrap_or_default());
        offsets.push(offset);
        let name = match kind {
            1 => "commit",
            2 => "tree",
            4 => "tag",
            _ => "blob",
        };
        let mut hash = Sha1::new();
        hash.update(format!("{name} {}\0", content.len()));
        hash.update(content);
        ids.push(hash.finalize().into());
        count += 1;
    }
    let mut pack = [b"PACK\0\0\0\x02", &count.to_be_bytes()[..], &body].concat();
    let sum = Sha1::digest(&pack);
    pack.extend(sum);
    pack
}
