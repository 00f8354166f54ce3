//! Search attributes: kept by the history, changed by the code, and what runs are found by.

use std::time::Duration;

use csf_core::port::Timer;
use csf_sim::SimDisk;
use csf_workflow::{
    Attribute, AttributeFilter, Attributes, Engine, Failure, StartOptions, Workflow, WorkflowContext, WorkflowError,
};

use crate::{kinds, on_disk, with_engine};

/// A payment that is found by what it is and by how far it is; it goes on as a new run once.
fn payment() -> Workflow {
    Workflow::new("payment", |cx: WorkflowContext, round: u32| async move {
        cx.upsert_attributes([("stage", Some(Attribute::from("waits"))), ("round", Some(round.into()))])?;
        let paid: i64 = cx.signal("paid").await?;
        cx.upsert_attributes([("stage", None), ("amount", Some(paid.into()))])?;
        let too_long = cx.upsert_attributes([("x".repeat(65), Some(Attribute::from(true)))]);
        assert!(too_long.is_err_and(|failure: Failure| failure.message.contains("1 to 64")));
        assert_eq!(cx.attributes().get("amount"), Some(&paid.into()));
        if round == 0 { cx.continue_as_new(&1) } else { Ok(paid) }
    })
}

async fn found(engine: &Engine, conditions: &[&str]) -> Vec<String> {
    let filter = AttributeFilter::parse(conditions.iter().copied()).unwrap();
    let runs = engine.list().await.unwrap().into_iter();
    runs.filter(|run| filter.fits(&run.attributes)).map(|run| run.id).collect()
}

#[test]
fn runs_are_found_by_what_they_were_started_with_and_what_their_code_says_over_restarts() {
    let disk = SimDisk::new();
    on_disk(1, &disk, vec![payment()], vec![], async |engine, _, _| {
        for (id, customer) in [("p-1", "acme"), ("p-2", "acme"), ("p-3", "other")] {
            let attributes = Attributes::from([("customer".to_owned(), customer.into())]);
            engine.start("payment", id, &0, StartOptions { attributes, ..StartOptions::default() }).await.unwrap();
        }
        assert_eq!(found(&engine, &["customer=acme", "stage=waits"]).await, ["p-1", "p-2"]);
        engine.signal("p-1", "paid", &150, None).await.unwrap();
        engine.signal("p-3", "paid", &99, None).await.unwrap();
    });
    on_disk(2, &disk, vec![payment()], vec![], async |engine, executor, _| {
        // The runs that go on in the place of others decide after them.
        while found(&engine, &["round=1"]).await.len() < 2 {
            executor.sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(found(&engine, &["amount>=100"]).await, ["p-1"], "also by the run that goes on in its place");
        assert_eq!(found(&engine, &["round=0"]).await, ["p-2"]);
        assert_eq!(found(&engine, &["customer=other", "round=1", "stage=waits"]).await, ["p-3"]);
        for (id, paid) in [("p-1", 7), ("p-3", 8)] {
            engine.signal(id, "paid", &paid, None).await.unwrap();
            assert_eq!(engine.result::<i64>(id).await.unwrap(), paid);
        }
        let run = engine.describe("p-3").await.unwrap();
        let json = serde_json::to_value(&run.attributes).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"customer": "other", "round": 1, "amount": 8}),
            "one that is removed is gone"
        );
        let wanted = ["started", "attributes_upserted", "signal_received", "attributes_upserted", "completed"];
        assert_eq!(kinds(&engine, "p-3").await, wanted);
        for id in ["p-1", "p-2", "p-3"] {
            engine.diff(id).await.unwrap();
        }
    });
}

#[test]
fn attributes_outside_the_limits_start_nothing() {
    with_engine(1, vec![payment()], vec![], async |engine, _, _| {
        let attributes = Attributes::from([("a b".to_owned(), true.into())]);
        let refused =
            engine.start("payment", "p", &0, StartOptions { attributes, ..StartOptions::default() }).await.unwrap_err();
        assert!(matches!(&refused, WorkflowError::BadAttributes { reason } if reason.contains("`a b`")), "{refused}");
        assert!(engine.list().await.unwrap().is_empty());
    });
}
