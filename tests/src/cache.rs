//! A cache of one test: Redis in its own protocol (RESP2), or a map.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use crate::TestError;

/// A cache of one test.
pub struct TestCache(Kind);

enum Kind {
    Redis(Box<tokio::sync::Mutex<BufStream<TcpStream>>>),
    Map(Mutex<BTreeMap<String, String>>),
}

impl TestCache {
    /// Connects to a Redis.
    ///
    /// # Errors
    /// [`TestError::Io`], [`TestError::Answer`].
    pub async fn redis(address: SocketAddr) -> Result<Self, TestError> {
        let stream = TcpStream::connect(address).await.map_err(TestError::io("Redis"))?;
        let cache = Self(Kind::Redis(Box::new(tokio::sync::Mutex::new(BufStream::new(stream)))));
        match cache.ask(&["PING"]).await? {
            Some(pong) if pong == "PONG" => Ok(cache),
            other => Err(TestError::Answer { server: "Redis", answer: format!("{other:?} to PING") }),
        }
    }

    /// A map in the process.
    #[must_use]
    pub fn embedded() -> Self {
        Self(Kind::Map(Mutex::default()))
    }

    /// Remembers.
    ///
    /// # Errors
    /// [`TestError::Io`], [`TestError::Answer`].
    pub async fn set(&self, key: &str, value: &str) -> Result<(), TestError> {
        if let Kind::Map(map) = &self.0 {
            map.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), value.to_owned());
            return Ok(());
        }
        self.ask(&["SET", key, value]).await.map(drop)
    }

    /// What is remembered.
    ///
    /// # Errors
    /// [`TestError::Io`], [`TestError::Answer`].
    pub async fn get(&self, key: &str) -> Result<Option<String>, TestError> {
        if let Kind::Map(map) = &self.0 {
            return Ok(map.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned());
        }
        self.ask(&["GET", key]).await
    }

    /// One command to Redis; a map is never asked.
    async fn ask(&self, words: &[&str]) -> Result<Option<String>, TestError> {
        let Kind::Redis(stream) = &self.0 else { return Ok(None) };
        let mut stream = stream.lock().await;
        let mut command = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| command.push_str(&format!("${}\r\n{word}\r\n", word.len())));
        let io = || TestError::io("Redis");
        stream.write_all(command.as_bytes()).await.map_err(io())?;
        stream.flush().await.map_err(io())?;
        let mut line = String::new();
        stream.read_line(&mut line).await.map_err(io())?;
        let answer = || TestError::Answer { server: "Redis", answer: line.trim().to_owned() };
        match line.trim_end().split_at_checked(1).ok_or_else(answer)? {
            ("+", text) => Ok(Some(text.to_owned())),
            ("$", "-1") => Ok(None),
            ("$", length) => {
                let mut bytes = vec![0; length.parse::<usize>().map_err(|_| answer())? + 2];
                stream.read_exact(&mut bytes).await.map_err(io())?;
                bytes.truncate(bytes.len() - 2);
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            _ => Err(answer()),
        }
    }
}
