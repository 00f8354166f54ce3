//! What an engine knows how to run: workflows and activities by name.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use csf_core::port::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::Machine;
use crate::{ActivityContext, Failure, HistoryEntry, NonDeterminism, WorkflowContext};

type Coded = Pin<Box<dyn Future<Output = Result<Json, Failure>> + Send>>;
pub(crate) type Code = Arc<dyn Fn(WorkflowContext, Json) -> Coded + Send + Sync>;
pub(crate) type ActivityCode = Arc<dyn Fn(ActivityContext, Json) -> Coded + Send + Sync>;

/// Code whose input and output have a type, as code on JSON. `C` is what it may do.
fn coded<C, I, O, F>(code: impl Fn(C, I) -> F + Send + Sync + 'static) -> Arc<dyn Fn(C, Json) -> Coded + Send + Sync>
where
    C: Send + 'static,
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    F: Future<Output = Result<O, Failure>> + Send + 'static,
{
    let code = Arc::new(code);
    Arc::new(move |cx, input| {
        let code = code.clone();
        Box::pin(async move {
            let input = input.parse().map_err(|e| Failure::bad_payload("input", &e))?;
            let output = code(cx, input).await?;
            Json::of(&output).map_err(|e| Failure::bad_payload("output", &e))
        })
    })
}

/// A workflow and its name.
#[derive(Clone)]
pub struct Workflow {
    pub(crate) name: String,
    pub(crate) code: Code,
}

impl Workflow {
    /// Workflow code under a name. It takes an input and gives an output that have a JSON form.
    pub fn new<I, O, F>(name: impl Into<String>, code: impl Fn(WorkflowContext, I) -> F + Send + Sync + 'static) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        Self { name: name.into(), code: coded(code) }
    }

    /// Replays a recorded history of the run `id` against this code, without an engine.
    ///
    /// # Errors
    /// Where the code decides otherwise.
    pub fn replay(&self, id: &str, history: &[HistoryEntry]) -> Result<(), NonDeterminism> {
        Machine::replay(id, self.code.clone(), history).map(drop)
    }
}

impl fmt::Debug for Workflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workflow").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An activity and its name.
#[derive(Clone)]
pub struct Activity {
    pub(crate) name: String,
    pub(crate) code: ActivityCode,
}

impl Activity {
    /// Code that does something in the world, under a name. It may run several times for one step: [`ActivityContext::key`] is the same
    /// each time.
    pub fn new<I, O, F>(name: impl Into<String>, code: impl Fn(ActivityContext, I) -> F + Send + Sync + 'static) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        F: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        Self { name: name.into(), code: coded(code) }
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("name", &self.name).finish_non_exhaustive()
    }
}
