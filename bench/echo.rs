//! Sends back each frame that it is sent. So the benchmark measures what a port costs when the
//! program behind it does nothing.

use std::fs::File;
use std::io::{Read, Write, stdin, stdout};
use std::os::fd::AsFd;

fn main() -> std::io::Result<()> {
    let mut input = stdin().lock();
    // A file, since `stdout()` looks for the ends of lines.
    let mut output = File::from(stdout().as_fd().try_clone_to_owned()?);
    let mut frame = Vec::new();
    loop {
        frame.resize(4, 0);
        if input.read_exact(&mut frame).is_err() {
            return Ok(());
        }
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(4 + length, 0);
        input.read_exact(&mut frame[4..])?;
        output.write_all(&frame)?;
    }
}
