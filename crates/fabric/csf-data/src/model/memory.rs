//! Models in memory: built anew at every start.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_core::port::Json;

use super::{Checkpoint, ModelError, ModelStore, Rows, SCAN_MAX};

type Table = BTreeMap<(String, String), Json>;

#[derive(Clone, Debug, Default)]
struct Model {
    checkpoint: Option<Checkpoint>,
    rows: Table,
}

/// Models in memory. Clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryModels {
    models: Arc<Mutex<BTreeMap<String, Model>>>,
}

impl MemoryModels {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows, and what they were where they were changed.
struct MemoryRows<'m> {
    rows: &'m mut Table,
    before: Vec<((String, String), Option<Json>)>,
}

impl MemoryRows<'_> {
    fn undo(self) {
        for (key, value) in self.before.into_iter().rev() {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

impl Rows for MemoryRows<'_> {
    fn get(&mut self, table: &str, key: &str) -> Result<Option<Json>, ModelError> {
        Ok(self.rows.get(&(table.to_owned(), key.to_owned())).cloned())
    }

    fn put(&mut self, table: &str, key: &str, value: Json) -> Result<(), ModelError> {
        let key = (table.to_owned(), key.to_owned());
        self.before.push((key.clone(), self.rows.insert(key, value)));
        Ok(())
    }

    fn remove(&mut self, table: &str, key: &str) -> Result<(), ModelError> {
        let key = (table.to_owned(), key.to_owned());
        self.before.push((key.clone(), self.rows.remove(&key)));
        Ok(())
    }

    fn scan(
        &mut self,
        table: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Json)>, ModelError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((table.to_owned(), after.to_owned())),
            _ => Bound::Included((table.to_owned(), prefix.to_owned())),
        };
        let rows = self.rows.range((from, Bound::Unbounded));
        let rows = rows.take_while(|((t, key), _)| t == table && key.starts_with(prefix));
        Ok(rows.take(limit.min(SCAN_MAX)).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

impl ModelStore for MemoryModels {
    fn checkpoint(&mut self, model: &str) -> Result<Option<Checkpoint>, ModelError> {
        Ok(self.lock().get(model).and_then(|model| model.checkpoint))
    }

    fn update(
        &mut self,
        model: &str,
        checkpoint: Checkpoint,
        work: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let mut models = self.lock();
        let model = models.entry(model.to_owned()).or_default();
        let mut rows = MemoryRows { rows: &mut model.rows, before: Vec::new() };
        if let Err(error) = work(&mut rows) {
            rows.undo();
            return Err(error);
        }
        model.checkpoint = Some(checkpoint);
        Ok(())
    }

    fn reset(&mut self, model: &str) -> Result<(), ModelError> {
        self.lock().remove(model);
        Ok(())
    }

    fn look(
        &mut self,
        model: &str,
        look: &mut dyn FnMut(&mut dyn Rows) -> Result<(), ModelError>,
    ) -> Result<u64, ModelError> {
        let mut models = self.lock();
        let mut nothing = Model::default();
        let model = models.get_mut(model).unwrap_or(&mut nothing);
        let mut rows = MemoryRows { rows: &mut model.rows, before: Vec::new() };
        let looked = look(&mut rows);
        rows.undo();
        looked.map(|()| model.checkpoint.map_or(0, |checkpoint| checkpoint.position))
    }

    fn again(&self) -> Result<Box<dyn ModelStore>, ModelError> {
        Ok(Box::new(self.clone()))
    }
}
