//! Each fault does what it says, on loopback: the far end tells what arrived.

use std::io::ErrorKind;
use std::time::Instant;

use super::*;

/// A client's end, the proxy, and the node's end of one connection.
struct Line {
    proxy: Proxy,
    node: TcpListener,
    client: TcpStream,
    far: TcpStream,
}

impl Line {
    fn new(seed: u64) -> Self {
        let node = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start("127.0.0.1:0", node.local_addr().unwrap(), seed).unwrap();
        let client = TcpStream::connect(proxy.address()).unwrap();
        let (far, _) = node.accept().unwrap();
        Self { proxy, node, client, far }
    }

    /// Sends to the node and returns what arrives there.
    fn up(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.client.write_all(bytes).unwrap();
        let mut got = vec![0; bytes.len()];
        self.far.read_exact(&mut got).unwrap();
        got
    }

    fn down(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.far.write_all(bytes).unwrap();
        let mut got = vec![0; bytes.len()];
        self.client.read_exact(&mut got).unwrap();
        got
    }
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    #[expect(clippy::disallowed_methods, reason = "a delay of real sockets is measured")]
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[test]
fn without_a_fault_bytes_arrive_unchanged_both_ways_and_an_end_ends_its_direction_only() {
    let mut line = Line::new(1);
    let large: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let (mut sender, sent) = (line.client.try_clone().unwrap(), large.clone());
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    line.far.read_to_end(&mut got).unwrap();
    sending.join().unwrap();
    assert!(got == large, "{} of {} bytes", got.len(), large.len());
    assert_eq!(line.down(b"still open"), b"still open");
    assert_eq!((line.proxy.accepted(), line.proxy.touched()), (1, 0));
}

#[test]
fn latency_makes_every_piece_late_and_changes_none() {
    let mut line = Line::new(2);
    let delay = Duration::from_millis(30);
    line.proxy.set(Fault::Latency { delay, jitter: Duration::from_millis(10) });
    let (answer, took) = timed(|| {
        let there = line.up(b"ask");
        let back = line.down(b"answer");
        (there, back)
    });
    assert_eq!(answer, (b"ask".to_vec(), b"answer".to_vec()));
    assert!(took >= delay * 2, "a round trip took {took:?}");
}

#[test]
fn jitter_stays_within_its_bound_and_repeats_from_its_seed() {
    let line = Line::new(3);
    let pump = |seed| Pump {
        shared: line.proxy.shared.clone(),
        direction: Direction::ToNode,
        random: Random::new(seed),
        is_dead: false,
    };
    let bound = Duration::from_millis(10);
    let draw = |seed| {
        let mut pump = pump(seed);
        (0..100).map(|_| pump.share(bound)).collect::<Vec<_>>()
    };
    let shares = draw(5);
    assert!(shares.iter().all(|share| *share <= bound));
    assert!(shares.iter().max() > shares.iter().min(), "it varies");
    assert_eq!(shares, draw(5));
    assert_ne!(shares, draw(6));
    assert_eq!(pump(5).share(Duration::ZERO), Duration::ZERO);
}

#[test]
fn bandwidth_bounds_what_a_connection_carries() {
    let mut line = Line::new(4);
    line.proxy.set(Fault::Bandwidth { bytes_per_second: 100_000 });
    let bytes = vec![7; 20_000];
    // The thread was waiting for a piece of the size from before; that one is not paused for less.
    let (got, took) = timed(|| line.up(&bytes));
    assert_eq!(got, bytes);
    assert!(took >= Duration::from_millis(190), "20 kB at 100 kB/s took {took:?}");
}

#[test]
fn half_open_swallows_one_direction_and_stays_so() {
    let mut line = Line::new(5);
    line.proxy.set(Fault::HalfOpen(Direction::ToNode));
    line.client.write_all(b"lost").unwrap();
    assert_eq!(line.down(b"heard"), b"heard", "the other direction works");
    line.client.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    line.far.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"", "nothing arrived but the end");
}

#[test]
fn a_connection_that_lost_bytes_never_carries_that_direction_again() {
    let line = Line::new(6);
    let mut pump = Pump {
        shared: line.proxy.shared.clone(),
        direction: Direction::ToClient,
        random: Random::new(1),
        is_dead: false,
    };
    let (mut to, mut seen) = (line.far.try_clone().unwrap(), line.client.try_clone().unwrap());
    line.proxy.set(Fault::HalfOpen(Direction::ToClient));
    assert!(pump.pass(&mut b"first".to_vec(), &mut to));
    line.proxy.set(Fault::None);
    assert!(pump.pass(&mut b"second".to_vec(), &mut to));
    drop(to);
    line.far.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    seen.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"");
}

#[test]
fn a_cut_resets_both_ends_and_every_new_connection_until_it_is_over() {
    let mut line = Line::new(7);
    line.up(b"works");
    line.proxy.set(Fault::Cut);
    for stream in [&mut line.client, &mut line.far] {
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let mut refused = TcpStream::connect(line.proxy.address()).unwrap();
    assert_eq!(refused.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    line.proxy.set(Fault::None);
    let mut client = TcpStream::connect(line.proxy.address()).unwrap();
    let (mut far, _) = line.node.accept().unwrap();
    client.write_all(b"again").unwrap();
    let mut got = [0; 5];
    far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"again");
}

#[test]
fn a_slow_close_ends_late_and_loses_nothing() {
    let mut line = Line::new(8);
    let late = Duration::from_millis(60);
    line.proxy.set(Fault::SlowClose(late));
    line.client.write_all(b"last words").unwrap();
    let (got, took) = timed(|| {
        line.client.shutdown(Shutdown::Both).unwrap();
        let mut got = Vec::new();
        line.far.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(got, b"last words");
    assert!(took >= late, "the end came after {took:?}");
}

#[test]
fn corruption_changes_one_byte_of_a_piece_and_only_towards_the_node() {
    let text = vec![b'1'; 200];
    for damage in [Damage::HighBit, Damage::AnyBit] {
        let damaged = |seed| {
            let mut line = Line::new(seed);
            line.proxy.set(Fault::Corrupt(damage));
            let got = line.up(&text);
            assert_eq!(line.down(&text), text, "answers are untouched");
            assert_eq!((line.proxy.damaged(), line.proxy.touched()), (1, 1));
            got
        };
        let got = damaged(9);
        let changed: Vec<u8> = got.iter().copied().filter(|byte| *byte != b'1').collect();
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0] ^ b'1').count_ones(), 1);
        assert!(damage == Damage::AnyBit || changed[0] >= 0x80, "not ASCII any more");
        assert_eq!(got, damaged(9), "the same seed damages the same byte");
    }
}
