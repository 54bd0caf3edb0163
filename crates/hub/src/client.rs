//! Requests to the hub: file lists, metadata and contents.
//!
//! # Why not hf-hub
//!
//! hf-hub 1.0.0 with `blocking` was run against the fake hub of this crate's tests. It reports
//! success and keeps the received bytes as the model if the storage sends other bytes, a log-in
//! page, or the body of a 403 or 500 answer: it checks neither status, size nor digest of a
//! download. Its next call returns these bytes again. An etag `../../../x` is written outside the
//! cache. A cut download fails and starts from zero in the next call; a file of a branch costs one
//! request although it is cached; `HF_HUB_OFFLINE` and `Retry-After` are ignored; there is no
//! read timeout; a wait for another process ends after ten seconds with an error; and renamed
//! repositories such as `models--gpt2` are not found in the cache. It brings 224 crates (tokio,
//! reqwest, aws-lc, hf-xet) for what here are a few hundred lines over ureq.

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use progress::Progress;
use serde::Deserialize;
use ureq::http::{Response, StatusCode, Uri};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Body, RequestBuilder};

use crate::headers::header_text;
use crate::reference::{is_commit, is_file};
use crate::retry::{self, RequestError, with_retries};
use crate::{Error, Options};

/// Maximum number of relative redirects in a request for metadata. Renamed repositories redirect.
const MAX_REDIRECTS: u32 = 5;
/// Maximum length of a repository's file list, in bytes.
const MAX_LIST_LENGTH: u64 = 32 << 20;

/// Characters to escape in a segment of an address: all but the unreserved ones of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A repository at a revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remote<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
}

/// Metadata of a file from the hub's response headers.
#[derive(Debug)]
pub(crate) struct FileMetadata {
    /// Address of the file's bytes.
    pub url: String,
    pub commit: String,
    /// SHA-256 of a large file, git object id of a small one. Safe as a file name.
    pub etag: String,
    pub size: Option<u64>,
}

pub(crate) struct Client<'o> {
    agent: Agent,
    pub options: &'o Options,
}

impl<'o> Client<'o> {
    pub fn new(options: &'o Options) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(options.read_timeout))
            .timeout_per_read(Some(options.read_timeout))
            .user_agent(concat!("capsmith/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), options }
    }

    /// Requests the bytes of `url` from `start` on; follows redirects.
    pub fn get(&self, url: &str, start: u64) -> Result<Response<Body>, ureq::Error> {
        // The query of a redirected URL may be a signature.
        tracing::trace!("GET {} from byte {start}", url.split('?').next().unwrap_or_default());
        let request = self.with_headers(self.agent.get(url), url);
        match start {
            0 => request.call(),
            start => request.header("Range", format!("bytes={start}-")).call(),
        }
    }

    /// Adds the headers of all requests, and the token if `url` is on the hub.
    fn with_headers(
        &self,
        request: RequestBuilder<WithoutBody>,
        url: &str,
    ) -> RequestBuilder<WithoutBody> {
        let request = request.header("Accept-Encoding", "identity");
        let is_hub = url.strip_prefix(&self.options.endpoint).is_some_and(|s| s.starts_with('/'));
        match &self.options.token {
            // ureq drops it at a redirect, so that the storage behind the hub does not get it.
            Some(token) if is_hub => request.header("Authorization", format!("Bearer {token}")),
            _ => request,
        }
    }

    /// Returns the metadata of `file`, without its bytes.
    pub fn metadata(
        &self,
        remote: Remote<'_>,
        file: &str,
        progress: &mut dyn Progress,
    ) -> Result<FileMetadata, Error> {
        let first = format!(
            "{}/{}/resolve/{}/{}",
            self.options.endpoint,
            remote.repository,
            utf8_percent_encode(remote.revision, SEGMENT),
            utf8_percent_encode(file, PATH)
        );
        with_retries(self.options, &first, progress, |_, _| {
            let mut url = first.clone();
            for _ in 0..=MAX_REDIRECTS {
                let request = self.with_headers(self.agent.head(&url), &url);
                let response = request.config().max_redirects(0).build().call()?;
                let status = response.status();
                let location = header_text(&response, "location");
                if status.is_redirection()
                    && let Some(next) = location.and_then(|next| on_same_host(&url, next))
                {
                    url = next;
                } else if status.is_success() || status.is_redirection() {
                    return Ok(file_metadata(&response, url, remote.revision)?);
                } else {
                    return Err(self.refusal(&response, url, remote, file));
                }
            }
            Err(Error::Refused { url, reason: "it redirects in a circle".to_owned() }.into())
        })
    }

    /// Returns the commit of a repository's revision, and its files.
    pub fn files(
        &self,
        remote: Remote<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(String, Vec<String>), Error> {
        let Remote { repository, revision } = remote;
        let revision = utf8_percent_encode(revision, SEGMENT);
        let url = format!("{}/api/models/{repository}/revision/{revision}", self.options.endpoint);
        with_retries(self.options, &url, progress, |_, _| {
            let mut response = self.get(&url, 0)?;
            if !response.status().is_success() {
                return Err(self.refusal(&response, url.clone(), remote, "files"));
            }
            let text = response.body_mut().with_config().limit(MAX_LIST_LENGTH).read_to_vec()?;
            Ok(file_list(&text, &url, remote.revision)?)
        })
    }

    /// Returns the address of a repository's web page.
    pub fn page(&self, repository: &str) -> String {
        format!("{}/{repository}", self.options.endpoint)
    }

    fn refusal(
        &self,
        response: &Response<Body>,
        url: String,
        Remote { repository, revision }: Remote<'_>,
        missing: &str,
    ) -> RequestError {
        let page = self.page(repository);
        match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                let then = match self.options.token {
                    Some(_) => "check that the token in HF_TOKEN or $HF_HOME/token may read it",
                    None => "set HF_TOKEN to a token from https://huggingface.co/settings/tokens",
                };
                let hint = format!("accept its licence at {page}, then {then}");
                let repository = repository.to_owned();
                Error::Denied { url, status: status.as_u16(), repository, hint }.into()
            }
            StatusCode::NOT_FOUND => Error::NotFound {
                missing: format!(
                    "{repository} has no {missing} at revision {revision} ({url} answered 404)"
                ),
                page: format!("{page}/tree/{revision}"),
            }
            .into(),
            _ => RequestError::of_status(response, &url),
        }
    }
}

/// Waits up to `timeout` for any answer of the hub.
///
/// # Errors
/// Fails with the reason; [`Options::offline`] is one.
pub fn ping(options: &Options, timeout: Duration) -> Result<(), String> {
    if options.offline {
        return Err("HF_HUB_OFFLINE is set".to_owned());
    }
    let config =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(timeout)).build();
    let response = Agent::from(config).head(&options.endpoint).call();
    response.map(drop).map_err(|error| retry::reason(&error))
}

fn file_metadata(
    response: &Response<Body>,
    url: String,
    revision: &str,
) -> Result<FileMetadata, Error> {
    let not_the_hub = |problem: String| Error::NotTheHub { url: url.clone(), problem };
    let need = |name: &str| {
        header_text(response, name)
            .ok_or_else(|| not_the_hub(format!("the header {name} is missing")))
    };
    let commit = checked_commit(need("x-repo-commit")?, revision).map_err(&not_the_hub)?;
    let etag = header_text(response, "x-linked-etag").map_or_else(|| need("etag"), Ok)?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
    // The etag becomes a file name.
    if !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        || !(1..=128).contains(&etag.len())
    {
        return Err(not_the_hub(format!("its etag is {etag:?}")));
    }
    let is_redirection = response.status().is_redirection();
    let length = || header_text(response, "content-length").filter(|_| !is_redirection);
    let size = header_text(response, "x-linked-size").or_else(length);
    let size = size
        .map(|size| size.parse().map_err(|_| not_the_hub(format!("its size is {size:?}"))))
        .transpose()?;
    Ok(FileMetadata { url, commit, etag, size })
}

fn file_list(text: &[u8], url: &str, revision: &str) -> Result<(String, Vec<String>), Error> {
    #[derive(Deserialize)]
    struct Model {
        sha: String,
        siblings: Vec<Sibling>,
    }
    #[derive(Deserialize)]
    struct Sibling {
        rfilename: String,
    }
    let not_the_hub = |problem: String| Error::NotTheHub { url: url.to_owned(), problem };
    let model: Model = serde_json::from_slice(text)
        .map_err(|error| not_the_hub(format!("it is no list of files: {error}")))?;
    let commit = checked_commit(&model.sha, revision).map_err(not_the_hub)?;
    let files = model.siblings.into_iter().map(|sibling| sibling.rfilename);
    Ok((commit, files.filter(|file| is_file(file)).collect()))
}

/// Returns the commit of a response; fails if `revision` is another commit.
fn checked_commit(commit: &str, revision: &str) -> Result<String, String> {
    if !is_commit(commit) {
        return Err(format!("its commit is {commit:?}"));
    }
    if is_commit(revision) && !revision.eq_ignore_ascii_case(commit) {
        return Err(format!("it has commit {commit}, but {revision} was requested"));
    }
    Ok(commit.to_ascii_lowercase())
}

/// Returns the address that a redirect leads to, if it is on the same host.
fn on_same_host(from: &str, location: &str) -> Option<String> {
    let from: Uri = from.parse().ok()?;
    let origin = format!("{}://{}", from.scheme_str()?, from.authority()?);
    let path = location.strip_prefix(&origin).unwrap_or(location);
    (path.starts_with('/') && !path.starts_with("//")).then(|| origin + path)
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
            max_tries: 1,
            initial_backoff: Duration::ZERO,
            read_timeout: Duration::from_secs(1),
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
        assert_eq!(ping(&options, Duration::from_secs(30)), Ok(()));
        let server = answering.join().unwrap();
        let start = Instant::now();
        assert!(ping(&options, Duration::from_millis(200)).is_err());
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        drop(server);
        assert!(ping(&options, Duration::from_secs(30)).is_err());
        let offline = Options { offline: true, ..options };
        assert!(ping(&offline, Duration::from_secs(30)).unwrap_err().contains("HF_HUB_OFFLINE"));
    }
}
