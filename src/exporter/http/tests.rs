use super::*;

fn request(target: Target, then: Then, text: &str) -> Step {
    Step::Request(Request { target, head_only: text.starts_with("HEAD"), then }, text.len())
}

fn status(text: &str) -> Option<(Status, Then)> {
    match read(text.as_bytes()) {
        Step::Refused { status, then, length, .. } => {
            assert_eq!(length, text.len());
            Some((status, then))
        }
        _ => None,
    }
}

#[test]
fn good_requests_are_understood_at_their_last_byte() {
    let good = [
        ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Target::Metrics(Form::Classic), Then::Stay),
        (
            "HEAD /metrics?x=y HTTP/1.1\r\nhost: a\r\nContent-Length: 0\r\n\r\n",
            Target::Metrics(Form::Classic),
            Then::Stay,
        ),
        (
            "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: Application/OpenMetrics-Text;version=1.0.0,*/*;q=0.1\r\n\r\n",
            Target::Metrics(Form::Open),
            Then::Stay,
        ),
        ("GET http://a:9/healthz HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", Target::Health, Then::Stay),
        ("GET http://a HTTP/1.1\r\nHost: a\r\nConnection: foo , Close\r\n\r\n", Target::Front, Then::Close),
        ("GET / HTTP/1.0\r\n\r\n", Target::Front, Then::Close),
        ("\r\nGET / HTTP/1.0\nConnection: Keep-Alive\n\n", Target::Front, Then::StayAsAsked),
    ];
    for (text, target, then) in good {
        assert_eq!(read(text.as_bytes()), request(target, then, text), "{text}");
        assert_eq!(read(format!("{text}GET").as_bytes()), request(target, then, text), "what follows is another one's");
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), Step::More, "{:?}", &text[..end]);
        }
    }
}

#[test]
fn what_is_refused_and_whether_the_connection_stays() {
    let (bad, stay, close) = (Status::BadRequest, Then::Stay, Then::Close);
    let refused = [
        ("GET /other HTTP/1.1\r\nHost: a\r\n\r\n", Status::NotFound, stay),
        ("GET /metrics/ HTTP/1.1\r\nHost: a\r\n\r\n", Status::NotFound, stay),
        ("GET https://a/metrics HTTP/1.1\r\nHost: a\r\n\r\n", Status::NotFound, stay),
        ("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed, stay),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Status::MethodNotAllowed, stay),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", Status::MethodNotAllowed, close),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", bad, close),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", bad, close),
        ("GET /metrics HTTP/1.1\r\n\r\n", bad, close),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", bad, close),
        ("GET /metrics HTTP/2.0\r\n\r\n", bad, close),
        ("GET /metrics\r\n\r\n", bad, close),
        ("\u{16}\u{3}\u{1}", bad, close),
        ("GET /metrics HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n", bad, close),
    ];
    for (text, expected, then) in refused {
        assert_eq!(status(text), Some((expected, then)), "{text:?}");
    }
}

#[test]
fn a_head_has_its_bounds() {
    let padded = |size: usize| format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(size - 23));
    assert_eq!(read(padded(MAX_HEAD).as_bytes()), request(Target::Front, Then::Close, &padded(MAX_HEAD)));
    assert_eq!(status(&padded(MAX_HEAD + 1)), Some((Status::TooLarge, Then::Close)));
    assert_eq!(read(&[b'x'; MAX_HEAD - 1]), Step::More);
    assert_eq!(status(&"x".repeat(MAX_HEAD)), Some((Status::TooLarge, Then::Close)));
    let many = format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
    assert_eq!(status(&many), Some((Status::TooLarge, Then::Close)));
}

#[test]
fn responses_say_how_long_they_are_and_what_becomes_of_the_connection() {
    let response = Response::words(Status::MethodNotAllowed, "no\n");
    let text = |head_only, then| String::from_utf8(response.bytes(head_only, then)).unwrap();
    let whole = text(false, Then::Close);
    assert!(whole.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && whole.ends_with("\r\n\r\nno\n"), "{whole}");
    assert!(whole.contains("Content-Length: 3\r\n") && whole.contains("Allow: GET, HEAD\r\n"), "{whole}");
    assert!(whole.contains("Connection: close\r\n"), "{whole}");
    assert!(!text(false, Then::Stay).contains("Connection"));
    assert!(text(false, Then::StayAsAsked).contains("Connection: keep-alive\r\n"));
    assert_eq!(text(true, Then::Close), whole.strip_suffix("no\n").unwrap());
}
