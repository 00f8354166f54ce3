//! Why a test could not be run, or failed.

/// Why a test could not be run, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// A server's program is not installed.
    #[error("{program} is not installed; `apt-get install {package}` brings it")]
    NotInstalled {
        /// The program.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// A server did not start.
    #[error("{server} did not start: {reason}")]
    Server {
        /// Which.
        server: &'static str,
        /// Its own words.
        reason: String,
    },
    /// A file, a process or a connection.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A server answered what it should not.
    #[error("{server} answered {answer}")]
    Answer {
        /// Which.
        server: &'static str,
        /// What.
        answer: String,
    },
    /// A statement failed.
    #[error("`{statement}`: {reason}")]
    Statement {
        /// The SQL.
        statement: String,
        /// The database's words.
        reason: String,
    },
    /// A component the test did not bring.
    #[error("the test has no component `{name}` of this type")]
    NoComponent {
        /// Its name.
        name: String,
    },
    /// The bus refused.
    #[error(transparent)]
    Bus(#[from] csf_core::BusError),
    /// A supervisor refused.
    #[error(transparent)]
    Supervisor(#[from] csf_runtime::supervise::SupervisorError),
    /// The test's own claim does not hold.
    #[error("{0}")]
    Failed(String),
}

impl TestError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
