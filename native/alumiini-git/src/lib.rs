//! `alumiini-git`: Git for the BEAM, over standard input and output. See `protocol/README.md`.

mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod net;
mod ops;
mod policy;
mod port;
mod reference;
mod registry;
mod remote;
mod repo;
mod selection;
mod server;
mod spec;
mod task;
mod worker;

use std::process::ExitCode;

#[cfg(not(unix))]
compile_error!("this version of alumiini-git runs on Unix systems");

const USAGE: &str = "alumiini-git: the worker of the Hex package alumiini_git

  alumiini-git             serve: frames in on standard input, frames out on standard output
  alumiini-git --version   version, protocol, libgit2, target
  alumiini-git --kill PID  end that process at once

A frame is a 4-byte big-endian length and one msgpack map; protocol/README.md describes them.";

/// The program: what `main` does.
pub fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|a| a.to_string_lossy().into_owned())
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => serve(),
        ["--version"] => {
            let (version, target) = (env!("CARGO_PKG_VERSION"), env!("TARGET"));
            println!(
                "alumiini-git {version} protocol {} libgit2 {} {target}",
                port::request::PROTOCOL,
                repo::libgit2_version()
            );
            ExitCode::SUCCESS
        }
        ["--kill", pid] => kill(pid),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> ExitCode {
    // A panic is answered as its request's error. What it says may hold anything, so only the place
    // is told.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => eprintln!("alumiini-git: panic at {place}"),
        None => eprintln!("alumiini-git: panic"),
    }));
    bound_heaps();
    if let Err(error) = repo::make_hermetic() {
        eprintln!("alumiini-git: cannot set libgit2 up: {error}");
        return ExitCode::FAILURE;
    }
    // Hundreds of repositories at once need more files open than the usual soft limit.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    server::serve()
}

/// glibc gives threads heaps of their own, up to eight per core, and each keeps what its busiest
/// moment took: with a thread for each pack that arrives, that is most of what stays resident. One
/// per core does.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the allocator has no other way to be told")]
fn bound_heaps() {
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 64));
    // SAFETY: sets a parameter of the allocator; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, cores as libc::c_int) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bound_heaps() {}

fn kill(pid: &str) -> ExitCode {
    let process = pid
        .parse()
        .ok()
        .filter(|pid| *pid > 1)
        .and_then(rustix::process::Pid::from_raw);
    let Some(process) = process else {
        eprintln!("alumiini-git: `{pid}` is not the id of a process");
        return ExitCode::from(2);
    };
    match rustix::process::kill_process(process, rustix::process::Signal::KILL) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errno) => {
            eprintln!(
                "alumiini-git: cannot end process {pid}: {}",
                std::io::Error::from(errno)
            );
            ExitCode::FAILURE
        }
    }
}
