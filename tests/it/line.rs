//! One long-lived connection to the daemon's socket, as a client that is not in a hurry to leave keeps it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// The connection, and what has been read ahead of it.
pub(crate) struct Line {
    stream: UnixStream,
    ahead: Vec<u8>,
}

impl Line {
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// The document at a path.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Value> {
        self.exchange("GET", path, "").map(|(_, document)| document)
    }

    /// Posts a document: the status and the document that answers it.
    pub(crate) fn post(&mut self, path: &str, document: &Value) -> io::Result<(u16, Value)> {
        self.exchange("POST", path, &document.to_string())
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let length = body.len();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: quotad\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes())?;
        let head = self.read_until(|bytes| find(bytes, b"\r\n\r\n").map(|at| at + 4))?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let (Some(status), Some(length)) = (status, length) else { return Err(io::ErrorKind::InvalidData.into()) };
        let body = self.read_until(|bytes| (bytes.len() >= length).then_some(length))?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    fn read_until(&mut self, end: impl Fn(&[u8]) -> Option<usize>) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = end(&self.ahead) {
                let rest = self.ahead.split_off(end);
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.ahead.extend_from_slice(&piece[..read]),
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
