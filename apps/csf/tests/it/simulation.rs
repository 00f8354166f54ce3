//! `csf sim`: what holds under every fault, bugs put in on purpose that are found, and one seed that is one story.

use crate::scratch::Scratch;
use crate::world::{json, run, text};

#[test]
fn what_must_hold_holds_under_every_fault() {
    let state = Scratch::new();
    let report = json(&state, &["sim", "--demo", "--seeds", "8", "--for", "4s", "--json"]);
    assert_eq!((&report["seeds"], &report["broken"]), (&8.into(), &0.into()), "{report}");
    for happened in ["acknowledged", "crashes", "torn_writes", "lost_messages", "reloads", "service_restarts"] {
        assert!(report[happened].as_u64() > Some(0), "{happened} never happened: {report}");
    }
    let told = text(&state, &["sim", "--demo", "--seeds", "2", "--for", "1s", "--faults", "none"]);
    assert!(told.contains("everything held") && told.contains(" 0 crashes"), "{told}");
}

#[test]
fn a_bug_put_in_on_purpose_is_found_with_its_seed() {
    let state = Scratch::new();
    for (plant, words) in
        [("open-cut", "before its cause"), ("lying-disk", "was acknowledged and is not in the journal")]
    {
        let output = run(&state, &["sim", "--demo", "--seeds", "8", "--for", "4s", "--plant", plant]);
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(!output.status.success() && told.contains(words) && told.contains("repeat it with: csf sim"), "{told}");
    }
}

#[test]
fn a_seed_is_one_story() {
    let state = Scratch::new();
    let told = || text(&state, &["sim", "--demo", "--seed", "7", "--for", "2s", "--trace"]);
    let first = told();
    assert!(first.lines().last().unwrap().starts_with("digest "), "{first}");
    assert_eq!(first, told());
}
