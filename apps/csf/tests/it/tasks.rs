//! Workflows and tasks of the real binary: agents in the node and beside it, runs from the command line, and kills in the middle.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scratch::Scratch;
use crate::world::{Running, csf, failure, json, run, text};

/// A node with an agent inside: a program under its supervisors.
const CONFIG: &str = r#"
[node]
name = "tasks"

[source.upper]
type = "task.command"
kinds = ["upper"]
command = ["tr", "a-z", "A-Z"]
"#;

fn node(state: &Scratch) -> Running {
    let (config, journal) = (state.write("csf.toml", CONFIG), state.join("journal").display().to_string());
    Running::up(state, &["up", "--config", &config, "--journal", &journal, "--listen", "127.0.0.1:0"])
}

/// Asks again until it is as wanted; each look runs a process or makes a request, which is pause enough.
#[expect(clippy::disallowed_methods, reason = "a test on the real binary lives in real time")]
fn wait_for_condition(what: &str, limit: Duration, mut look: impl FnMut() -> Option<Value>) -> Value {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
    }
}

const ASSIGNED: Duration = Duration::from_secs(10);
const ENDED: Duration = Duration::from_secs(60);

fn task(state: &Scratch, id: &str) -> Value {
    json(state, &["task", "show", id, "--json"])
}

fn in_state(state: &Scratch, id: &str, wanted: &str, limit: Duration) -> Value {
    wait_for_condition(wanted, limit, || Some(task(state, id)).filter(|task| task["state"] == wanted))
}

/// An agent beside the node, killed when it is dropped.
struct Agent(Child);

impl Agent {
    fn start(state: &Scratch, name: &str, script: &str) -> Self {
        let words = ["task", "work", "--kind", "slow", "--agent", name, "--", "sh", "-c", script];
        Self(csf(state, &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A request with the node's token.
fn ask(node: &Running, state: &Scratch, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (token, url) = (node.token(state), format!("http://{}/api/v1{path}", node.address));
    let header = format!("authorization: Bearer {token}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "\n%{http_code}", "-X", method, "-H", &header, "-H", "content-type: application/json"]);
    let output = curl.args(["-d", body, &url]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or_default())
}

/// FRM-094: a task is submitted, an agent under supervision gets it, its result is read.
#[test]
fn test_agent_task_flow() {
    let state = Scratch::new();
    let node = node(&state);
    let (status, answer) = ask(&node, &state, "POST", "/tasks", r#"{"kind":"upper","input":{"word":"abc"}}"#);
    assert_eq!(status, 201, "{answer}");
    let id = answer["id"].as_str().unwrap();
    let assigned =
        wait_for_condition("assigned", ASSIGNED, || Some(task(&state, id)).filter(|t| t["assigned_agent"] == "upper"));
    assert_eq!(assigned["attempt"], 1);
    let done = in_state(&state, id, "completed", ENDED);
    assert_eq!(done["result"]["success"], true);
    assert_eq!(done["result"]["output"]["WORD"], "ABC");

    // A worker from outside is killed in the middle; another one does the task.
    let mark = state.join("begun");
    let script = format!("touch {}; sleep 600", mark.display());
    let first = Agent::start(&state, "first", &script);
    let submit = ["task", "submit", "slow", r#"{"n":1}"#, "--id", "handed-on", "--lease", "2s"];
    assert_eq!(text(&state, &submit).trim(), "handed-on");
    assert_eq!(text(&state, &submit).trim(), "handed-on", "once under one id");
    in_state(&state, "handed-on", "running", ASSIGNED);
    wait_for_condition("the program runs", ASSIGNED, || {
        task(&state, "handed-on");
        mark.exists().then_some(Value::Null)
    });
    let history = json(&state, &["workflow", "history", "handed-on", "--json"]);
    let token = history[1]["payload"]["take"]["token"].as_str().unwrap_or_else(|| panic!("{history}")).to_owned();
    drop(first);
    let second = Agent::start(&state, "second", r#"cat; test "$CSF_TASK_ATTEMPT" = 2"#);
    let done = in_state(&state, "handed-on", "completed", ENDED);
    assert_eq!((&done["assigned_agent"], &done["result"]["output"]["n"]), (&"second".into(), &1.into()));
    assert!(done["last_failure"].as_str().unwrap().contains("`first` was not heard of"), "{done}");
    let late = format!(r#"{{"token":"{token}","output":"too late"}}"#);
    let (status, refused) = ask(&node, &state, "POST", "/tasks/handed-on/complete", &late);
    assert_eq!((status, &refused["error"]["code"]), (409, &"CSF-0316".into()), "{refused}");
    drop(second);

    // The node is killed while a worker is at work; what it hands in afterwards counts.
    let go = state.join("go");
    let script = format!("while ! test -e {}; do sleep 0.05; done; echo 7", go.display());
    let third = Agent::start(&state, "third", &script);
    text(&state, &["task", "submit", "slow", "--id", "over-a-crash", "--lease", "60s"]);
    in_state(&state, "over-a-crash", "running", ASSIGNED);
    text(&state, &["task", "submit", "nobody-does-this", "--id", "waits"]);
    drop(node);
    let node = self::node(&state);
    assert_eq!(task(&state, "over-a-crash")["assigned_agent"], "third");
    assert_eq!(task(&state, "waits")["state"], "queued");
    assert_eq!(task(&state, "handed-on")["result"]["output"]["n"], 1, "no result is lost");
    std::fs::write(go, "").unwrap();
    let done = in_state(&state, "over-a-crash", "completed", ENDED);
    assert_eq!((&done["result"]["output"], &done["attempt"]), (&7.into(), &1.into()));
    drop(third);

    assert!(text(&state, &["task", "cancel", "waits", "--reason", "nobody does it"]).contains("not wanted"));
    assert_eq!(task(&state, "waits")["state"], "cancelled");
    assert_eq!(json(&state, &["task", "ls", "--state", "completed", "--json"]).as_array().map(Vec::len), Some(3));
    assert!(failure(&state, &["task", "show", "nothing"]).contains("CSF-0315"));
    let (status, bad) = ask(&node, &state, "POST", "/tasks", r#"{"kind":"x","lease_ms":1}"#);
    assert_eq!((status, &bad["error"]["code"]), (422, &"CSF-0305".into()), "{bad}");
}

#[test]
fn an_agent_says_why_a_task_is_not_done_and_stops_after_its_last_one() {
    let state = Scratch::new();
    let _node = node(&state);
    for (id, attempts) in [("wrong", "5"), ("breaks", "2")] {
        text(&state, &["task", "submit", "slow", &format!("\"{id}\""), "--id", id, "--attempts", attempts]);
    }
    let script = r#"echo "it says: $(cat)" >&2; test "$CSF_TASK_ID" = wrong && exit 65; exit 3"#;
    let words = ["task", "work", "--kind", "slow", "--agent", "a", "--count", "3", "--", "sh", "-c", script];
    assert!(run(&state, &words).status.success());
    for (id, attempt) in [("wrong", 1), ("breaks", 2)] {
        let task = task(&state, id);
        assert_eq!((&task["state"], &task["attempt"]), (&"failed".into(), &attempt.into()), "{task}");
        let error = task["result"]["error"].as_str().unwrap();
        assert!(error.contains(&format!("it says: \"{id}\"")), "{error}");
    }
    let words = ["task", "work", "--kind", "slow", "--", "/nowhere/at-all"];
    text(&state, &["task", "submit", "slow", "--id", "kept", "--attempts", "1"]);
    assert!(failure(&state, &words).contains("cannot be started"));
    assert_eq!(task(&state, "kept")["state"], "queued", "an agent that cannot work takes no attempt");
}

#[test]
fn runs_are_started_looked_at_told_reset_and_ended_from_the_command_line() {
    let state = Scratch::new();
    let node = node(&state);
    assert!(text(&state, &["workflow", "ls"]).contains("agent-task"), "who has none is told what there is");
    let input = r#"{"kind":"by-hand","input":1}"#;
    let request = "01939d2b-6a4e-7c1f-b5f2-0e3a1c8d9b70";
    for _ in 0..2 {
        text(&state, &["workflow", "start", "agent-task", "run-1", input, "--request", request]);
    }
    let taken = failure(&state, &["workflow", "start", "agent-task", "run-1", input]);
    assert!(taken.contains("CSF-0314") && taken.contains("exists already"), "{taken}");
    let unknown = failure(&state, &["workflow", "start", "agent-tusk", "run-2", input]);
    assert!(unknown.contains("CSF-0313") && unknown.contains("agent-task"), "{unknown}");
    let near = failure(&state, &["workflow", "show", "run-7"]);
    assert!(near.contains("CSF-0313") && near.contains("did you mean `run-1`"), "{near}");
    text(&state, &["workflow", "signal", "run-1", "hello", r#"{"from":"a test"}"#]);

    let (status, polled) = ask(&node, &state, "POST", "/tasks/poll", r#"{"agent":"hand","kinds":["by-hand"]}"#);
    assert_eq!(
        (status, &polled["tasks"][0]["id"]),
        (200, &"run-1".into()),
        "started past the desk, and there all the same"
    );
    let token = polled["tasks"][0]["token"].as_str().unwrap();
    let beat = format!(r#"{{"token":"{token}","progress":{{"share":0.5}}}}"#);
    assert_eq!(ask(&node, &state, "POST", "/tasks/run-1/heartbeat", &beat).1["lease_ms"], 30_000);
    assert_eq!(task(&state, "run-1")["progress"]["share"], 0.5);
    let done = format!(r#"{{"token":"{token}","output":2}}"#);
    assert_eq!(ask(&node, &state, "POST", "/tasks/run-1/complete", &done).0, 200);

    let shown = json(&state, &["workflow", "show", "run-1", "--json"]);
    assert_eq!((&shown["status"], &shown["result"], &shown["run"]), (&"completed".into(), &2.into(), &0.into()));
    let history = text(&state, &["workflow", "history", "run-1"]);
    assert!(history.contains("signal_received") && history.lines().count() == 7, "{history}");
    assert!(text(&state, &["workflow", "diff"]).contains("1 histories replayed, 0 part"));
    let late = failure(&state, &["workflow", "signal", "run-1", "hello"]);
    assert!(late.contains("CSF-0314") && late.contains("has ended"), "{late}");

    let beyond = failure(&state, &["workflow", "reset", "run-1", "--to", "7"]);
    assert!(beyond.contains("1 to 6"), "{beyond}");
    let reset = json(&state, &["workflow", "reset", "run-1", "--to", "1", "--reason", "once more", "--json"]);
    assert_eq!((&reset["run"], &reset["status"]), (&1.into(), &"running".into()));
    let history = json(&state, &["workflow", "history", "run-1", "--json"]);
    assert_eq!((&history[0]["resets"][0]["to"], &history[1]["name"]), (&1.into(), &"hello".into()), "{history}");
    assert_eq!(task(&state, "run-1")["state"], "queued", "an agent gets it again");
    text(&state, &["workflow", "cancel", "run-1", "--reason", "enough"]);
    let listed = json(&state, &["workflow", "ls", "--status", "failed", "--workflow", "agent-task", "--json"]);
    assert_eq!((&listed[0]["id"], listed.as_array().map(Vec::len)), (&"run-1".into(), Some(1)));
    assert!(text(&state, &["workflow", "ls", "--status", "running"]).contains("no run fits"));

    text(&state, &["workflow", "start", "agent-task", "run-2", input]);
    assert!(text(&state, &["workflow", "terminate", "run-2"]).contains("failed now"));
    let forged = failure(&state, &["events", "append", "workflow-run-3", "started", "{}"]);
    assert!(forged.contains("CSF-0305") && forged.contains("history of a workflow run"), "{forged}");
}

#[test]
fn a_run_answers_queries_and_carries_out_or_refuses_updates() {
    let state = Scratch::new();
    let node = node(&state);
    text(&state, &["workflow", "start", "agent-task", "run-1", r#"{"kind":"by-hand","input":1}"#]);
    let seen = json(&state, &["workflow", "query", "run-1", "task"]);
    assert_eq!((&seen["request"]["kind"], &seen["attempt"]), (&"by-hand".into(), &0.into()), "{seen}");
    let unknown = failure(&state, &["workflow", "query", "run-1", "tusk"]);
    assert!(unknown.contains("CSF-0314") && unknown.contains(r#"it answers ["task"]"#), "{unknown}");
    let unknown = failure(&state, &["workflow", "update", "run-1", "mvoe"]);
    assert!(unknown.contains("CSF-0314") && unknown.contains(r#"it takes ["move"]"#), "{unknown}");
    let done = r#"{"complete":{"token":"none","output":2}}"#;
    let refused = failure(&state, &["workflow", "update", "run-1", "move", done]);
    assert!(refused.contains("CSF-0314") && refused.contains("the task waits for another agent"), "{refused}");
    let bad = failure(&state, &["workflow", "update", "run-1", "move", "7"]);
    assert!(bad.contains("update does not have the expected form"), "{bad}");
    assert_eq!(json(&state, &["workflow", "history", "run-1", "--json"]).as_array().unwrap().len(), 1, "no trace");

    let (take, request) = (r#"{"take":{"agent":"hand","token":"mine"}}"#, "01939d2b-6a4e-7c1f-b5f2-0e3a1c8d9b71");
    for _ in 0..2 {
        let words = ["workflow", "update", "run-1", "move", take, "--request", request, "--json"];
        let answer = json(&state, &words);
        assert_eq!((&answer["answer"], &answer["request"]), (&Value::Null, &request.into()), "answered as before");
    }
    assert_eq!(json(&state, &["workflow", "history", "run-1", "--json"]).as_array().unwrap().len(), 3, "and done once");
    assert_eq!(ask(&node, &state, "POST", "/tasks/run-1/heartbeat", r#"{"token":"mine"}"#).0, 200, "the desk knows");
    let body = r#"{"name":"move","wait_ms":60001}"#;
    let (status, long) = ask(&node, &state, "POST", "/workflows/run-1/update", body);
    assert_eq!((status, &long["error"]["code"]), (400, &"CSF-0307".into()), "{long}");
}
