use super::*;

#[test]
fn repositories_that_nobody_uses_are_forgotten() {
    let repos = Repos::default();
    for n in 0..10_000 {
        repos.at(format!("/no/such/place/{n}").into());
    }
    let held = repos.0.lock().unwrap().len();
    assert!(held < 1000, "{held}");
}
