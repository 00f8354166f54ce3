//! The service `csf.tasks.v1.Tasks`.

use std::time::Duration;

use csf_core::port::{Json, Origin};
use csf_workflow::task::{TaskError, TaskLease, TaskRequest, TaskState};
use tonic::{Request, Response, Status};

use super::generated::{self as proto, tasks_server};
use super::status;
use crate::answer::Refusal;
use crate::routes::Api;
use crate::tasks::{refusal, take};
use crate::workflows::AUTHOR;

/// The tasks of a node.
pub(super) struct Tasks(pub(super) Api);

type Answer<T> = Result<Response<T>, Status>;

fn failed(error: &TaskError) -> Status {
    status(&refusal(error))
}

/// A payload: JSON text, which may be left out.
fn payload(field: &str, text: &str) -> Result<Json, Status> {
    let text = if text.is_empty() { "null" } else { text };
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| status(&Refusal::body(format!("`{field}` is no JSON text: {error}"))))?;
    Ok(value.into())
}

impl Tasks {
    /// Does something while the node takes work.
    async fn work<T>(&self, act: impl Future<Output = Result<T, TaskError>>) -> Result<T, Status> {
        let node = &self.0.node;
        let _work = node.gate().enter().ok_or_else(|| status(&Refusal::not_accepting(node.state())))?;
        act.await.map_err(|error| failed(&error))
    }

    fn desk(&self) -> Result<csf_workflow::task::TaskDesk, Status> {
        self.0.desk().map_err(|refusal| status(&refusal))
    }
}

#[tonic::async_trait]
impl tasks_server::Tasks for Tasks {
    async fn submit(&self, request: Request<proto::SubmitRequest>) -> Answer<proto::SubmitResponse> {
        let asked = request.into_inner();
        let default = TaskRequest::new(asked.kind, payload("input", &asked.input)?);
        let request = TaskRequest {
            lease_ms: asked.lease_ms.unwrap_or(default.lease_ms),
            attempts: asked.attempts.unwrap_or(default.attempts),
            // What does not fit is outside the limits, too.
            priority: asked.priority.map_or(default.priority, |priority| u8::try_from(priority).unwrap_or(u8::MAX)),
            fairness_key: asked.fairness_key,
            fairness_weight: asked.fairness_weight.unwrap_or(default.fairness_weight),
            ..default
        };
        let origin = Origin { author: Some(AUTHOR.to_owned()), ..Origin::default() };
        let (id, timeout) = (Some(asked.id).filter(|id| !id.is_empty()), asked.timeout_ms.map(Duration::from_millis));
        let id = self.work(self.desk()?.submit(id.as_deref(), &request, timeout, origin)).await?;
        Ok(Response::new(proto::SubmitResponse { id }))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer<proto::Task> {
        let task = self.desk()?.show(&request.into_inner().id).await.map_err(|error| failed(&error))?;
        let state = match task.state {
            TaskState::Queued => proto::TaskState::Queued,
            TaskState::Running => proto::TaskState::Running,
            TaskState::Completed => proto::TaskState::Completed,
            TaskState::Failed => proto::TaskState::Failed,
            TaskState::Cancelled => proto::TaskState::Cancelled,
        };
        let (output, error) = task.result.map_or((None, None), |result| (result.output, result.error));
        let text = |json: Json| json.as_str().to_owned();
        Ok(Response::new(proto::Task {
            id: task.id,
            kind: task.request.kind,
            input: text(task.request.input),
            state: state.into(),
            assigned_agent: task.assigned_agent,
            attempt: task.attempt,
            attempts: task.request.attempts,
            lease_ms: task.request.lease_ms,
            progress: task.progress.map(text),
            last_failure: task.last_failure,
            output: output.map(text),
            error,
            submitted_at: task.submitted_at.as_nanos(),
            ended_at: task.ended_at.map(csf_core::Stamp::as_nanos),
            priority: task.request.priority.into(),
            fairness_key: task.request.fairness_key,
            fairness_weight: task.request.fairness_weight,
        }))
    }

    async fn take(&self, request: Request<proto::TakeRequest>) -> Answer<proto::TakeResponse> {
        let proto::TakeRequest { agent, kinds, max, wait_ms } = request.into_inner();
        let most = usize::try_from(max.max(1)).unwrap_or(usize::MAX);
        let taken = take(&self.0, &agent, &kinds, most, wait_ms).await.map_err(|refusal| status(&refusal))?;
        let lease = |lease: TaskLease| proto::Lease {
            id: lease.id,
            kind: lease.kind,
            input: lease.input.as_str().to_owned(),
            token: lease.token,
            attempt: lease.attempt,
            lease_ms: lease.lease_ms,
        };
        Ok(Response::new(proto::TakeResponse { leases: taken.into_iter().map(lease).collect() }))
    }

    async fn heartbeat(&self, request: Request<proto::HeartbeatRequest>) -> Answer<proto::HeartbeatResponse> {
        let proto::HeartbeatRequest { id, token, progress } = request.into_inner();
        let progress = progress.map(|progress| payload("progress", &progress)).transpose()?;
        let lease_ms = self.desk()?.heartbeat(&id, &token, progress).map_err(|error| failed(&error))?;
        Ok(Response::new(proto::HeartbeatResponse { lease_ms }))
    }

    async fn complete(&self, request: Request<proto::CompleteRequest>) -> Answer<proto::CompleteResponse> {
        let proto::CompleteRequest { id, token, output } = request.into_inner();
        let output = payload("output", &output)?;
        self.work(self.desk()?.complete(&id, &token, output)).await?;
        Ok(Response::new(proto::CompleteResponse {}))
    }

    async fn fail(&self, request: Request<proto::FailRequest>) -> Answer<proto::FailResponse> {
        let proto::FailRequest { id, token, reason, is_final } = request.into_inner();
        self.work(self.desk()?.fail(&id, &token, &reason, is_final)).await?;
        Ok(Response::new(proto::FailResponse {}))
    }

    async fn release(&self, request: Request<proto::ReleaseRequest>) -> Answer<proto::ReleaseResponse> {
        let proto::ReleaseRequest { id, token } = request.into_inner();
        self.work(self.desk()?.release(&id, &token)).await?;
        Ok(Response::new(proto::ReleaseResponse {}))
    }

    async fn cancel(&self, request: Request<proto::CancelRequest>) -> Answer<proto::CancelResponse> {
        let proto::CancelRequest { id, reason } = request.into_inner();
        self.work(self.desk()?.cancel(&id, &reason)).await?;
        Ok(Response::new(proto::CancelResponse {}))
    }
}
