//! `alumiini-git`, the program. It lives in the library beside, so that the fuzz target reaches it.

fn main() -> std::process::ExitCode {
    alumiini_git::run()
}
