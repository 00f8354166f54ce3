//! The bank: killed while three clients move money.

use std::collections::BTreeMap;

use csf_core::port::StoredEvent;
use csf_data::model::{ModelStore, Rows, SqliteModels};
use csf_sim::SeededRng;
use serde::Deserialize;

use crate::process::{Example, Scratch};

const PROGRAM: &str = env!("CARGO_BIN_EXE_06_bank");
const OPENINGS: usize = 4;

#[derive(Deserialize)]
struct Amount {
    amount: i64,
}

fn count(events: &[StoredEvent], kind: &str) -> usize {
    events.iter().filter(|event| event.kind == kind).count()
}

/// Balances that follow from the log and nothing else.
fn balances(events: &[StoredEvent]) -> BTreeMap<String, i64> {
    let mut balances = BTreeMap::new();
    for event in events {
        let Amount { amount } = event.parse().unwrap();
        let sign = if ["deposited", "received"].contains(&event.kind.as_str()) { 1 } else { -1 };
        *balances.entry(event.stream["account-".len()..].to_owned()).or_insert(0) += sign * amount;
    }
    balances
}

/// Balances that the read model shows, and the lines of its statements.
fn read_model(scratch: &Scratch) -> (BTreeMap<String, i64>, usize) {
    #[derive(Deserialize)]
    struct Row {
        balance: i64,
    }
    let (mut balances, mut lines) = (BTreeMap::new(), 0);
    let mut look = |rows: &mut dyn Rows| {
        let rows_of_balance = rows.scan("balance", "", None, usize::MAX)?;
        balances =
            rows_of_balance.iter().map(|(owner, row)| (owner.clone(), row.parse::<Row>().unwrap().balance)).collect();
        lines = rows.scan("line", "", None, usize::MAX)?.len();
        Ok(())
    };
    SqliteModels::open(scratch.path()).unwrap().look("statements", &mut look).unwrap();
    (balances, lines)
}

#[test]
fn money_is_neither_made_nor_lost_and_a_repeated_request_is_done_once() {
    let mut rng = SeededRng::new(1);
    let mut kills = 0;
    for round in 0..3 {
        let scratch = Scratch::new(&format!("bank-{round}"));
        for _ in 0..8 {
            let bank = Example::start(PROGRAM, &scratch, &["--requests", "200"]);
            let said = bank.says(rng.below(180) as usize);
            drop(bank);
            kills += 1;
            if scratch.has_journal() {
                let events = scratch.events("account");
                let done = count(&events, "deposited") + count(&events, "withdrawn") + count(&events, "sent");
                let promised = said.iter().filter(|line| line.contains("is done")).count();
                assert!(done >= promised + if promised > 0 { OPENINGS } else { 0 }, "{promised} promised, {done} kept");
                assert_eq!(count(&events, "sent"), count(&events, "received"), "a transfer is whole");
            }
        }
        let said = Example::start(PROGRAM, &scratch, &["--requests", "200"]).ends();
        assert!(said.iter().any(|line| line.ends_with("the read model agree")), "{said:#?}");

        let events = scratch.events("account");
        // Of each ten requests after the openings, one withdraws, one deposits and the others transfer.
        let counted = ["deposited", "withdrawn", "sent", "received"].map(|kind| count(&events, kind));
        assert_eq!(counted, [OPENINGS + 20, 20, 156, 156], "each request is done once");
        let balances = balances(&events);
        assert_eq!(balances.values().sum::<i64>(), 4 * 100_000 + 20 * 40 - 20 * 70);
        assert_eq!(read_model(&scratch), (balances, events.len()));
    }
    assert_eq!(kills, 24);
}
