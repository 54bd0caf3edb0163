//! Asking whether the hub answers at all.

use std::time::Duration;

use ureq::Agent;

use crate::Options;
use crate::retry::Fault;

/// Waits up to `patience` for an answer of the hub, whatever it is.
///
/// # Errors
/// Fails with the reason; [`Options::offline`] is one.
pub fn reach(options: &Options, patience: Duration) -> Result<(), String> {
    if options.offline {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    let config =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(patience)).build();
    match Agent::from(config).head(&options.endpoint).call() {
        Ok(_) => Ok(()),
        Err(error) => Err(match Fault::from(error) {
            Fault::Passing { reason, .. } => reason,
            Fault::Final(error) => error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn options(port: u16) -> Options {
        Options {
            cache: "cache".into(),
            other_caches: Vec::new(),
            endpoint: format!("http://127.0.0.1:{port}"),
            token: None,
            offline: false,
            tries: 1,
            first_pause: Duration::ZERO,
            silence: Duration::from_secs(1),
        }
    }

    #[test]
    fn any_answer_will_do_and_silence_ends_the_wait() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = options(server.local_addr().unwrap().port());
        let answering = std::thread::spawn(move || {
            let (mut client, _) = server.accept().unwrap();
            let _ = client.read(&mut [0; 1000]).unwrap();
            client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").unwrap();
            server
        });
        assert_eq!(reach(&options, Duration::from_secs(30)), Ok(()));
        let server = answering.join().unwrap();
        let start = Instant::now();
        assert!(reach(&options, Duration::from_millis(200)).is_err());
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        drop(server);
        assert!(reach(&options, Duration::from_secs(30)).is_err());
        let offline = Options { offline: true, ..options };
        assert!(reach(&offline, Duration::from_secs(30)).unwrap_err().contains("HF_HUB_OFFLINE"));
    }
}
