//! A connection that can be cut, and whose answers can be lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::TestError;

/// What becomes of the server's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// They reach the client.
    Pass,
    /// The next one is lost, and the connection with it.
    CutAtNext,
    /// They are lost, and the connection stays.
    Lost,
}

/// Stands between clients and a server, as long as the process lives.
pub struct Proxy {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
    gate: Arc<Gate>,
}

/// Whether bytes go through.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opens: Condvar,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        *lock(&self.is_shut) = is_shut;
        self.opens.notify_all();
    }

    fn pass(&self) {
        let shut = self.opens.wait_while(lock(&self.is_shut), |is_shut| *is_shut);
        drop(shut.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Proxy {
    /// Listens on a free port. A client that comes while the server is away is turned away.
    ///
    /// # Errors
    /// [`TestError::Io`].
    pub fn start(server: SocketAddr) -> Result<Self, TestError> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(TestError::io("a free port"))?;
        let address = listener.local_addr().map_err(TestError::io("a free port"))?;
        let proxy =
            Self { address, answers: Arc::new(Mutex::new(Answers::Pass)), open: Arc::default(), gate: Arc::default() };
        let (answers, open, gate) = (proxy.answers.clone(), proxy.open.clone(), proxy.gate.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let Some([to_server, to_client]) = halves(&client, &server) else { continue };
                let (answers, gates) = (answers.clone(), [gate.clone(), gate.clone()]);
                let [outward, inward] = gates;
                std::thread::spawn(move || pass(to_server, &outward, || Answers::Pass));
                std::thread::spawn(move || pass(to_client, &inward, || taken(&answers)));
                lock(&open).extend([client, server]);
            }
        });
        Ok(proxy)
    }

    /// Where clients connect to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        for stream in lock(&self.open).drain(..) {
            // Its ends may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Parts the two sides: nothing arrives, on connections that there are or that are made, until they are joined again. What was sent
    /// arrives then, as TCP would send it again.
    pub fn part(&self) {
        self.gate.set(true);
    }

    /// Joins the two sides again.
    pub fn join(&self) {
        self.gate.set(false);
    }

    /// What becomes of answers from now on.
    pub fn answers(&self, answers: Answers) {
        *lock(&self.answers) = answers;
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both ways, each as where bytes come from and where they go.
fn halves(client: &TcpStream, server: &TcpStream) -> Option<[(TcpStream, TcpStream); 2]> {
    let pair = |from: &TcpStream, to: &TcpStream| Some((from.try_clone().ok()?, to.try_clone().ok()?));
    Some([pair(client, server)?, pair(server, client)?])
}

fn taken(answers: &Mutex<Answers>) -> Answers {
    let mut answers = lock(answers);
    let now = *answers;
    if now == Answers::CutAtNext {
        *answers = Answers::Pass;
    }
    now
}

/// Until an end closes, or the connection is to be cut.
fn pass((mut from, mut to): (TcpStream, TcpStream), gate: &Gate, answers: impl Fn() -> Answers) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        gate.pass();
        match answers() {
            Answers::Pass if to.write_all(&bytes[..len]).is_ok() => {}
            Answers::Lost => {}
            Answers::Pass | Answers::CutAtNext => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
