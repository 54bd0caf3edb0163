//! Requests to the hub: the files of a model, and the metadata of a file before it is fetched.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use crate::reference::{is_commit, is_file};
use crate::retry::{Fault, with_retries};
use crate::{Error, Options, Progress};

/// Maximum of relative redirects in a request for metadata. Renamed repositories redirect.
const MOST_REDIRECTS: u32 = 5;
/// Maximum length of a repository's file list, in bytes.
const LONGEST_LISTING: u64 = 32 << 20;

/// One file of a repository at a revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteFile<'a> {
    pub repository: &'a str,
    pub revision: &'a str,
    pub file: &'a str,
}

/// Metadata of a file from the hub's response headers.
#[derive(Debug)]
pub(crate) struct Description {
    /// Address of the file's bytes.
    pub url: String,
    pub commit: String,
    /// SHA-256 of a large file, git object id of a small one. Safe as a file name.
    pub etag: String,
    pub size: Option<u64>,
}

/// A repository's files at one commit.
#[derive(Debug)]
pub(crate) struct Listing {
    pub commit: String,
    pub files: Vec<String>,
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
            .timeout_recv_response(Some(options.silence))
            .timeout_per_read(Some(options.silence))
            .user_agent(concat!("capsmith/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), options }
    }

    /// Requests the bytes of `url` from `start` on; follows redirects.
    pub fn get(&self, url: &str, start: u64) -> Result<Response<Body>, Fault> {
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if let Some(token) = self.token_for(url) {
            // ureq drops it at a redirect, so that the storage behind the hub does not get it.
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if start > 0 {
            request = request.header("Range", format!("bytes={start}-"));
        }
        Ok(request.call()?)
    }

    /// Returns the token if `url` is on the hub: no other server gets it.
    fn token_for(&self, url: &str) -> Option<&str> {
        let rest = url.strip_prefix(&self.options.endpoint)?;
        if rest.starts_with('/') { self.options.token.as_deref() } else { None }
    }

    /// Returns the metadata of a file, without its bytes.
    pub fn describe(
        &self,
        remote: RemoteFile<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Description, Error> {
        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.options.endpoint,
            remote.repository,
            escape(remote.revision, ""),
            escape(remote.file, "/")
        );
        with_retries(self.options, &url, progress, || self.try_to_describe(&url, remote))
    }

    fn try_to_describe(&self, url: &str, remote: RemoteFile<'_>) -> Result<Description, Fault> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.agent.head(&url).header("Accept-Encoding", "identity");
            if let Some(token) = self.token_for(&url) {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            let answer = request.config().max_redirects(0).build().call()?;
            let status = answer.status();
            if status.is_redirection()
                && let Some(next) = header_text(&answer, "location")
                && let Some(next) = on_same_host(&url, next)
            {
                url = next;
                continue;
            }
            if !status.is_success() && !status.is_redirection() {
                return Err(self.refusal(
                    &answer,
                    &url,
                    remote.repository,
                    remote.revision,
                    Some(remote.file),
                ));
            }
            return Ok(described(&answer, url, remote)?);
        }
        Err(Error::Refused { url, reason: "it redirects in a circle".to_owned() }.into())
    }

    /// Returns the files of a repository and the commit of `revision`.
    pub fn list(
        &self,
        repository: &str,
        revision: &str,
        progress: &mut dyn Progress,
    ) -> Result<Listing, Error> {
        let endpoint = &self.options.endpoint;
        let url = format!("{endpoint}/api/models/{repository}/revision/{}", escape(revision, ""));
        with_retries(self.options, &url, progress, || {
            let mut answer = self.get(&url, 0)?;
            if !answer.status().is_success() {
                return Err(self.refusal(&answer, &url, repository, revision, None));
            }
            let text = answer.body_mut().with_config().limit(LONGEST_LISTING).read_to_vec()?;
            Ok(listed(&text, &url, revision)?)
        })
    }

    /// Returns the address of a repository's web page.
    pub fn page(&self, repository: &str) -> String {
        format!("{}/{repository}", self.options.endpoint)
    }

    fn refusal(
        &self,
        answer: &Response<Body>,
        url: &str,
        repository: &str,
        revision: &str,
        file: Option<&str>,
    ) -> Fault {
        let (url, page) = (url.to_owned(), self.page(repository));
        match answer.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Error::Denied {
                url,
                status: status.as_u16(),
                repository: repository.to_owned(),
                page,
                token: self.options.token.is_some(),
            }
            .into(),
            StatusCode::NOT_FOUND => Error::NotFound {
                repository: repository.to_owned(),
                file: file.map(str::to_owned),
                revision: revision.to_owned(),
                url: url.into(),
                page: format!("{page}/tree/{revision}").into(),
            }
            .into(),
            _ => Fault::of_status(answer, &url),
        }
    }
}

fn described(
    answer: &Response<Body>,
    url: String,
    remote: RemoteFile<'_>,
) -> Result<Description, Error> {
    let not_the_hub = |problem: String| Error::NotTheHub { url: url.clone(), problem };
    let need = |name: &'static str| {
        header_text(answer, name)
            .ok_or_else(|| not_the_hub(format!("the header {name} is missing")))
    };
    let commit = commit_of(need("x-repo-commit")?, remote.revision).map_err(&not_the_hub)?;
    let etag = header_text(answer, "x-linked-etag").map_or_else(|| need("etag"), Ok)?;
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
    // The etag becomes a file name.
    if !etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        || !(1..=128).contains(&etag.len())
    {
        return Err(not_the_hub(format!("its etag is {etag:?}")));
    }
    let size = match header_text(answer, "x-linked-size") {
        Some(size) => Some(size),
        None if answer.status().is_redirection() => None,
        None => header_text(answer, "content-length"),
    };
    let size = size
        .map(|size| size.parse().map_err(|_| not_the_hub(format!("its size is {size:?}"))))
        .transpose()?;
    Ok(Description { url, commit, etag, size })
}

fn listed(text: &[u8], url: &str, revision: &str) -> Result<Listing, Error> {
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
    let commit = commit_of(&model.sha, revision).map_err(not_the_hub)?;
    let files = model.siblings.into_iter().map(|sibling| sibling.rfilename);
    Ok(Listing { commit, files: files.filter(|file| is_file(file)).collect() })
}

/// Returns the commit of a response, checked against `revision` if that is a commit.
fn commit_of(answered: &str, revision: &str) -> Result<String, String> {
    if !is_commit(answered) {
        return Err(format!("its commit is {answered:?}"));
    }
    if is_commit(revision) && !revision.eq_ignore_ascii_case(answered) {
        return Err(format!("it has commit {answered} where {revision} was asked for"));
    }
    Ok(answered.to_ascii_lowercase())
}

/// Returns a header's value; `None` if it is not text.
pub(crate) fn header_text<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// Returns whether the response is an HTML page.
pub(crate) fn is_html(answer: &Response<Body>) -> bool {
    header_text(answer, header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"))
}

/// Returns the address that a redirect leads to, if it is on the same host.
fn on_same_host(from: &str, location: &str) -> Option<String> {
    let from: Uri = from.parse().ok()?;
    let origin = format!("{}://{}", from.scheme_str()?, from.authority()?);
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(origin + location);
    }
    let rest = location.strip_prefix(&origin)?;
    rest.starts_with('/').then(|| location.to_owned())
}

/// Percent-encodes all characters except the unreserved ones (RFC 3986) and those in `kept`.
fn escape(text: &str, kept: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        if letter.is_ascii_alphanumeric() || "-_.~".contains(letter) || kept.contains(letter) {
            escaped.push(letter);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
