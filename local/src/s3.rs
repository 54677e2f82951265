//! S3 on a folder: the crate `s3s-fs`, with signatures checked, and a record of what was asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;

use crate::server::Server;
use crate::{ACCESS_KEY, SECRET_KEY};

/// The running server, with one bucket.
pub struct S3 {
    server: Server,
    root: PathBuf,
    bucket: String,
    requests: Requests,
}

type Requests = Arc<Mutex<Vec<S3Request>>>;

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct S3Request {
    pub method: String,
    pub path: String,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    pub status: u16,
}

impl S3 {
    /// Starts the server on a free port, its buckets being folders of `root`.
    ///
    /// # Errors
    /// When the folder cannot be made or no port can be had.
    pub async fn start(root: &Path, bucket: &str) -> io::Result<Self> {
        std::fs::create_dir_all(root.join(bucket))?;
        let files =
            FileSystem::new(root).map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let requests = Requests::default();
        let record = Arc::clone(&requests);
        // Conditions and writes of `s3s-fs` are two steps; as in S3, nobody may come in between.
        let puts = Arc::new(tokio::sync::Mutex::new(()));
        let known = bucket.to_owned();
        let app = Router::new().fallback(move |request: Request| {
            let (service, record, puts) = (service.clone(), Arc::clone(&record), Arc::clone(&puts));
            let known = known.clone();
            async move {
                let _turn = if request.method() == "PUT" {
                    Some(puts.lock().await)
                } else {
                    None
                };
                answer(service, &known, &record, request).await
            }
        });
        let (root, bucket) = (root.to_owned(), bucket.to_owned());
        Ok(Self {
            server: Server::start(app).await?,
            root,
            bucket,
            requests,
        })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<S3Request> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The keys in the bucket, sorted.
    ///
    /// # Panics
    /// If the folder cannot be read.
    #[must_use]
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
    ///
    /// # Panics
    /// If there is no such object.
    #[must_use]
    pub fn read(&self, key: &str) -> Bytes {
        std::fs::read(self.path(key))
            .unwrap_or_else(|error| panic!("{key}: {error}"))
            .into()
    }

    /// Sets an object's LastModified.
    ///
    /// # Panics
    /// If there is no such object.
    pub fn set_last_modified(&self, key: &str, time: SystemTime) {
        let file = std::fs::File::options().append(true).open(self.path(key));
        file.and_then(|file| file.set_modified(time))
            .unwrap_or_else(|error| panic!("{key}: {error}"));
    }

    /// The file that holds an object.
    #[must_use]
    pub fn path(&self, key: &str) -> PathBuf {
        self.root.join(&self.bucket).join(key)
    }
}

async fn answer(service: S3Service, bucket: &str, record: &Requests, request: Request) -> Response {
    let (method, path) = (
        request.method().to_string(),
        request.uri().path().to_owned(),
    );
    let (if_match, if_none_match) = (
        header(request.headers(), "if-match"),
        header(request.headers(), "if-none-match"),
    );
    let response = if path.split('/').nth(1) == Some(bucket) {
        match service.call(request.map(s3s::Body::http_body_unsync)).await {
            Ok(response) => response.map(Body::new),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
        }
    } else {
        // `s3s-fs` would make the folder.
        let xml = "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message></Error>";
        (StatusCode::NOT_FOUND, xml).into_response()
    };
    let status = response.status().as_u16();
    let request = S3Request {
        method,
        path,
        if_match,
        if_none_match,
        status,
    };
    record
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    response
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
