//! FRM-111: each strategy answers while the breaker is open, and says so.

use std::future::ready;

use csf_core::port::Timer;
use csf_resilience::{
    BreakerPolicy, Call, Command, FallbackStrategy, Guard, GuardError, Guarded, Origin, Policy, Standby, Verdict,
};
use csf_sim::SimExecutor;
use serde_json::json;

use super::{SECOND, guard};

fn opened(world: &SimExecutor, fallback: Vec<FallbackStrategy>) -> Guard {
    let policy = Policy { breaker: Some(BreakerPolicy::default()), fallback, ..Policy::default() };
    let guard = guard(world, "qpu", policy);
    guard.command(Command::Trip { wait: None }).unwrap();
    guard
}

fn ask(
    world: &SimExecutor,
    guard: &Guard,
    standby: Standby<'_, u32, &'static str>,
) -> Result<Guarded<u32>, GuardError<&'static str>> {
    world.block_on(guard.call_or(Call::once().key("energy"), || ready(Ok(1)), standby)).unwrap()
}

#[test]
fn a_cached_answer_says_its_age_and_ends_with_its_ttl() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Cache { ttl: 60 * SECOND }]);
    guard.command(Command::Reset).unwrap();
    let fresh = ask(&world, &guard, Standby::new()).unwrap();
    assert_eq!((fresh.value, fresh.is_fallback()), (1, false));
    guard.command(Command::Trip { wait: Some(3_600 * SECOND) }).unwrap();
    world.block_on(world.sleep(60 * SECOND)).unwrap();
    let cached = ask(&world, &guard, Standby::new()).unwrap();
    assert_eq!((cached.value, cached.is_fallback()), (1, true));
    assert_eq!(cached.origin, Origin::Cache { age_ns: 60_000_000_000 });
    let other = guard.call_or(Call::once().key("spin"), || ready(Ok::<u32, ()>(1)), Standby::new());
    assert_eq!(world.block_on(other).unwrap().unwrap_err().code(), "CSF-0707", "another question has no answer");
    world.block_on(world.sleep(SECOND)).unwrap();
    let error = ask(&world, &guard, Standby::new()).unwrap_err();
    assert!(error.is_refusal());
    assert!(error.to_string().contains("61s old and its `ttl` = 60s"), "{error}");
    let fallbacks = guard.report().fallbacks;
    assert_eq!((fallbacks.cache, fallbacks.none), (1, 2));
}

#[test]
fn a_default_answers_with_its_value() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Default { value: json!(7) }]);
    let answer = ask(&world, &guard, Standby::new()).unwrap();
    assert_eq!((answer.value, answer.origin, answer.attempts), (7, Origin::Default, 0));
    let wrong = opened(&world, vec![FallbackStrategy::Default { value: json!("seven") }]);
    assert!(ask(&world, &wrong, Standby::new()).unwrap_err().to_string().contains("does not fit"));
}

#[test]
fn an_alternative_service_answers_under_its_own_guard() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Alternative { service: "simulator".to_owned() }]);
    let simulator = super::guard(&world, "simulator", Policy::quantum_integration());
    let standby = Standby::new().alternative(|service| {
        let simulator = simulator.clone();
        async move {
            assert_eq!(service, "simulator");
            simulator
                .call(Call::once(), || ready(Ok::<_, ()>(3)))
                .await
                .map(|answer| answer.value)
                .map_err(|_| "down too")
        }
    });
    let answer = ask(&world, &guard, standby).unwrap();
    assert_eq!((answer.value, answer.origin), (3, Origin::Alternative { service: "simulator".to_owned() }));
    assert_eq!(simulator.report().answered, 1);
}

#[test]
fn a_degraded_answer_names_what_it_lacks() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Degrade { features: vec!["error_mitigation".to_owned()] }]);
    let standby = Standby::new().degraded(|features| async move { Ok(features.len() as u32) });
    let answer = ask(&world, &guard, standby).unwrap();
    assert_eq!((answer.value, answer.origin), (1, Origin::Degraded { features: vec!["error_mitigation".to_owned()] }));
}

#[test]
fn strategies_are_tried_in_order_and_every_miss_is_told() {
    let world = SimExecutor::new(1);
    let chain = vec![
        FallbackStrategy::Cache { ttl: SECOND },
        FallbackStrategy::Alternative { service: "simulator".to_owned() },
        FallbackStrategy::Default { value: json!(0) },
    ];
    let guard = opened(&world, chain.clone());
    let failing = || Standby::new().alternative(|_| ready(Err("down")));
    let answer = ask(&world, &guard, failing()).unwrap();
    assert_eq!((answer.value, answer.origin), (0, Origin::Default));
    let without_default = opened(&world, chain[..2].to_vec());
    let GuardError::NoFallback { error, missed } = ask(&world, &without_default, failing()).unwrap_err() else {
        panic!("something answered")
    };
    assert_eq!((error.code(), missed.len()), ("CSF-0701", 2));
    assert!(missed[1].contains("the alternative `simulator` failed"));
}

#[test]
fn the_callers_own_mistake_gets_no_fallback() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Default { value: json!(0) }]);
    guard.command(Command::Reset).unwrap();
    let call = Call::once().classify(|_: &&str| Verdict::IGNORED);
    let error = world
        .block_on(guard.call_or(call, || ready(Err::<u32, _>("bad circuit")), Standby::new()))
        .unwrap()
        .unwrap_err();
    assert_eq!((error.code(), error.into_service_error()), ("CSF-0706", Some("bad circuit")));
}

#[test]
fn a_hanging_alternative_ends_with_the_calls_time() {
    let world = SimExecutor::new(1);
    let guard = opened(&world, vec![FallbackStrategy::Alternative { service: "simulator".to_owned() }]);
    let policy = Policy { timeout: Some(2 * SECOND), ..guard.policy() };
    guard.reconfigure(policy).unwrap();
    let error = ask(&world, &guard, Standby::new().alternative(|_| std::future::pending())).unwrap_err();
    assert!(error.to_string().contains("took longer than"), "{error}");
    assert_eq!(world.now(), 2 * SECOND);
}
