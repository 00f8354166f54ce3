//! How a node's life ends: signals at every moment of its start and under load.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use csf_sim::SeededRng;

use crate::scratch::Scratch;
use crate::world::{csf, json};

/// Lines that a start prints: one for each of its eleven phases.
const PHASES: u64 = 11;

fn kill(child: &Child, name: &str) {
    // It may have ended by itself meanwhile.
    let _ = Command::new("kill").args([name, &child.id().to_string()]).stderr(Stdio::null()).status();
}

/// A signal after a seeded number of phases and a seeded number of turns after that.
#[test]
fn a_signal_at_any_moment_of_the_start_ends_it_in_order() {
    let mut untouched = 0;
    for seed in 0..24 {
        let mut rng = SeededRng::new(seed);
        let state = Scratch::new();
        let journal = state.join("journal").display().to_string();
        let mut child = csf(&state, &["up", "--demo", "--listen", "127.0.0.1:0", "--journal", &journal])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (phases, turns) = (rng.below(PHASES + 1), rng.below(20_000));
        let mut said = String::new();
        for _ in 0..phases {
            assert!(lines.read_line(&mut said).unwrap() > 0, "seed {seed}: the node ended early\n{said}");
        }
        (0..turns).for_each(|_| std::thread::yield_now());
        kill(&child, if rng.below(2) == 0 { "-INT" } else { "-TERM" });
        lines.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        if code.is_none() {
            // The signal came before the listeners: then nothing was touched yet.
            assert!(
                phases == 0 && !state.join("journal").exists(),
                "seed {seed}: killed after {phases} phases\n{said}"
            );
            untouched += 1;
            continue;
        }
        assert_eq!(code, Some(0), "seed {seed}, after {phases} phases\n{said}");
        assert!(!state.join("journal/api.token").exists(), "seed {seed}: the token stays behind");
        let nodes = std::fs::read_dir(state.join("nodes")).into_iter().flatten().count();
        assert_eq!(nodes, 0, "seed {seed}: the node's file stays behind");
        if phases > 4 {
            // Phase 4 has written the start into the journal.
            assert_eq!(json(&state, &["replay", &journal, "--json"])["equal"], true, "seed {seed}");
        }
    }
    assert!(untouched < 12, "{untouched} of 24 signals came before anything");
}
