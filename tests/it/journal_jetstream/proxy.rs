//! A connection that can be cut, and whose answers can be lost.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of the server's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    Pass,
    /// The next one is lost, and the connection with it.
    CutAtNext,
    Lost,
}

/// Stands between a client and the server.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub(super) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, answers: Arc::new(Mutex::new(Answers::Pass)), open: Arc::default() };
        let (answers, open) = (proxy.answers.clone(), proxy.open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (own, other) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(own, other, || Answers::Pass));
                let (own, other, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap(), answers.clone());
                std::thread::spawn(move || pass(other, own, || taken(&answers)));
                open.lock().unwrap().extend([client, server]);
            }
        });
        proxy
    }

    pub(super) fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }
}

fn taken(answers: &Mutex<Answers>) -> Answers {
    let mut answers = answers.lock().unwrap();
    let now = *answers;
    if now == Answers::CutAtNext {
        *answers = Answers::Pass;
    }
    now
}

/// Until an end closes, or the connection is to be cut.
fn pass(mut from: TcpStream, mut to: TcpStream, answers: impl Fn() -> Answers) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        match answers() {
            Answers::Pass if to.write_all(&bytes[..len]).is_ok() => {}
            Answers::Lost => {}
            Answers::Pass | Answers::CutAtNext => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
