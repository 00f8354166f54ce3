//! The public HTTP API of a running demo, spoken to as a stranger would.

use serde_json::{Value, json};

use crate::http::Request;
use crate::scratch::Scratch;
use crate::world::Running;

#[test]
fn strangers_other_hosts_and_other_pages_are_refused() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let ask = || Request::get("/api/v1/node");

    let nobody = ask().send(address);
    assert_eq!((nobody.status, nobody.code().as_str()), (401, "CSF-0301"));
    assert_eq!(ask().bearer("0123").send(address).status, 401);
    assert_eq!(ask().bearer(&token).send(address).status, 200);

    let rebound = ask().bearer(&token).with("Host", "evil.example:80").send(address);
    assert_eq!((rebound.status, rebound.code().as_str()), (421, "CSF-0302"));
    let foreign = ask().bearer(&token).with("Origin", "http://evil.example").send(address);
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "CSF-0303"));
    assert_eq!(ask().bearer(&token).with("Origin", format!("http://{address}")).send(address).status, 200);

    let page = Request::get("/").send(address);
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
    for path in ["/health/startup", "/health/live", "/health/ready"] {
        assert_eq!(Request::get(path).send(address).status, 200, "{path} wants no token");
    }
}

#[test]
fn the_printed_address_opens_the_console_once() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let path = node.login.strip_prefix(&format!("http://{}", node.address)).unwrap();
    let first = Request::get(path).send(&node.address);
    assert_eq!((first.status, first.header("location")), (303, Some("/")));
    let cookie = first.header("set-cookie").unwrap().to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    let session = cookie.split(';').next().unwrap();
    assert_eq!(Request::get("/api/v1/node").with("Cookie", session).send(&node.address).status, 200);
    let again = Request::get(path).send(&node.address);
    assert_eq!((again.status, again.code().as_str()), (401, "CSF-0301"));
}

#[cfg(unix)]
#[test]
fn the_token_is_readable_by_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let state = Scratch::new();
    let node = Running::demo(&state);
    let file = state.join("nodes").join(format!("{}.json", node.child.id()));
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_published_is_durable_has_an_author_and_can_be_read_back() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let landed = json!({ "measured_at_ns": 7, "is_landed": true });
    let publish = |body: &Value| Request::post("/api/v1/topics/nav.land", body).bearer(&token).send(address);

    let receipt = publish(&json!({ "payload": landed })).json();
    assert_eq!(receipt["durability"], "disk");
    let id = receipt["id"].as_str().unwrap();
    let packet = Request::get(&format!("/api/v1/packets/{id}")).bearer(&token).send(address).json();
    assert_eq!((&packet["payload"], &packet["topic"]), (&landed, &json!("nav.land")));
    assert!(!packet["author"].as_str().unwrap().is_empty());
    assert_eq!(packet["position"], receipt["position"]);
    let from = receipt["position"].as_u64().unwrap();
    let path = format!("/api/v1/topics/nav.land/history?from={from}&limit=10");
    let history = Request::get(&path).bearer(&token).send(address).json();
    assert_eq!(history["packets"][0]["id"], receipt["id"]);

    let before = Request::get("/api/v1/topics/nav.land/last").bearer(&token).send(address).json();
    assert_eq!(publish(&json!({ "payload": landed, "dry_run": true })).json(), json!({ "dry_run": true }));
    let after = Request::get("/api/v1/topics/nav.land/last").bearer(&token).send(address).json();
    assert_eq!(before["id"], after["id"], "a dry run publishes nothing");

    let misfit = publish(&json!({ "payload": { "is_landed": "yes" } }));
    assert_eq!((misfit.status, misfit.code().as_str()), (422, "CSF-0305"));
    let garbage = Request::post("/api/v1/topics/nav.land", "{").bearer(&token).send(address);
    assert_eq!((garbage.status, garbage.code().as_str()), (400, "CSF-0305"));
    let large = "x".repeat(3 << 20);
    assert_eq!(Request::post("/api/v1/topics/nav.land", large).bearer(&token).send(address).status, 413);
}

#[test]
fn a_guarded_topic_refuses_with_its_own_code_and_says_when_to_come_again() {
    let state = Scratch::new();
    let config = "[service.machine]\ntype = \"host.telemetry\"\nwrites = { cpu = \"host.cpu\" }\n\
                  [topic.\"host.cpu\"]\nresilience = \"gate\"\n\
                  [resilience.gate]\ncircuit_breaker = {}\nrate_limit = { calls = 1, per = \"1h\" }\n";
    std::fs::write(state.join("csf.toml"), config).unwrap();
    let node = Running::up(&state, &["up", "--listen", "127.0.0.1:0", "--journal", "journal"]);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let get = |path: &str| Request::get(path).bearer(&token).send(address);
    let own = loop {
        let last = get("/api/v1/topics/host.cpu/last");
        if last.status == 200 {
            break last.json()["payload"].take();
        }
    };
    let publish = || {
        let body = json!({ "payload": own });
        Request::post("/api/v1/topics/host.cpu", &body).bearer(&token).send(address)
    };
    assert_eq!(publish().json()["durability"], "disk");
    let refused = publish();
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3_600).contains(&retry_after), "{retry_after}");
    assert_eq!((refused.status, refused.code().as_str()), (429, "CSF-0703"));
    let guard = get("/api/v1/resilience").json()["guards"][0].take();
    assert_eq!((&guard["name"], &guard["attached"]), (&json!("gate"), &json!({ "topics": ["host.cpu"], "calls": [] })));
    assert_eq!((&guard["calls"], &guard["answered"], &guard["failed"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!((&guard["breaker"]["state"], &guard["rate_limit"]["limited"]), (&json!("closed"), &json!(1)));
    let top = crate::world::text(&state, &["top", "--once", "--interval", "1ms"]);
    assert!(top.contains("refused") && top.lines().last().unwrap().starts_with("gate"), "{top}");
    assert_eq!(crate::world::json(&state, &["status", "--json"])["guards"][0]["name"], "gate");
}

#[test]
fn the_registry_says_who_offers_what_to_the_api_and_the_command() {
    let state = Scratch::new();
    assert!(crate::world::failure(&state, &["registry", "ls"]).contains("CSF-0308"));
    let config = "[service.machine]\ntype = \"host.telemetry\"\nwrites = { cpu = \"host.cpu\" }\n\
                  offers = [\"host.measure\"]\npromises = { latency = \"20ms\", capacity = 2 }\n";
    std::fs::write(state.join("csf.toml"), config).unwrap();
    let node = Running::up(&state, &["up", "--listen", "127.0.0.1:0", "--journal", "journal"]);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let get = |path: &str| Request::get(path).bearer(&token).send(address);
    let machine = get("/api/v1/registry").json()["services"][0].take();
    assert_eq!((&machine["name"], &machine["operations"]), (&json!("machine"), &json!(["host.measure"])));
    assert_eq!((&machine["latency_ns"], &machine["clock_error_ns"]), (&json!(20_000_000), &Value::Null));
    assert_eq!((&machine["capacity"], &machine["standing"]), (&json!(2), &json!("fit")));
    assert_eq!(get("/api/v1/registry?capability=host.measure").json()["services"][0]["name"], "machine");
    assert_eq!(get("/api/v1/registry?capability=nothing").json()["services"], json!([]));
    assert_eq!(get("/api/v1/registry?capabilty=x").status, 400);
    let table = crate::world::text(&state, &["registry", "ls", "--capability", "host.measure"]);
    assert!(table.contains("machine") && table.contains("0/2") && table.contains("20.00 ms"), "{table}");
    assert_eq!(crate::world::json(&state, &["registry", "ls", "--json"])[0]["name"], "machine");
    assert!(crate::world::text(&state, &["registry", "ls", "-c", "nothing"]).contains("nobody offers `nothing`"));
}

#[test]
fn a_subscription_starts_with_the_last_value_and_goes_on_where_it_was_cut() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let land = |ns: u64| {
        let body = json!({ "payload": { "measured_at_ns": ns, "is_landed": true } });
        Request::post("/api/v1/topics/nav.land", body).bearer(&token).send(address).json()["position"].as_u64().unwrap()
    };
    let subscribe = || Request::get("/api/v1/subscribe?topics=nav.land").bearer(&token);

    let first = land(1);
    let cut = subscribe().send(address);
    let second = land(2);
    let seen: Vec<u64> = cut.events(2).into_iter().map(|e| e.1["position"].as_u64().unwrap()).collect();
    assert_eq!(seen, [first, second], "the last value, then what is new");

    let (third, fourth) = (land(3), land(4));
    let resumed = subscribe().with("Last-Event-ID", second).send(address);
    let fifth = land(5);
    let events = resumed.events(3);
    assert_eq!(events.iter().map(|e| e.0).collect::<Vec<_>>(), [third, fourth, fifth], "nothing lost, nothing twice");
    assert!(events.iter().all(|(position, packet)| packet["position"].as_u64() == Some(*position)));

    let filtered =
        Request::get("/api/v1/subscribe?topics=nav.*&where=measured_at_ns%20%3D%3D%206").bearer(&token).send(address);
    let sixth = land(6);
    assert_eq!(filtered.events(1)[0].0, sixth);
}

#[test]
fn questions_that_make_no_sense_are_answered_with_a_remedy() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let (address, token) = (node.address.as_str(), node.token(&state));
    for (path, status, code) in [
        ("/api/v1/topics/nav.stat/last", 404, "CSF-0304"),
        ("/api/v1/subscribe?topics=nav.stat", 404, "CSF-0304"),
        ("/api/v1/subscribe?topics=nav.state&where=%3D%3D", 400, "CSF-0307"),
        ("/api/v1/topics/nav.state/history?limit=100000", 400, "CSF-0307"),
        ("/api/v1/packets/1.1.1-999999999", 404, "CSF-0306"),
        ("/api/v1/packets/nonsense", 400, "CSF-0307"),
        ("/api/v1/packets/1.1.1-1/why?depth=999", 400, "CSF-0307"),
    ] {
        let answer = Request::get(path).bearer(&token).send(address);
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{path}");
    }
    let near = Request::get("/api/v1/topics/nav.stat/last").bearer(&token).send(address).json();
    assert!(near["error"]["message"].as_str().unwrap().contains("did you mean `nav.state`"), "{near}");
}

#[test]
fn the_lists_describe_the_running_node() {
    let state = Scratch::new();
    let node = Running::demo(&state);
    let (address, token) = (node.address.as_str(), node.token(&state));
    let get = |path: &str| Request::get(path).bearer(&token).send(address).json();
    let topics = get("/api/v1/topics");
    let state_topic = topics.as_array().unwrap().iter().find(|t| t["name"] == "nav.state").unwrap();
    assert_eq!((&state_topic["writers"], &state_topic["packets"]), (&json!(["fusion"]), &json!(3527)));
    assert!(state_topic["doc"].as_str().unwrap().starts_with("The estimate"));
    let components = get("/api/v1/components");
    let fusion = components.as_array().unwrap().iter().find(|c| c["name"] == "fusion").unwrap();
    assert_eq!((&fusion["state"], &fusion["published"]), (&json!("running"), &json!(3527)));
    assert_eq!(get("/api/v1/health")["overall_status"], "healthy");
    assert!(get("/api/v1/graph")["edges"].as_array().unwrap().len() >= 19);
    assert!(get("/api/v1/latencies").as_array().unwrap().iter().any(|l| l["to"] == "nav.state" && l["count"] == 3527));
    assert_eq!(get("/api/v1/topics/nav.state/schema")["title"], "NavState");
    let schema = get("/api/v1/node");
    assert!(schema["boot_ms"].as_f64().unwrap() > 0.0);
}
