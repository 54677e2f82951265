//! S3 on a folder, by the crate `s3s-fs`. It checks signatures, records every request, and fails on request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;

use crate::faults::{Fault, S3Kind, When, due};
use crate::folder::at;
use crate::server::{DropConnection, Script, Server};
use crate::{ACCESS_KEY, SECRET_KEY};

/// The running server, with one bucket.
pub struct S3 {
    server: Server,
    root: PathBuf,
    bucket: String,
    shared: Shared,
}

type Shared = Arc<Mutex<State>>;

struct State {
    requests: Vec<S3Request>,
    faults: Vec<Fault<S3Kind>>,
    random: fastrand::Rng,
    on_write: Option<Hook>,
}

/// Called with the key of an object.
type Hook = Arc<dyn Fn(&str) + Send + Sync>;

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct S3Request {
    pub method: String,
    /// `LIST`, or the method.
    pub operation: String,
    pub path: String,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    /// The status that was sent; 0 if none was.
    pub status: u16,
    /// The faults that hit this request, whether or not they changed its answer.
    pub faults: Vec<S3Kind>,
}

impl S3 {
    /// Starts the server on a free port. Its bucket is a folder in `root`.
    pub async fn start(root: &Path, bucket: &str) -> io::Result<Self> {
        let keys = SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY);
        Self::start_with(root, bucket, Some(keys)).await
    }

    /// As [`S3::start`], for requests without a signature.
    pub async fn start_unsigned(root: &Path, bucket: &str) -> io::Result<Self> {
        Self::start_with(root, bucket, None).await
    }

    async fn start_with(root: &Path, bucket: &str, keys: Option<SimpleAuth>) -> io::Result<Self> {
        let folder = root.join(bucket);
        std::fs::create_dir_all(&folder).map_err(at(&folder))?;
        let files =
            FileSystem::new(root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        if let Some(keys) = keys {
            service.set_auth(keys);
        }
        let shared: Shared = Arc::new(Mutex::new(State {
            requests: Vec::new(),
            faults: Vec::new(),
            random: fastrand::Rng::with_seed(0),
            on_write: None,
        }));
        let front = Front {
            service: service.build(),
            bucket: bucket.to_owned(),
            root: root.to_owned(),
            puts: Arc::default(),
            shared: Arc::clone(&shared),
        };
        let app = Router::new().fallback(move |request: Request| answer(front.clone(), request));
        Ok(Self {
            server: Server::start(app).await?,
            root: root.to_owned(),
            bucket: bucket.to_owned(),
            shared,
        })
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// All requests so far, in the order of their answers. A request without an answer is added when it arrives.
    pub fn requests(&self) -> Vec<S3Request> {
        lock(&self.shared).requests.clone()
    }

    /// The PUTs without a condition. There should be none.
    pub fn unconditional_puts(&self) -> Vec<S3Request> {
        let mut puts = self.requests();
        puts.retain(|request| {
            let free = request.if_match.is_none() && request.if_none_match.is_none();
            request.method == "PUT" && free
        });
        puts
    }

    /// Sets a fault of an operation, which is HEAD, GET, PUT, DELETE, LIST, or `*` for any.
    pub fn fault(&self, operation: &str, when: When, kind: S3Kind) {
        let fault = Fault::new(operation, when, kind);
        lock(&self.shared).faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        lock(&self.shared).faults.clear();
    }

    /// Calls `hook` with the key of each object that was put, before anything else can be put.
    pub fn on_write(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        lock(&self.shared).on_write = Some(Arc::new(hook));
    }

    /// Seeds the chance in `When::Probability`.
    pub fn seed(&self, seed: u64) {
        lock(&self.shared).random.seed(seed);
    }

    /// The keys in the bucket, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let bucket = self.root.join(&self.bucket);
        let mut folders = vec![bucket.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder of the bucket") {
                let path = entry.expect("an entry of the bucket").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let key = path.strip_prefix(&bucket).expect("a path below the bucket");
                    keys.push(key.to_string_lossy().into_owned());
                }
            }
        }
        keys.sort();
        keys
    }

    /// An object's bytes.
    pub fn read(&self, key: &str) -> Bytes {
        std::fs::read(self.path(key))
            .unwrap_or_else(|error| panic!("{key}: {error}"))
            .into()
    }

    /// Sets an object's LastModified.
    pub fn set_last_modified(&self, key: &str, time: SystemTime) {
        let file = std::fs::File::options().append(true).open(self.path(key));
        file.and_then(|file| file.set_modified(time))
            .unwrap_or_else(|error| panic!("{key}: {error}"));
    }

    /// When an object was last written.
    pub fn last_modified(&self, key: &str) -> SystemTime {
        let file = std::fs::metadata(self.path(key));
        file.and_then(|file| file.modified())
            .unwrap_or_else(|error| panic!("{key}: {error}"))
    }

    /// An object's user metadata, which `s3s-fs` stores in another file.
    pub fn metadata(&self, key: &str) -> serde_json::Value {
        let text =
            std::fs::read(self.metadata_path(key)).unwrap_or_else(|error| panic!("{key}: {error}"));
        let attributes: serde_json::Value =
            serde_json::from_slice(&text).expect("the metadata are JSON");
        attributes["user_metadata"].clone()
    }

    /// Sets one of an object's user metadata.
    pub fn set_metadata(&self, key: &str, name: &str, value: &str) {
        let path = self.metadata_path(key);
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{key}: {error}"));
        let mut attributes: serde_json::Value =
            serde_json::from_slice(&text).expect("the metadata are JSON");
        attributes["user_metadata"][name] = value.into();
        std::fs::write(path, attributes.to_string()).expect("the metadata can be written");
    }

    fn metadata_path(&self, key: &str) -> PathBuf {
        let encode = |text: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(text);
        self.root.join(format!(
            ".bucket-{}.object-{}.metadata.json",
            encode(&self.bucket),
            encode(key)
        ))
    }

    /// The file that holds an object.
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.join(&self.bucket).join(key)
    }
}

/// Handles a request before `s3s-fs` does.
#[derive(Clone)]
struct Front {
    service: S3Service,
    bucket: String,
    root: PathBuf,
    /// `s3s-fs` checks a condition and writes in two steps. The lock makes them one, as in S3.
    puts: Arc<tokio::sync::Mutex<()>>,
    shared: Shared,
}

async fn answer(front: Front, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    let of_bucket = path.trim_matches('/') == front.bucket;
    let operation = match method.as_str() {
        "GET" if of_bucket => "LIST",
        other => other,
    };
    let faults = {
        let mut state = lock(&front.shared);
        let state = &mut *state;
        due(&mut state.faults, operation, &mut state.random)
    };
    let mut entry = S3Request {
        operation: operation.to_owned(),
        if_match: header(request.headers(), "if-match"),
        if_none_match: header(request.headers(), "if-none-match"),
        method,
        path,
        status: 0,
        faults,
    };

    for &fault in &entry.faults {
        if let S3Kind::Slow(time) = fault {
            tokio::time::sleep(time).await;
        }
    }
    let conditional = entry.if_match.is_some() || entry.if_none_match.is_some();
    let conditional_put = entry.operation == "PUT" && conditional;
    let object_read = ["GET", "HEAD"].contains(&entry.operation.as_str());
    let instead = |&fault: &S3Kind| match fault {
        S3Kind::Forbidden403 => Some(refusal(403, "AccessDenied")),
        S3Kind::Error500 => Some(refusal(500, "InternalError")),
        S3Kind::KmsThrottled400 => ["GET", "PUT"]
            .contains(&entry.operation.as_str())
            .then(|| refusal(400, "KMS.ThrottlingException")),
        S3Kind::SlowDown503 => Some(refusal(503, "SlowDown")),
        S3Kind::PreconditionFailed412 if conditional_put => {
            Some(refusal(412, "PreconditionFailed"))
        }
        S3Kind::Conflict409 if conditional_put => Some(refusal(409, "ConditionalRequestConflict")),
        S3Kind::NoSuchKey404 if conditional_put || object_read => Some(refusal(404, "NoSuchKey")),
        S3Kind::NoAnswer | S3Kind::ResetBefore => Some(DropConnection::response()),
        _ => None,
    };
    let mut response = match entry.faults.iter().find_map(instead) {
        Some(response) => response,
        None => front.handle(&entry, request).await,
    };
    if entry.faults.contains(&S3Kind::ResetAfterWrite) {
        response = DropConnection::response();
    }
    let dropped = DropConnection::marks(&response);
    if !dropped {
        entry.status = response.status().as_u16();
    }
    let faults = entry.faults.clone();
    let with_body = ["GET", "LIST"].contains(&entry.operation.as_str());
    lock(&front.shared).requests.push(entry);
    if dropped && faults.contains(&S3Kind::NoAnswer) {
        return std::future::pending().await;
    }
    if with_body && faults.contains(&S3Kind::CutBody) {
        return cut(response).await;
    }
    response
}

impl Front {
    async fn handle(&self, entry: &S3Request, request: Request) -> Response {
        if entry.path.split('/').nth(1) != Some(self.bucket.as_str()) {
            // `s3s-fs` would create the bucket.
            return refusal(404, "NoSuchBucket");
        }
        let turn = match entry.operation.as_str() {
            "PUT" | "DELETE" => Some(Arc::clone(&self.puts).lock_owned().await),
            _ => None,
        };
        let path = percent_decode_str(entry.path.trim_start_matches('/'));
        let path = path.decode_utf8_lossy().into_owned();
        let hook = lock(&self.shared).on_write.clone();
        let hook = hook.filter(|_| entry.operation == "PUT");
        let key = path
            .strip_prefix(&format!("{}/", self.bucket))
            .unwrap_or(&path)
            .to_owned();
        let service = self.service.clone();
        // In its own task: if the client disconnects, the write is still completed.
        let handled = tokio::spawn(async move {
            let response = service.call(request.map(s3s::Body::http_body_unsync)).await;
            if let (Ok(response), Some(hook)) = (&response, hook)
                && response.status().is_success()
            {
                hook(&key);
            }
            drop(turn);
            response
        });
        let response = match handled.await {
            Ok(Ok(response)) => response.map(Body::new),
            Ok(Err(error)) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response()
            }
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        };
        // `s3s-fs` answers 412 to If-Match for a missing object. S3 answers 404.
        let unmatched = response.status() == StatusCode::PRECONDITION_FAILED
            && entry.if_match.is_some()
            && !self.root.join(&path).exists();
        if unmatched {
            return refusal(404, "NoSuchKey");
        }
        response
    }
}

/// The response, with a reset in the middle of its body.
async fn cut(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await;
    let bytes = bytes.unwrap_or_default();
    parts.headers.insert(CONTENT_LENGTH, bytes.len().into());
    Response::from_parts(parts, Body::new(Script::cut(&bytes)))
}

fn refusal(status: u16, code: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status code");
    let xml = format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>");
    (status, [(CONTENT_TYPE, "application/xml")], xml).into_response()
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
