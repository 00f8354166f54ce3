//! A node of the binary whose configuration changes: by its file, by SIGHUP, by `csf config reload`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{csf, failure, json, run, text};

const CONFIG: &str = r#"
[node]
name = "lab"

[source.machine]
type = "host.telemetry"
writes = { cpu = "host.cpu", memory = "host.memory" }

[component.watch]
type = "host.watch"
reads = ["host.cpu"]
writes = { anomaly = "host.anomaly" }
"#;

/// A node that does not outlive its test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn part<'a>(parts: &'a Value, name: &str) -> &'a Value {
    parts["components"].as_array().unwrap().iter().find(|part| part["name"] == name).unwrap()
}

#[test]
fn a_file_that_changes_is_taken_and_a_bad_one_is_refused() {
    let state = Scratch::new();
    let file = state.join("csf.toml");
    std::fs::write(&file, CONFIG).unwrap();
    let mut node = csf(&state, &["up", "--watch", "--listen", "127.0.0.1:0", "--journal", "journal"]);
    let mut node = Ends(node.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(node.0.stderr.take().unwrap()).lines();
    let mut until = |beginning: &str| {
        let mut said = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no line begins with {beginning}:\n{said}")).unwrap();
            let is_it = line.starts_with(beginning);
            said.push_str(&line);
            said.push('\n');
            if is_it {
                return said;
            }
        }
    };
    until("Ctrl-C stops it");

    // The file is seen, the plan is told.
    std::fs::write(&file, CONFIG.replace("[\"host.cpu\"]", "[\"host.cpu\", \"host.memory\"]")).unwrap();
    until("the file changed: configuration 1");
    let plan = until("= ");
    assert!(plan.starts_with("~ component watch: goes on with its state, connected anew"), "{plan}");
    assert!(plan.contains("reads: [\"host.cpu\"] -> [\"host.cpu\", \"host.memory\"]"), "{plan}");

    // A slip of the finger is shown with its place, and nothing changes.
    std::fs::write(&file, CONFIG.replace("reads =", "raise_sigma = 7.0\nreads =")).unwrap();
    let refused = until("error[CSF-0118]");
    assert!(refused.contains("did you mean `raise_sigmas`?"), "{refused}");
    let by_hand = failure(&state, &["config", "reload"]);
    assert!(by_hand.contains("csf.toml:11:1: [CSF-0103] unknown key `raise_sigma`"), "{by_hand}");
    assert!(by_hand.contains("the configuration has 1 problem; the old one stays in force"), "{by_hand}");

    assert_eq!(run(&state, &["config", "reload"]).status.code(), Some(2));

    // What needs another start is refused whole; a dry run says so with the exit code of a bad configuration.
    std::fs::write(&file, CONFIG.replace("name = \"lab\"", "name = \"ground\"")).unwrap();
    let output = run(&state, &["config", "reload", "--dry-run", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["problems"][0]["code"], "CSF-0117");
    assert!(answer["error"]["problems"][0]["message"].as_str().unwrap().contains("`node.name` cannot change"));

    // SIGHUP, with another instance of the component and the source untouched.
    std::fs::write(&file, CONFIG.replace("reads =", "raise_sigmas = 7.0\nreads =")).unwrap();
    let plan = text(&state, &["config", "reload", "--dry-run"]);
    assert!(plan.contains("raise_sigmas: (default) -> 7.0"), "{plan}");
    let hangup = Command::new("kill").args(["-HUP", &node.0.id().to_string()]).status().unwrap();
    assert!(hangup.success());
    loop {
        // The file is watched too, and may have been first.
        let parts = json(&state, &["status", "--json"]);
        if part(&parts, "watch")["incarnation"] == 2 {
            assert_eq!(part(&parts, "machine")["incarnation"], 1);
            break;
        }
    }
    assert!(Command::new("kill").arg(node.0.id().to_string()).status().unwrap().success());
    assert_eq!(node.0.wait().unwrap().code(), Some(0));

    // The journal tells it all, and replays equal.
    let replayed = json(&state, &["replay", "journal", "--json"]);
    assert_eq!(replayed["equal"], true, "{replayed}");
}
