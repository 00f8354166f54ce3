//! `[resilience.NAME]`: the keys of INT-083 to INT-085, every problem at once, and no text that panics.

use std::time::Duration;

use csf_resilience::{
    BreakerPolicy, BulkheadPolicy, FallbackStrategy, Jitter, Policy, RateLimitPolicy, RetryBudget, RetryPolicy,
    Section, Window,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::{MS, SECOND};

const SPECIFIED: &str = r#"
    [circuit_breaker]
    failure_threshold = 5
    timeout_seconds = 60
    half_open_max_calls = 10
    [retry_policy]
    max_attempts = 3
    initial_delay_ms = 100
    max_delay_ms = 5000
    backoff_multiplier = 2.0
    [bulkhead]
    max_concurrent_calls = 10
    max_wait_duration_ms = 1000
"#;

#[test]
fn the_specifications_keys_mean_the_specifications_values() {
    assert_eq!(toml::from_str::<Policy>(SPECIFIED).unwrap(), Policy::quantum_integration());
    let empty = "circuit_breaker = {}\nretry_policy = {}\nbulkhead = {}";
    assert_eq!(toml::from_str::<Policy>(empty).unwrap(), Policy::quantum_integration());
    assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
    let neuromorphic =
        SPECIFIED.replace("calls = 10\n    max_wait_duration_ms = 1000", "calls = 50\n    max_wait_duration_ms = 500");
    assert_eq!(toml::from_str::<Policy>(&neuromorphic).unwrap(), Policy::neuromorphic_integration());
}

#[test]
fn times_are_text_with_a_unit() {
    let policy: Policy = toml::from_str(
        r#"
        timeout = "10s"
        try_timeout = "2.5s"
        fallback = [{ cache = { ttl = "5min" } }, { default = { value = { energy = 0 } } }, { alternative = { service = "simulator" } }, { degrade = { features = ["mitigation"] } }]
        [circuit_breaker]
        timeout = "1min"
        half_open_max = 3
        failure_rate = 0.5
        window_time = "30s"
        [retry_policy]
        initial_delay = "50ms"
        jitter = "full"
        budget = { share = 0.2 }
        [rate_limit]
        calls = 20
        max_wait = "100ms"
        "#,
    )
    .unwrap();
    let breaker = BreakerPolicy {
        half_open_max: 3,
        failure_rate: Some(0.5),
        window: Window::Time(30 * SECOND),
        ..BreakerPolicy::default()
    };
    let budget = RetryBudget { share: 0.2, ..RetryBudget::default() };
    let expected = Policy {
        timeout: Some(10 * SECOND),
        try_timeout: Some(2_500 * MS),
        breaker: Some(breaker),
        retry: Some(RetryPolicy { initial_delay: 50 * MS, jitter: Jitter::Full, budget, ..RetryPolicy::default() }),
        bulkhead: None,
        rate_limit: Some(RateLimitPolicy { calls: 20, max_wait: 100 * MS, ..RateLimitPolicy::default() }),
        fallback: vec![
            FallbackStrategy::Cache { ttl: 300 * SECOND },
            FallbackStrategy::Default { value: json!({ "energy": 0 }) },
            FallbackStrategy::Alternative { service: "simulator".to_owned() },
            FallbackStrategy::Degrade { features: vec!["mitigation".to_owned()] },
        ],
    };
    assert_eq!(policy, expected);
}

#[test]
fn all_problems_are_told_at_once_with_their_keys() {
    let section: Section = toml::from_str(
        r#"
        timeout = "1s"
        try_timeout = "2s"
        fallback = [{ cache = { ttl = "soon" } }, { alternative = { service = " " } }]
        [circuit_breaker]
        failure_threshold = 0
        timeout = "60"
        half_open_max_calls = 0
        [retry_policy]
        max_attempts = 0
        initial_delay = "10s"
        initial_delay_ms = 10
        max_delay_ms = 5
        backoff_multiplier = nan
        budget = { burst = 0 }
        [bulkhead]
        max_concurrent_calls = 0
        [rate_limit]
        calls = 1
        per = "1h"
        burst = 1000000
        "#,
    )
    .unwrap();
    let problems = section.resolve().unwrap_err();
    let mut keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    let expected = [
        "bulkhead.max_concurrent_calls",
        "circuit_breaker.failure_threshold",
        "circuit_breaker.half_open_max_calls",
        "circuit_breaker.timeout",
        "fallback[0].cache.ttl",
        "fallback[1].alternative.service",
        "rate_limit.burst",
        "retry_policy.backoff_multiplier",
        "retry_policy.budget.burst",
        "retry_policy.initial_delay",
        "retry_policy.max_attempts",
        "try_timeout",
    ];
    assert_eq!(keys, expected, "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.help.is_empty()));
    assert!(
        problems.iter().any(|problem| problem.message.contains("`initial_delay` and `initial_delay_ms` are both set"))
    );
    let unit = problems.iter().find(|problem| problem.key == "circuit_breaker.timeout").unwrap();
    assert!(unit.message.contains("`60` is no duration") && unit.help.contains("with a unit"));
}

#[test]
fn an_unknown_key_is_refused_and_the_schema_knows_every_key() {
    let error = toml::from_str::<Section>("[circuit_breaker]\nfailure_treshold = 5").unwrap_err().to_string();
    assert!(error.contains("failure_treshold") && error.contains("failure_threshold"), "{error}");
    for bad in [
        "bulk = {}",
        "bulkhead = { size = 1 }",
        "rate_limit = { rate = 1 }",
        "retry_policy = { attempts = 1 }",
        "retry_policy = { budget = { ratio = 1 } }",
        "fallback = [{ cache = { ttl = \"1s\", size = 3 } }]",
        "fallback = [{ random = {} }]",
    ] {
        assert!(toml::from_str::<Policy>(bad).is_err(), "{bad}");
    }
    let schema = serde_json::to_string(&schemars::schema_for!(Policy)).unwrap();
    for key in ["timeout_seconds", "half_open_max_calls", "initial_delay_ms", "max_wait_duration_ms", "degrade"] {
        assert!(schema.contains(key), "{key}");
    }
    assert!(schema.contains("\"additionalProperties\":false"));
}

fn span() -> impl Strategy<Value = Duration> {
    (1_000u64..80_000_000_000_000).prop_map(Duration::from_nanos)
}

fn policy() -> impl Strategy<Value = Policy> {
    let rate = || prop::option::of(0.001..=1.0f64);
    let window =
        prop_oneof![(1u32..1_000_000).prop_map(Window::Calls), (1u32..86_400).prop_map(|s| Window::Time(s * SECOND))];
    let breaker = (window, rate(), rate(), 1u32..9, span(), 1.0..100.0f64, prop::option::of(1u32..99)).prop_map(
        |(window, failure_rate, slow_rate, failure_threshold, span, open_growth, success_threshold)| BreakerPolicy {
            failure_threshold,
            failure_rate,
            slow_rate,
            window,
            slow_call: span,
            open_growth,
            success_threshold,
            ..BreakerPolicy::default()
        },
    );
    let retry =
        (1u32..1_000, span(), 1.0..100.0f64).prop_map(|(max_attempts, max_delay, backoff_multiplier)| RetryPolicy {
            max_attempts,
            initial_delay: max_delay / 2 + MS.min(max_delay / 4),
            max_delay,
            backoff_multiplier,
            retry_after_max: Some(max_delay),
            ..RetryPolicy::default()
        });
    let bulkhead = (1u32..1_000_000, span()).prop_map(|(max_concurrent, max_wait)| BulkheadPolicy {
        max_concurrent,
        max_wait,
        ..BulkheadPolicy::default()
    });
    let stages =
        (prop::option::of(breaker), prop::option::of(retry), prop::option::of(bulkhead), prop::option::of(span()));
    stages.prop_map(|(breaker, retry, bulkhead, timeout)| Policy {
        timeout,
        try_timeout: timeout,
        breaker,
        retry,
        bulkhead,
        rate_limit: Some(RateLimitPolicy::default()),
        fallback: vec![FallbackStrategy::Degrade { features: vec!["a".to_owned()] }],
    })
}

/// A line of a file: a key that may exist, with a value that may fit.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("timeout"),
        Just("try_timeout"),
        Just("circuit_breaker.timeout_seconds"),
        Just("circuit_breaker.failure_rate"),
        Just("circuit_breaker.window_time"),
        Just("circuit_breaker.window_calls"),
        Just("circuit_breaker.open_growth"),
        Just("circuit_breaker.half_open_max"),
        Just("circuit_breaker.open_max"),
        Just("retry_policy.initial_delay"),
        Just("retry_policy.max_delay_ms"),
        Just("retry_policy.backoff_multiplier"),
        Just("retry_policy.jitter"),
        Just("retry_policy.budget.share"),
        Just("bulkhead.max_concurrent_calls"),
        Just("bulkhead.max_wait_duration"),
        Just("rate_limit.calls"),
        Just("rate_limit.per"),
        Just("rate_limit.burst"),
        Just("fallback"),
        Just("unknown"),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0u32..200).prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("TOML writes these otherwise", |n| n.is_finite())
            .prop_map(|number| format!("{number:?}")),
        prop_oneof![
            Just("nan".to_owned()),
            Just("inf".to_owned()),
            Just("true".to_owned()),
            Just("[]".to_owned()),
            Just("{}".to_owned())
        ],
        ("[0-9.]{1,20}", prop_oneof![Just("ns"), Just("ms"), Just("s"), Just("h"), Just("parsec")])
            .prop_map(|(n, unit)| format!("\"{n}{unit}\"")),
        Just("\"full\"".to_owned()),
        "[a-z]{1,5}".prop_map(|service| format!("[{{ alternative = {{ service = \"{service}\" }} }}]")),
    ];
    (key, value).prop_map(|(key, value)| format!("{key} = {value}"))
}

/// Every limit of a number in the schema: the table, the key, the ends.
fn limits() -> Vec<(&'static str, String, f64, f64, bool)> {
    let schema = schemars::schema_for!(Section).to_value();
    let tables = [
        ("circuit_breaker", "BreakerSection"),
        ("retry_policy", "RetrySection"),
        ("retry_policy.budget", "BudgetSection"),
        ("bulkhead", "BulkheadSection"),
        ("rate_limit", "RateLimitSection"),
    ];
    let mut limits = Vec::new();
    for (table, name) in tables {
        for (key, property) in schema["$defs"][name]["properties"].as_object().unwrap() {
            let is_whole = property["type"][0] == "integer";
            let least = property["minimum"].as_f64().or(property["exclusiveMinimum"].as_f64().map(|zero| zero + 1e-9));
            if let (Some(least), Some(most)) = (least, property["maximum"].as_f64()) {
                limits.push((table, key.clone(), least, most, is_whole));
            } else {
                assert!(property["type"][0] != "number" && (!is_whole || key == "failure_threshold"), "{table}.{key}");
            }
        }
    }
    limits
}

#[test]
fn the_limits_that_the_schema_tells_are_those_that_are_kept() {
    for (table, key, least, most, is_whole) in limits() {
        let complaints = |value: f64| {
            let value = if is_whole { format!("{value:.0}") } else { format!("{value:?}") };
            let section: Section = toml::from_str(&format!("{table}.{key} = {value}")).unwrap();
            let base = key.trim_end_matches("_ms").trim_end_matches("_seconds");
            let named = [format!("{table}.{base}"), format!("{table}.{base}_calls")];
            let problems = section.resolve().err().unwrap_or_default();
            let is_limit =
                |p: &csf_resilience::Problem| p.message.contains(" is outside ") || p.message.contains(" is no ");
            problems.into_iter().filter(|p| named.contains(&p.key) && is_limit(p)).count()
        };
        for inside in [least, most] {
            assert_eq!(complaints(inside), 0, "{table}.{key} = {inside}");
        }
        let step = if is_whole { 1.0 } else { 2e-9 };
        let below = (!is_whole || least > 0.0).then_some(least - step);
        for outside in [Some(most + step.max(most * 1e-9)), below].into_iter().flatten() {
            assert_eq!(complaints(outside), 1, "{table}.{key} = {outside}");
        }
    }
    assert_eq!(limits().len(), 21);
}

proptest! {
    #[test]
    fn a_policy_survives_its_file(policy in policy()) {
        prop_assert_eq!(policy.validate(), vec![]);
        let text = toml::to_string(&policy).unwrap();
        prop_assert_eq!(toml::from_str::<Policy>(&text).unwrap(), policy, "{}", text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Random files are refused with a reason, or make a guard that works: nothing panics, not even governor's arithmetic.
    #[test]
    fn a_random_file_is_refused_or_works(lines in vec(line(), 0..5)) {
        let text = lines.join("\n");
        let Ok(section) = toml::from_str::<Section>(&text) else { return Ok(()) };
        match section.resolve() {
            Err(problems) => prop_assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.key.is_empty())),
            Ok(policy) => {
                prop_assert_eq!(policy.validate(), vec![]);
                let world = csf_sim::SimExecutor::new(1);
                let guard = super::guard(&world, "fuzzed", policy);
                for _ in 0..3 {
                    let call = csf_resilience::Call::idempotent().within(SECOND);
                    let _ = world.block_on(guard.call(call, || std::future::ready(Err::<(), _>("down")))).unwrap();
                }
                guard.reconfigure(Policy { rate_limit: Some(RateLimitPolicy::default()), ..guard.policy() }).unwrap();
            }
        }
    }
}
