//! HTTP as a stranger speaks it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

/// One request on a connection of its own, so that every header is under control.
pub(crate) struct Request<'a> {
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, String)>,
    body: String,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn post(path: &'a str, body: impl ToString) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { method: "POST", path, headers, body: body.to_string() }
    }

    pub(crate) fn with(mut self, name: &'a str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.with("Authorization", format!("Bearer {token}"))
    }

    pub(crate) fn send(self, address: &str) -> Answer {
        let mut stream = TcpStream::connect(address).unwrap();
        let host =
            if self.headers.iter().any(|h| h.0 == "Host") { String::new() } else { format!("Host: {address}\r\n") };
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = self.body.len();
        let head = format!("{} {} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\n\r\n", self.method, self.path);
        stream.write_all(head.as_bytes()).unwrap();
        // The node may refuse before it has read all of a large body.
        let _ = stream.write_all(self.body.as_bytes());
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split_whitespace().nth(1).unwrap_or_default().parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        Answer { status, headers, reader }
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|h| h.0 == name).map(|h| h.1.as_str())
    }

    pub(crate) fn text(mut self) -> String {
        let length = self.header("content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    /// The code of an error, which must come with words and a remedy.
    pub(crate) fn code(self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(
            !error["message"].as_str().unwrap().is_empty() && !error["help"].as_str().unwrap().is_empty(),
            "{body}"
        );
        error["code"].as_str().unwrap().to_owned()
    }

    /// Packets of a stream of events with their `id` lines, until there are `count`.
    pub(crate) fn events(mut self, count: usize) -> Vec<(u64, Value)> {
        assert_eq!((self.status, self.header("content-type")), (200, Some("text/event-stream")));
        let (mut events, mut id) = (Vec::new(), 0);
        while events.len() < count {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(number) = line.strip_prefix("id: ") {
                id = number.trim().parse().unwrap();
            } else if let Some(data) = line.strip_prefix("data: ") {
                events.push((id, serde_json::from_str(data).unwrap()));
            }
        }
        events
    }
}
