//! The measurement of tasks checks what it measures.

use std::process::Command;

#[test]
fn tasks_at_once_are_all_done_and_their_results_are_right() {
    let output = Command::new(env!("CARGO_BIN_EXE_07_agent_tasks")).args(["10", "100"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("every result was checked") && said.contains("of that at 100"), "{said}");
}
