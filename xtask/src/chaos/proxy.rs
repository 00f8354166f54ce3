//! A TCP proxy that does to every connection what networks do: late, slow, swallowed, cut, closed late, damaged.
//!
//! Two threads carry a connection, one per direction. The fault is looked at for every piece of bytes, so it changes while connections live.
//! Invariant: without a fault, bytes arrive unchanged and in order, and an end of one direction ends that direction only.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pause;
use super::random::Random;

/// Bytes carried at once, at most.
const PIECE: usize = 16 << 10;
/// Pieces per second of a throttled connection: small enough that it is slow throughout, not in jerks.
const PIECES_PER_SECOND: u64 = 50;
/// How long the node may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToNode,
    ToClient,
}

/// What happens to bytes that go to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The highest bit of a byte is set: no text of ASCII survives it unseen.
    HighBit,
    /// Any one bit of a byte is turned.
    AnyBit,
}

/// What the proxy does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Every piece comes late by `delay` and at most `jitter` more, in order.
    Latency {
        delay: Duration,
        jitter: Duration,
    },
    /// Each direction of each connection carries no more than this.
    Bandwidth {
        bytes_per_second: u64,
    },
    /// Bytes of one direction vanish, and nobody is told. A connection that lost a byte never carries that direction again.
    HalfOpen(Direction),
    /// Every connection is reset, and every new one.
    Cut,
    /// The end of a connection arrives this late.
    SlowClose(Duration),
    /// In each piece to the node, one byte is damaged.
    Corrupt(Damage),
}

/// A running proxy; ends with everything it carries when dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    fault: Mutex<Fault>,
    upstream: Mutex<SocketAddr>,
    connections: Mutex<BTreeMap<u64, [TcpStream; 2]>>,
    stop: AtomicBool,
    accepted: AtomicU64,
    damaged: AtomicU64,
    touched: AtomicU64,
    seed: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Listens on `address` and carries to `upstream`.
    pub(super) fn start(address: &str, upstream: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            fault: Mutex::new(Fault::None),
            upstream: Mutex::new(upstream),
            connections: Mutex::default(),
            stop: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            seed,
        });
        let accepting = shared.clone();
        let acceptor =
            std::thread::Builder::new().name("proxy".to_owned()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens from the next piece on; a cut also resets what is there.
    pub(super) fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
        if fault == Fault::Cut {
            self.shared.reset_all();
        }
    }

    /// Connections taken so far.
    pub(super) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes damaged so far.
    pub(super) fn damaged(&self) -> u64 {
        self.shared.damaged.load(Ordering::Relaxed)
    }

    /// How often a fault did something: to a piece, an end or a connection.
    pub(super) fn touched(&self) -> u64 {
        self.shared.touched.load(Ordering::Relaxed)
    }

    /// Waits until somebody ends the process.
    pub(super) fn serve(mut self) {
        if let Some(acceptor) = self.acceptor.take() {
            // Only a panic ends it, and that is printed.
            let _ = acceptor.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // Wakes the acceptor, which then sees that it shall stop.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT);
        if let Some(acceptor) = self.acceptor.take() {
            // Its panic is printed already.
            let _ = acceptor.join();
        }
        self.shared.reset_all();
    }
}

impl Shared {
    fn touch(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    fn fault(&self) -> Fault {
        *lock(&self.fault)
    }

    /// Linger zero turns the close that follows into a reset (RFC 9293, section 3.10.7: ABORT).
    fn reset_all(&self) {
        for (_, pair) in std::mem::take(&mut *lock(&self.connections)) {
            self.touch();
            for stream in pair {
                reset(&stream);
            }
        }
    }
}

/// The last handle that closes sends the reset; shutting the reading side down only wakes who reads, and sends nothing.
fn reset(stream: &TcpStream) {
    // A stream that its peer has reset cannot be reset.
    let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Read);
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0_u64.. {
        let Ok((client, _)) = listener.accept() else { continue };
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.fault() == Fault::Cut {
            shared.touch();
            reset(&client);
            continue;
        }
        let upstream = *lock(&shared.upstream);
        // Nobody there: the client sees its connection end, as behind a real balancer.
        let Ok(node) = TcpStream::connect_timeout(&upstream, CONNECT) else { continue };
        if let Err(error) = carry(shared, number, &client, &node) {
            eprintln!("proxy: connection {number} is not carried: {error}");
        }
    }
}

fn carry(shared: &Arc<Shared>, number: u64, client: &TcpStream, node: &TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    node.set_nodelay(true)?;
    lock(&shared.connections).insert(number, [client.try_clone()?, node.try_clone()?]);
    let open = Arc::new(AtomicU64::new(2));
    for direction in [Direction::ToNode, Direction::ToClient] {
        let (from, to) = match direction {
            Direction::ToNode => (client.try_clone()?, node.try_clone()?),
            Direction::ToClient => (node.try_clone()?, client.try_clone()?),
        };
        let seed = shared.seed.wrapping_mul(31).wrapping_add(number * 2 + u64::from(direction == Direction::ToNode));
        let pump = Pump { shared: shared.clone(), direction, random: Random::new(seed), is_dead: false };
        let (open, ends) = (open.clone(), shared.clone());
        std::thread::Builder::new().name("proxy-pump".to_owned()).spawn(move || {
            pump.run(from, to);
            if open.fetch_sub(1, Ordering::AcqRel) == 1 {
                lock(&ends.connections).remove(&number);
            }
        })?;
    }
    Ok(())
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    direction: Direction,
    random: Random,
    /// Has lost a byte.
    is_dead: bool,
}

impl Pump {
    fn run(mut self, mut from: TcpStream, mut to: TcpStream) {
        let mut piece = vec![0; PIECE];
        loop {
            let fault = self.shared.fault();
            let room = match fault {
                Fault::Bandwidth { bytes_per_second } => {
                    (bytes_per_second / PIECES_PER_SECOND).clamp(1, PIECE as u64) as usize
                }
                _ => PIECE,
            };
            let read = match from.read(&mut piece[..room]) {
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            if !self.pass(&mut piece[..read], &mut to) {
                break;
            }
        }
        match self.shared.fault() {
            // The last handle sends a reset; an orderly end would come before it.
            Fault::Cut => return,
            Fault::SlowClose(late) => {
                self.shared.touch();
                pause(late);
            }
            _ => {}
        }
        // The other side may be gone already.
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Passes one piece on, under the fault of now; false when nobody takes it.
    fn pass(&mut self, piece: &mut [u8], to: &mut TcpStream) -> bool {
        match self.shared.fault() {
            Fault::HalfOpen(direction) if direction == self.direction => self.is_dead = true,
            Fault::Latency { delay, jitter } => pause(delay + self.share(jitter)),
            Fault::Bandwidth { bytes_per_second } => {
                pause(Duration::from_nanos(piece.len() as u64 * 1_000_000_000 / bytes_per_second.max(1)));
            }
            Fault::Corrupt(damage) if self.direction == Direction::ToNode => self.damage(piece, damage),
            // The others have nothing to do with a piece.
            _ => return self.is_dead || to.write_all(piece).is_ok(),
        }
        self.shared.touch();
        self.is_dead || to.write_all(piece).is_ok()
    }

    fn share(&mut self, jitter: Duration) -> Duration {
        let most = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        if most == 0 { Duration::ZERO } else { Duration::from_nanos(self.random.within(0, most)) }
    }

    fn damage(&mut self, piece: &mut [u8], damage: Damage) {
        let Some(last) = piece.len().checked_sub(1) else { return };
        let at = self.random.within(0, last as u64) as usize;
        match damage {
            Damage::HighBit => piece[at] |= 0x80,
            Damage::AnyBit => piece[at] ^= 1 << self.random.within(0, 7),
        }
        self.shared.damaged.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
