//! Requests and responses of HTTP/1.0 and 1.1 (RFC 9112), as much as metrics need. Pure.
//!
//! Promise: any bytes give an answer: that more is needed, a request, or the status that refuses it; never more than
//! [`MAX_HEAD`] bytes are asked for. No byte of a request stands in a response.
use std::fmt::Write as _;

/// The longest request line and headers together, in bytes.
pub const MAX_HEAD: usize = 8 << 10;
/// The most headers.
const MAX_HEADERS: usize = 64;

/// The form of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0, for who says that it can read it, as Prometheus does.
    Open,
    /// Prometheus' older text format 0.0.4, for all others.
    Classic,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/metrics`.
    Metrics(Form),
    /// `/healthz`.
    Health,
    /// `/`.
    Front,
}

/// A request that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What of.
    pub target: Target,
    /// `HEAD`: without its body.
    pub head_only: bool,
    /// What becomes of the connection.
    pub then: Then,
}

/// What becomes of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next request may come.
    Stay,
    /// The same, and a client of HTTP/1.0 has to be told.
    StayAsAsked,
    /// It ends.
    Close,
}

/// The status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 200.
    Ok,
    /// 400.
    BadRequest,
    /// 404.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// 408.
    Timeout,
    /// 431.
    TooLarge,
    /// 503.
    Unavailable,
}

impl Status {
    /// Code and reason.
    pub fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::Timeout => "408 Request Timeout",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What the bytes that came so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The beginning of a request.
    More,
    /// A request, of so many bytes.
    Request(Request, usize),
    /// One that is refused, of so many bytes.
    Refused {
        /// Why.
        status: Status,
        /// `HEAD`: without a body.
        head_only: bool,
        /// What becomes of the connection.
        then: Then,
        /// Its length; all there is, if the connection ends.
        length: usize,
    },
}

/// Reads the request that `bytes` begin with.
pub fn read(bytes: &[u8]) -> Step {
    let refused = |status| Step::Refused { status, head_only: false, then: Then::Close, length: bytes.len() };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    // What is beyond the limit does not count: the pieces in which it comes make no difference.
    match parsed.parse(&bytes[..bytes.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => judge(&parsed, length).unwrap_or_else(refused),
        Ok(httparse::Status::Partial) if bytes.len() >= MAX_HEAD => refused(Status::TooLarge),
        Ok(httparse::Status::Partial) => Step::More,
        Err(httparse::Error::TooManyHeaders) => refused(Status::TooLarge),
        Err(_) => refused(Status::BadRequest),
    }
}

/// What a whole head asks for.
///
/// # Errors
/// The status that refuses it and ends the connection: where the next request begins is not known.
fn judge(parsed: &httparse::Request<'_, '_>, length: usize) -> Result<Step, Status> {
    let (Some(method), Some(path), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Status::BadRequest);
    };
    let values =
        |name: &'static str| parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    // RFC 9112, 3.2: exactly one, and of HTTP/1.0 none is needed.
    if values("host").count() > 1 || (minor == 1 && values("host").count() == 0) {
        return Err(Status::BadRequest);
    }
    let has_body =
        values("transfer-encoding").next().is_some() || values("content-length").any(|header| header.value != b"0");
    let then = if has_body { Then::Close } else { keep(minor, values("connection").map(|header| header.value)) };
    let head_only = method == "HEAD";
    let refused = |status| Ok(Step::Refused { status, head_only, then, length });
    if !["GET", "HEAD"].contains(&method) {
        return refused(Status::MethodNotAllowed);
    }
    if has_body {
        return Err(Status::BadRequest);
    }
    let reads_open = |header: &httparse::Header<'_>| contains(header.value, b"application/openmetrics-text");
    let form = if values("accept").any(reads_open) { Form::Open } else { Form::Classic };
    match target(path, form) {
        Some(target) => Ok(Step::Request(Request { target, head_only, then }, length)),
        None => refused(Status::NotFound),
    }
}

fn contains(value: &[u8], word: &[u8]) -> bool {
    value.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// What becomes of the connection (RFC 9112, 9.3).
fn keep<'a>(minor: u8, connection: impl Iterator<Item = &'a [u8]>) -> Then {
    let options: Vec<&[u8]> =
        connection.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect();
    let has = |option: &[u8]| options.iter().any(|given| given.eq_ignore_ascii_case(option));
    match minor {
        _ if has(b"close") => Then::Close,
        1 => Then::Stay,
        _ if has(b"keep-alive") => Then::StayAsAsked,
        _ => Then::Close,
    }
}

/// `/path?query`, or the same with scheme and host before it (RFC 9112, 3.2.2).
fn target(path: &str, form: Form) -> Option<Target> {
    let local = match path.split_once("://") {
        Some(("http", rest)) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        _ => path,
    };
    match local.split('?').next().unwrap_or_default() {
        "/metrics" => Some(Target::Metrics(form)),
        "/healthz" => Some(Target::Health),
        "/" => Some(Target::Front),
        _ => None,
    }
}

/// What is sent, but for what becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Its status.
    pub status: Status,
    /// The media type of the body.
    pub kind: &'a str,
    /// The body.
    pub body: &'a str,
}

/// Text for people.
pub const TEXT: &str = "text/plain; charset=utf-8";

impl<'a> Response<'a> {
    /// One with a few words for people.
    pub fn words(status: Status, body: &'a str) -> Self {
        Self { status, kind: TEXT, body }
    }

    /// Its bytes.
    pub fn bytes(&self, head_only: bool, then: Then) -> Vec<u8> {
        let Self { status, kind, body } = self;
        let mut text = format!(
            "HTTP/1.1 {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            status.line(),
            body.len()
        );
        let allow = if *status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let connection = match then {
            Then::Stay => "",
            Then::StayAsAsked => "Connection: keep-alive\r\n",
            Then::Close => "Connection: close\r\n",
        };
        let body = if head_only { "" } else { body };
        let _ = write!(text, "{allow}{connection}\r\n{body}");
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests;
