//! Tasks over gRPC, on the address of the HTTP API and behind the same guard. The service is `proto/csf/tasks/v1/tasks.proto`.

#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, missing_docs, unreachable_pub, unused_qualifications, reason = "generated: see tests/generated.rs")]
mod generated;
mod tasks;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::answer::Refusal;
use crate::routes::{Api, MOST_BODY};

use generated::tasks_server::{SERVICE_NAME, TasksServer};

/// The routes of the services.
pub(crate) fn routes(api: &Api) -> Router<Api> {
    let service = TasksServer::new(tasks::Tasks(api.clone()));
    // An answer is limited by what the client takes.
    let service = service.max_decoding_message_size(MOST_BODY).max_encoding_message_size(usize::MAX);
    Router::new().route_service(&format!("/{SERVICE_NAME}/{{method}}"), service)
}

/// Whether a request speaks gRPC; the answer then has to as well.
pub(crate) fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let rest = kind.and_then(|kind| kind.strip_prefix("application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
}

/// Whether this is a path of a service here; the service knows its methods.
pub(crate) fn is_known(path: &str) -> bool {
    path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME)).is_some_and(|rest| rest.starts_with('/'))
}

/// The answer to a call of a service that there is none of.
pub(crate) fn unknown(path: &str) -> Response {
    Status::unimplemented(format!("no gRPC method `{path}`; the service here is {SERVICE_NAME}")).into_http()
}

/// A refusal in the words of gRPC.
pub(crate) fn status(refusal: &Refusal) -> Status {
    let code = match refusal.status() {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS | StatusCode::INSUFFICIENT_STORAGE => {
            Code::ResourceExhausted
        }
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, refusal.message());
    for (key, value) in [("csf-code", refusal.code()), ("csf-help", refusal.help())] {
        if let Ok(value) = MetadataValue::try_from(value) {
            status.metadata_mut().insert(key, value);
        }
    }
    status
}
