//! Misbehaving clients: slow, half-closed, and of another origin.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod stage;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use serve::Limits;
use test_support::wait_for;

use stage::{Server, Sums, config, form, png};

/// Returns limits with few connections and short times, so that tests end soon.
fn limits() -> Limits {
    Limits {
        connections: 40,
        idle_before_eviction: Duration::from_millis(200),
        answer_time: Duration::from_secs(2),
        ..Limits::default()
    }
}

/// Opens a connection that requests far more than it reads, until sending blocks.
fn slow_reader(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    let requests = "GET /app.js HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    while stream.write_all(requests.as_bytes()).is_ok() {}
    stream
}

/// Returns true if the server has closed the connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.write_all(b"GET / HTTP/1.1\r\n").is_err_and(|error| {
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    })
}

#[test]
fn clients_that_never_read_do_not_block_others() {
    let server = Server::start(Limits { answer_time: Duration::from_mins(2), ..limits() }, false);
    let _slow: Vec<TcpStream> = (0..60).map(|_| slow_reader(server.address)).collect();
    for _ in 0..7 {
        let start = Instant::now();
        assert_eq!(server.get("/healthz").0, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    assert_eq!(server.send(&png(1), &[]).0, 200);
    // Stopping the server does not wait for them either.
    let start = Instant::now();
    assert!(server.finish());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn unread_responses_time_out() {
    let server = Server::start(limits(), false);
    let never = slow_reader(server.address);
    // Reading a byte now and then does not extend the time.
    let mut little = slow_reader(server.address);
    let waited = wait_for("both to be closed", || {
        let _ = little.read(&mut [0; 16]);
        is_closed(&never) && is_closed(&little)
    });
    let bounds = Duration::from_secs(1)..Duration::from_secs(30);
    assert!(bounds.contains(&waited), "closed after {waited:?}");
    assert_eq!(server.get("/healthz").0, 200);
}

#[test]
fn slow_senders_do_not_block_others() {
    let server = Server::start(limits(), false);
    let head = "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\n";
    let mut slow: Vec<TcpStream> = (0..60)
        .map(|client| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            let sent = if client % 2 == 0 { head } else { "GET /healthz HTTP/1.1\r\nx: " };
            stream.write_all(sent.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..7 {
        for stream in &mut slow {
            // Evicted connections fail here.
            let _ = stream.write_all(b"a");
        }
        let start = Instant::now();
        assert_eq!(server.get("/healthz").0, 200);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn requests_in_progress_are_not_evicted() {
    let server = Server::start(limits(), true);
    let address = server.address;
    let (content_type, body) = form(&png(1), &[]);
    let client = std::thread::spawn(move || stage::post(address, &content_type, &body));
    assert_eq!(server.taken.recv().unwrap(), 1);
    // Longer than an idle connection would be kept.
    std::thread::sleep(5 * limits().idle_before_eviction);
    let _slow: Vec<TcpStream> = (0..60).map(|_| slow_reader(address)).collect();
    assert_eq!(server.get("/healthz").0, 200);
    server.gate.send("go").unwrap();
    let (status, answer) = client.join().unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// Sends `request`, shuts down the sending side, and returns the response.
fn half_closed(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn half_closed_connections_get_their_responses() {
    let server = Server::start(Limits::default(), true);
    let get = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = half_closed(server.address, get.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    // Two requests, two responses.
    let answer = half_closed(server.address, get.repeat(2).as_bytes());
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");

    let (content_type, body) = form(&png(3), &[("runs", "any")]);
    let head = format!(
        "POST /v1/caption HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body].concat();
    let address = server.address;
    let client = std::thread::spawn(move || half_closed(address, &request));
    assert_eq!(server.taken.recv().unwrap(), 1);
    // Long enough that the server sees the end of what the client sends.
    std::thread::sleep(Duration::from_millis(300));
    server.gate.send("go").unwrap();
    let answer = client.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let task = serve::Task { run: 0, decoding: config("any").decoding };
    assert_eq!(body["runs"][0]["caption"], Sums::caption(&png(3), &task));

    // An incomplete request gets no response.
    for half in ["GET /healthz HTTP/1.1\r\nhost: loc", ""] {
        assert!(!half_closed(server.address, half.as_bytes()).contains("200"));
    }
    let cut = format!("{head}half");
    let start = Instant::now();
    assert!(!half_closed(server.address, cut.as_bytes()).contains("200"));
    assert!(start.elapsed() < Duration::from_secs(10));
    server.stop.store(true, Ordering::Relaxed);
}

#[test]
fn every_address_is_for_the_servers_own_hosts_and_origin() {
    let server = Server::start(Limits::default(), false);
    let own = format!("host: {}\r\n", server.address);
    let origin = format!("{own}origin: http://{}\r\n", server.address);
    for request in [
        "GET /",
        "GET /style.css",
        "GET /app.js",
        "GET /icon.svg",
        "GET /healthz",
        "GET /metrics",
        "GET /v1/runs",
        "GET /v1/models",
        "GET /samples/0",
        "GET /openapi.json",
        "GET /docs",
        "POST /v1/image-to-text/any",
        "HEAD /",
        "GET /v1/caption",
        "POST /v1/caption",
        "OPTIONS /v1/caption",
        "GET /nowhere",
    ] {
        let by = |headers: &str| {
            let request = format!("{request} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
            server.raw(request.as_bytes()).split(' ').nth(1).unwrap().to_owned()
        };
        let usual = by(&own);
        assert!(!["400", "403"].contains(&usual.as_str()), "{request}: {usual}");
        assert_eq!(by(&origin), usual, "{request}");
        assert_eq!(by("host: evil.example\r\n"), "403", "{request}");
        assert_eq!(by(&format!("{own}origin: http://evil.example\r\n")), "403", "{request}");
        assert_eq!(by(&format!("{own}origin: null\r\n")), "403", "{request}");
        assert_eq!(by(&format!("{own}{own}")), "400", "{request}");
        assert_eq!(by(""), "400", "{request}");
    }
    let old = server.raw(b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(old.contains(" 400 "), "{old}");
    let target =
        "GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert!(server.raw(target.as_bytes()).starts_with("HTTP/1.1 403"));
}
