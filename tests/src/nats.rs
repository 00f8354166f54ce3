//! As much of NATS's client protocol as a test needs: connect, subscribe, publish, receive.
//!
//! Reference: NATS documentation, "Client Protocol".

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::TestError;

pub(crate) struct NatsConnection(BufStream<TcpStream>);

impl NatsConnection {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, TestError> {
        let stream = TcpStream::connect(address).await.map_err(TestError::io("NATS"))?;
        let mut connection = Self(BufStream::new(stream));
        let greeting = connection.line().await?;
        if !greeting.starts_with("INFO ") {
            return Err(TestError::Answer { server: "NATS", answer: greeting });
        }
        connection.send("CONNECT {\"verbose\":false,\"pedantic\":true}\r\n").await?;
        connection.settled().await?;
        Ok(connection)
    }

    /// Subscribes; once this returns, the server knows it.
    pub(crate) async fn subscribe(&mut self, subject: &str) -> Result<(), TestError> {
        self.send(&format!("SUB {subject} 1\r\n")).await?;
        self.settled().await
    }

    pub(crate) async fn publish(&mut self, subject: &str, payload: &str) -> Result<(), TestError> {
        self.send(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len())).await
    }

    /// The next message. Not cancel safe: a dropped future may have taken a part of one.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, TestError> {
        loop {
            let line = self.line().await?;
            if line == "PING" {
                self.send("PONG\r\n").await?;
            } else if let Some(head) = line.strip_prefix("MSG ") {
                let length = head.rsplit(' ').next().and_then(|n| n.parse::<usize>().ok());
                let length = length.ok_or(TestError::Answer { server: "NATS", answer: line })?;
                let mut payload = vec![0; length + 2];
                self.0.read_exact(&mut payload).await.map_err(TestError::io("NATS"))?;
                payload.truncate(length);
                return Ok(payload);
            } else {
                return Err(TestError::Answer { server: "NATS", answer: line });
            }
        }
    }

    /// The server has handled everything so far.
    async fn settled(&mut self) -> Result<(), TestError> {
        self.send("PING\r\n").await?;
        match self.line().await?.as_str() {
            "PONG" => Ok(()),
            other => Err(TestError::Answer { server: "NATS", answer: other.to_owned() }),
        }
    }

    async fn send(&mut self, text: &str) -> Result<(), TestError> {
        self.0.write_all(text.as_bytes()).await.map_err(TestError::io("NATS"))?;
        self.0.flush().await.map_err(TestError::io("NATS"))
    }

    async fn line(&mut self) -> Result<String, TestError> {
        let mut line = String::new();
        self.0.read_line(&mut line).await.map_err(TestError::io("NATS"))?;
        Ok(line.trim_end().to_owned())
    }
}
