//! What the planner asks, from the database: as much as can be foreseen of a batch in one round trip.

use std::collections::{HashMap, HashSet, VecDeque};

use csf_core::LaneId;
use csf_core::port::{Batch, CHANGE_STREAM, EventId, Filter, JournalError, LANE_STREAM, StreamChange, StreamHead};
use tokio_postgres::Row;

use super::error::{Action, Failure};
use super::events::{Found, Question, newest};
use super::options::PostgresOptions;
use super::session::{Session, Value};
use crate::contiguity::LaneEnd;
use crate::plan::{Lookup, Place};

const HEADS: &str = "
SELECT n.stream, coalesce(s.version, 0), coalesce(s.first, 0), coalesce(s.is_closed, false),
       coalesce((SELECT max(version) FROM event e WHERE e.stream = n.stream), 0)
FROM unnest($1::text[]) AS n(stream) LEFT JOIN stream s ON s.stream = n.stream";
const NAMED: &str = "SELECT position, stream, version, kind, id::text FROM event WHERE id = ANY($1::text[]::uuid[])";
/// How many candidates for a condition are looked at together, when the first one is gone.
const CANDIDATES: i64 = 64;

/// The writer's own connection, between its commits, for one batch.
pub(super) struct PostgresLookup<'j> {
    session: &'j mut Session,
    options: &'j PostgresOptions,
    heads: HashMap<String, StreamHead>,
    /// Names that were asked about, and where they are.
    ids: HashMap<EventId, Option<Place>>,
    places: HashMap<u64, Place>,
    /// Conditions in the order in which they are going to be asked, with their answers.
    conditions: VecDeque<(Filter, u64, Option<Found>)>,
}

impl<'j> PostgresLookup<'j> {
    pub(super) fn new(session: &'j mut Session, options: &'j PostgresOptions) -> Self {
        let (heads, ids, places) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { session, options, heads, ids, places, conditions: VecDeque::new() }
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Session) -> Result<T, Failure>) -> Result<T, JournalError> {
        ask(self.session).map_err(|e| e.said(self.options, Action::Read))
    }

    fn learn_place(&mut self, row: &Row) -> Result<(), Failure> {
        let place = place(row)?;
        let id: String = row.try_get(4)?;
        let id = id.parse().map_err(|e| Failure::damaged(format!("event {}", place.position), e))?;
        self.places.insert(place.position, place.clone());
        self.ids.insert(id, Some(place));
        Ok(())
    }

    fn foresee(&mut self, batch: &Batch, is_known: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
        let streams = unknown_streams(batch, is_known);
        let ids: HashSet<EventId> =
            batch.appends.iter().flat_map(|append| append.events.iter().filter_map(|event| event.id)).collect();
        let names: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let conditions: Vec<_> = batch.appends.iter().filter_map(|append| append.unless.as_ref()).collect();
        let mut questions: Vec<(String, Vec<Value<'_>>)> = Vec::new();
        if !streams.is_empty() {
            questions.push((HEADS.to_owned(), vec![&streams]));
        }
        if !names.is_empty() {
            questions.push((NAMED.to_owned(), vec![&names]));
        }
        let asked: Vec<_> = conditions.iter().map(|c| newest(&c.filter, c.after, None, 1)).collect();
        questions.extend(asked.iter().map(Question::sql_and_values));
        if questions.is_empty() {
            return Ok(());
        }
        let mut answers = self.session.queries(&questions)?.into_iter();
        if !streams.is_empty() {
            for row in answers.next().unwrap_or_default() {
                self.heads.insert(row.try_get(0)?, head_of(&row)?);
            }
        }
        if !names.is_empty() {
            self.ids.extend(ids.into_iter().map(|id| (id, None)));
            for row in answers.next().unwrap_or_default() {
                self.learn_place(&row)?;
            }
        }
        for (condition, rows) in conditions.into_iter().zip(answers) {
            let found = rows.first().map(Found::from_row).transpose()?;
            self.conditions.push_back((condition.filter.clone(), condition.after, found));
        }
        Ok(())
    }

    /// The answer to a condition, when it was foreseen: those before it were not asked, because their appends were refused.
    fn foreseen(&mut self, filter: &Filter, after: u64) -> Option<Option<Found>> {
        while let Some((known, known_after, found)) = self.conditions.pop_front() {
            if known_after == after && known == *filter {
                return Some(found);
            }
        }
        None
    }
}

fn unknown_streams(batch: &Batch, is_known: &dyn Fn(&str) -> bool) -> Vec<String> {
    let own =
        [(!batch.lanes.is_empty(), LANE_STREAM), (batch.appends.iter().any(|a| !a.changes.is_empty()), CHANGE_STREAM)];
    let own = own.into_iter().filter(|(is_written, _)| *is_written).map(|(_, stream)| stream);
    let of_appends = batch.appends.iter().flat_map(|append| {
        let expected = append.expects.iter().map(|(stream, _)| stream.as_str());
        let written = append.events.iter().map(|event| event.stream.as_str());
        expected.chain(written).chain(append.changes.iter().map(StreamChange::stream))
    });
    // A name that is none would not even be text to the server.
    let unknown: HashSet<&str> =
        own.chain(of_appends).filter(|stream| !stream.contains('\0') && !is_known(stream)).collect();
    unknown.into_iter().map(str::to_owned).collect()
}

fn place(row: &Row) -> Result<Place, Failure> {
    let (position, version) = (row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(2)?);
    let (position, version) = (position.cast_unsigned(), version.cast_unsigned());
    Ok(Place { position, stream: row.try_get(1)?, version, kind: row.try_get(3)? })
}

fn head_of(row: &Row) -> Result<StreamHead, Failure> {
    let (changed, newest): (i64, i64) = (row.try_get(1)?, row.try_get(4)?);
    let first = row.try_get::<_, i64>(2)?.cast_unsigned();
    Ok(StreamHead { version: changed.max(newest).cast_unsigned(), first, is_closed: row.try_get(3)? })
}

/// What is known of a stream: what was written down when it changed, and its newest event.
pub(super) fn head(session: &mut Session, stream: &str) -> Result<StreamHead, Failure> {
    if stream.contains('\0') {
        return Ok(StreamHead::default());
    }
    session.maybe(HEADS, &[&vec![stream]])?.map_or(Ok(StreamHead::default()), |row| head_of(&row))
}

impl Lookup for PostgresLookup<'_> {
    fn prepare(&mut self, batch: &Batch, is_known: &dyn Fn(&str) -> bool) -> Result<(), JournalError> {
        self.foresee(batch, is_known).map_err(|e| e.said(self.options, Action::Read))
    }

    fn lane_end(&mut self, lane: LaneId) -> Result<Option<LaneEnd>, JournalError> {
        let sql = "SELECT first_seq + packets, last_position FROM block
                   WHERE node = $1 AND incarnation = $2 AND lane = $3 ORDER BY first_seq DESC LIMIT 1";
        let (node, incarnation, number) = (i64::from(lane.node), i64::from(lane.incarnation), i64::from(lane.lane));
        self.ask(|session| {
            let Some(row) = session.maybe(sql, &[&node, &incarnation, &number])? else { return Ok(None) };
            let (next_seq, position): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Some(LaneEnd { next_seq: next_seq.cast_unsigned(), position: position.cast_unsigned() }))
        })
    }

    fn head(&mut self, stream: &str) -> Result<StreamHead, JournalError> {
        match self.heads.get(stream) {
            Some(head) => Ok(*head),
            None => self.ask(|session| head(session, stream)),
        }
    }

    fn named(&mut self, id: EventId) -> Result<Option<Place>, JournalError> {
        if !self.ids.contains_key(&id) {
            let row = self.ask(|session| Ok(session.maybe(NAMED, &[&vec![id.to_string()]])?))?;
            let learned = row.map_or(Ok(()), |row| self.learn_place(&row));
            learned.map_err(|e| e.said(self.options, Action::Read))?;
        }
        Ok(self.ids.get(&id).cloned().flatten())
    }

    fn at(&mut self, position: u64) -> Result<Option<Place>, JournalError> {
        if let Some(place) = self.places.get(&position) {
            return Ok(Some(place.clone()));
        }
        let sql = "SELECT position, stream, version, kind FROM event WHERE position = $1";
        self.ask(|session| session.maybe(sql, &[&position.cast_signed()])?.map(|row| place(&row)).transpose())
    }

    fn newest(
        &mut self,
        filter: &Filter,
        after: u64,
        is_gone: &dyn Fn(&str, u64) -> bool,
    ) -> Result<Option<u64>, JournalError> {
        let mut before = None;
        match self.foreseen(filter, after) {
            Some(None) => return Ok(None),
            Some(Some(found)) if !is_gone(&found.stream, found.version) => return Ok(Some(found.position)),
            Some(Some(found)) => before = Some(found.position),
            None => {}
        }
        self.ask(|session| {
            loop {
                let question = newest(filter, after, before, CANDIDATES);
                let (sql, values) = question.sql_and_values();
                let rows = session.query(&sql, &values)?;
                for row in &rows {
                    let found = Found::from_row(row)?;
                    if !is_gone(&found.stream, found.version) {
                        return Ok(Some(found.position));
                    }
                    before = Some(found.position);
                }
                if rows.is_empty() {
                    return Ok(None);
                }
            }
        })
    }
}
