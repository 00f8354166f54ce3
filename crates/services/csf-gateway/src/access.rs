//! Who may call: the host a browser believes it talks to, the page it comes from, and a token.
//!
//! The host check defeats DNS rebinding, the origin check cross-site requests (RFC 6454), the token everybody else on the machine.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use crate::answer::Refusal;
use crate::grpc::{self, is_grpc};

const COOKIE: &str = "csf_session";
/// Browser sessions kept; the oldest is forgotten when one more logs in.
const MOST_SESSIONS: usize = 32;

/// The node's secrets.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Secrets>,
}

struct Secrets {
    token: String,
    codes: Mutex<Vec<String>>,
    sessions: Mutex<Vec<String>>,
    port: Mutex<u16>,
}

impl Access {
    /// Fresh secrets from the operating system's randomness.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn new() -> Result<Self, getrandom::Error> {
        let secrets =
            Secrets { token: secret()?, codes: Mutex::default(), sessions: Mutex::default(), port: Mutex::new(0) };
        Ok(Self { inner: Arc::new(secrets) })
    }

    /// The bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.inner.token
    }

    /// A new code for one browser login.
    ///
    /// # Errors
    /// When there is no randomness to be had.
    pub fn one_time_code(&self) -> Result<String, getrandom::Error> {
        let code = secret()?;
        self.inner.codes.lock().unwrap_or_else(PoisonError::into_inner).push(code.clone());
        Ok(code)
    }

    pub(crate) fn set_port(&self, port: u16) {
        *self.inner.port.lock().unwrap_or_else(PoisonError::into_inner) = port;
    }

    fn port(&self) -> u16 {
        *self.inner.port.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spends a code; the answer sets the session cookie and leads to the console.
    pub(crate) fn login(&self, code: &str) -> Response {
        let mut codes = self.inner.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = codes.iter().position(|c| same(c, code)) else {
            let message = "this address was used already or is of another start";
            let help = "take the address that `csf up` printed last, or start the node again";
            return Refusal::new(StatusCode::UNAUTHORIZED, "CSF-0301", message, help).into_response();
        };
        codes.remove(index);
        let Ok(session) = secret() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
        let mut sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MOST_SESSIONS {
            sessions.remove(0);
        }
        sessions.push(session.clone());
        let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict");
        let mut response = Redirect::to("/").into_response();
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, value);
        }
        response
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or("");
        if let Some(token) = text(header::AUTHORIZATION).strip_prefix("Bearer ") {
            return same(token, &self.inner.token);
        }
        let sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        text(header::COOKIE)
            .split(';')
            .filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
            .any(|session| sessions.iter().any(|known| same(known, session)))
    }

    fn own_hosts(&self) -> [String; 3] {
        let port = self.port();
        [format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let headers = request.headers();
        // HTTP/2 says the host in the address.
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let host = host.or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str)).unwrap_or("");
        let own = self.own_hosts();
        if !own.iter().any(|h| h == host) {
            let message = format!("`{host}` is not this node");
            return Err(Refusal::new(
                StatusCode::MISDIRECTED_REQUEST,
                "CSF-0302",
                message,
                "use the address that `csf up` printed",
            ));
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("");
            if !origin.strip_prefix("http://").is_some_and(|o| own.iter().any(|h| h == o)) {
                let message = format!("pages of `{origin}` may not call this node");
                return Err(Refusal::new(
                    StatusCode::FORBIDDEN,
                    "CSF-0303",
                    message,
                    "only the node's own console may",
                ));
            }
        }
        let needs_token = request.uri().path().starts_with("/api/") || is_grpc(request);
        if needs_token && !self.is_known(headers) {
            return Err(Refusal::unauthorized());
        }
        Ok(())
    }
}

/// The gate in front of every route, and the headers behind it.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let is_grpc = is_grpc(&request);
    let mut response = match access.check(&request) {
        Ok(()) => next.run(request).await,
        Err(refusal) if is_grpc => grpc::status(&refusal).into_http(),
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    let policy =
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// 192 random bits as hexadecimal text.
fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 24];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// Equality in a time that does not depend on where the texts differ.
fn same(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
}
