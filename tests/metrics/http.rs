//! A client of HTTP/1.1 with bare hands, written apart from the daemon's code.
use crate::support::DEADLINE;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug)]
pub struct Response {
    pub code: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub struct Connection(pub BufReader<TcpStream>);

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        Self::open(address).unwrap()
    }

    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)
    }

    /// Asks and hears.
    pub fn ask(&mut self, method: &str, path: &str) -> io::Result<Response> {
        self.say(format!("{method} {path} HTTP/1.1\r\nHost: test\r\nAccept: application/openmetrics-text; version=1.0.0, */*;q=0.1\r\n\r\n").as_bytes())?;
        self.hear(method != "HEAD")
    }

    /// One response.
    pub fn hear(&mut self, with_body: bool) -> io::Result<Response> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.strip_suffix("\r\n").expect("lines end with CRLF") {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let code = lines[0].strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let header =
            |line: &String| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let headers: Vec<(String, String)> = lines[1..].iter().map(|line| header(line).unwrap()).collect();
        let mut response = Response { code, headers, body: String::new() };
        let length = response.header("content-length").unwrap().parse().unwrap();
        let mut body = vec![0; if with_body { length } else { 0 }];
        self.0.read_exact(&mut body)?;
        response.body = String::from_utf8(body).unwrap();
        Ok(response)
    }

    /// Whether the other side ends the connection within `span`, after whatever else it says.
    pub fn ends(&mut self, span: Duration) -> bool {
        self.0.get_mut().set_read_timeout(Some(span)).unwrap();
        match self.0.read_to_end(&mut Vec::new()) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// One request over a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> io::Result<Response> {
    Connection::open(address)?.ask("GET", path)
}
