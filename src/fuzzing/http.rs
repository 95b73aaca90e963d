//! Requests for metrics: any bytes, in any pieces.
use crate::exporter::http::{self, MAX_HEAD, Step, Then};

/// Any bytes.
pub fn http(data: &[u8]) {
    let verdict = http::read(data);
    judge(&verdict, data);
    for end in 0..data.len().min(2 * MAX_HEAD) {
        let early = http::read(&data[..end]);
        assert!(
            stands(&early, &verdict),
            "a verdict that more bytes take back: {early:?} of {end} bytes, then {verdict:?}"
        );
    }
}

fn judge(verdict: &Step, data: &[u8]) {
    let is_head = |head: &[u8]| head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n");
    let line = |head: &[u8]| String::from_utf8_lossy(head).trim_start().to_owned();
    match *verdict {
        Step::More => assert!(data.len() < MAX_HEAD, "more is kept than may be"),
        Step::Request(request, length) => {
            let head = &data[..length];
            assert!(length <= MAX_HEAD && is_head(head), "it ends where no head ends");
            let method = if request.head_only { "HEAD " } else { "GET " };
            assert!(line(head).starts_with(method), "another method");
        }
        Step::Refused { then: Then::Close, length, .. } => assert!(length <= data.len()),
        Step::Refused { length, .. } => assert!(is_head(&data[..length]), "the next request begins nowhere"),
    }
}

/// Whether what was said of the first bytes holds for more of them. One that ends the connection takes all there is.
fn stands(early: &Step, verdict: &Step) -> bool {
    match (early, verdict) {
        (Step::More, _) => true,
        (Step::Refused { status, then: Then::Close, .. }, Step::Refused { status: later, then: Then::Close, .. }) => {
            status == later
        }
        _ => early == verdict,
    }
}
