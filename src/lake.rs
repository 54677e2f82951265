//! The lake: objects in one S3 bucket. Each PUT writes a whole object, and always carries a condition.
//!
//! An object's key is a function of its session alone. A PUT carries `If-None-Match: *` or `If-Match`, so of two
//! writers one learns that the other was faster
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>). What an object holds is not known
//! here.

use std::collections::{BTreeMap, HashMap};
use std::error::Error as StdError;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Error;
use aws_sdk_s3::operation::put_object::PutObjectError;
use aws_sdk_s3::primitives::DateTime as SdkDateTime;
use aws_smithy_runtime_api::client::interceptors::context::Error as OperationError;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};

use crate::error::{BoxError, Error};
use crate::session::SessionRef;
use crate::throttles::{Throttles, code};

/// How often a body that breaks off is asked for.
const MOST_READS: usize = 3;
/// Error codes that mean a missing permission. So does a 403 without a code.
const DENIED: [&str; 5] = [
    "AccessDenied",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "KMS.AccessDeniedException",
];

/// The folders beside those of the tables: failure markers, and parts of collections.
const FAILED: &str = "failed";
const PARTS: &str = "parts";
const EXTENSION: &str = ".parquet";

/// The bucket, and the prefix before all tables.
#[derive(Debug)]
pub struct Lake {
    client: Client,
    bucket: String,
    prefix: String,
}

/// What S3 says of an object without giving it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub last_modified: DateTime<Utc>,
    pub etag: Option<String>,
    pub metadata: HashMap<String, String>,
}

/// An object's bytes, and the tag that stands for exactly these.
#[derive(Debug)]
pub struct Object {
    pub bytes: Bytes,
    pub etag: String,
    pub last_modified: DateTime<Utc>,
    pub metadata: HashMap<String, String>,
}

/// What the marker says has failed: a session's export, or its collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    Export,
    Collection,
}

/// When each session's objects were last written, by [`SessionRef::file_stem`].
pub type Times = HashMap<String, DateTime<Utc>>;

/// A file to be put.
#[derive(Clone, Debug)]
pub struct File {
    bytes: Bytes,
    content_type: &'static str,
    metadata: HashMap<String, String>,
}

/// How a conditional PUT ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// With the ETag of what was written.
    Written(String),
    /// The condition did not hold: somebody else wrote or removed the object, or S3 says so although nobody did.
    Raced,
}

impl File {
    /// A whole Parquet file, with what its metadata say of it.
    #[must_use]
    pub fn parquet(bytes: impl Into<Bytes>, metadata: HashMap<String, String>) -> Self {
        Self {
            bytes: bytes.into(),
            content_type: "application/vnd.apache.parquet",
            metadata,
        }
    }

    /// Whether it holds exactly these bytes.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes
    }

    /// A whole JSON file.
    #[must_use]
    pub fn json(bytes: impl Into<Bytes>, metadata: HashMap<String, String>) -> Self {
        Self {
            bytes: bytes.into(),
            content_type: "application/json",
            metadata,
        }
    }
}

impl Lake {
    /// A lake in `bucket`, every key below `prefix`.
    #[must_use]
    pub fn new(sdk: &SdkConfig, path_style: bool, bucket: String, prefix: String) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(20));
        let config = Builder::from(sdk)
            .force_path_style(path_style)
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .retry_classifier(Throttles(code_of))
            .timeout_config(timeouts.build());
        Self {
            client: Client::from_conf(config.build()),
            bucket,
            prefix,
        }
    }

    /// The key of a session's object in a table.
    #[must_use]
    pub fn key(&self, table: &str, day: NaiveDate, session: &SessionRef) -> String {
        let Self { prefix, .. } = self;
        let stem = session.file_stem();
        format!("{prefix}{table}/dt={day}/{stem}{EXTENSION}")
    }

    /// What S3 says of an object, if it is there.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], or [`Error::LakeError`] when S3 fails for as long as the SDK retries.
    pub async fn head(&self, key: &str) -> Result<Option<Seen>, Error> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await;
        match answer {
            Ok(head) => {
                let last_modified = head.last_modified.and_then(utc).ok_or_else(|| {
                    self.fault("HeadObject", key, "the answer has no Last-Modified", None)
                })?;
                Ok(Some(Seen {
                    last_modified,
                    etag: head.e_tag,
                    metadata: head.metadata.unwrap_or_default(),
                }))
            }
            // The answer to a HEAD has no body and so no code.
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.failure("HeadObject", key, error)),
        }
    }

    /// Reads an object, if it is there. A body that breaks off is read again: the SDK retries only until the headers are there.
    ///
    /// # Errors
    /// As [`Lake::head`].
    pub async fn read(&self, key: &str) -> Result<Option<Object>, Error> {
        let mut broken_off = None;
        for _ in 0..MOST_READS {
            let answer = self
                .client
                .get_object()
                .bucket(&self.bucket)
                .key(key)
                .send()
                .await;
            let object = match answer {
                Ok(object) => object,
                Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
                Err(error) => return Err(self.failure("GetObject", key, error)),
            };
            let etag = object
                .e_tag
                .ok_or_else(|| self.fault("GetObject", key, "the answer has no ETag", None))?;
            let last_modified = object.last_modified.and_then(utc).ok_or_else(|| {
                self.fault("GetObject", key, "the answer has no Last-Modified", None)
            })?;
            let metadata = object.metadata.unwrap_or_default();
            match object.body.collect().await {
                Ok(bytes) => {
                    return Ok(Some(Object {
                        bytes: bytes.into_bytes(),
                        etag,
                        last_modified,
                        metadata,
                    }));
                }
                Err(error) => broken_off = Some(error.into()),
            }
        }
        Err(self.fault("GetObject", key, "the body broke off", broken_off))
    }

    /// Puts a file under a key where there was nothing (`over` is `None`) or exactly the object with this ETag.
    ///
    /// # Errors
    /// As [`Lake::head`]; a bucket that does not exist is [`Error::LakeError`].
    pub async fn put(&self, key: &str, file: File, over: Option<&str>) -> Result<Put, Error> {
        let request = self.client.put_object().bucket(&self.bucket).key(key);
        let request = match over {
            None => request.if_none_match("*"),
            Some(etag) => request.if_match(etag),
        };
        let answer = request
            .content_type(file.content_type)
            .set_metadata(Some(file.metadata))
            .body(SdkBody::from(file.bytes).into())
            .send()
            .await;
        match answer {
            Ok(written) => Ok(Put::Written(written.e_tag.unwrap_or_default())),
            Err(error) if error.code() == Some("NoSuchBucket") => {
                Err(self.failure("PutObject", key, error))
            }
            Err(error) if matches!(status(&error), Some(404 | 409 | 412)) => Ok(Put::Raced),
            Err(error) => Err(self.failure("PutObject", key, error)),
        }
    }

    /// The key of a table's object for a whole day.
    #[must_use]
    pub fn key_of_day(&self, table: &str, day: NaiveDate) -> String {
        format!("{}{table}/dt={day}/{table}{EXTENSION}", self.prefix)
    }

    /// The folder of a session's parts. `list` names the list of participants and the settings that they belong to.
    #[must_use]
    pub fn folder_of_parts(&self, session: &SessionRef, list: &str) -> String {
        format!("{}{PARTS}/{}/{list}/", self.prefix, session.file_stem())
    }

    /// When each session's object in a table was last written: of those that `wanted` names, on the day `from` and all later
    /// ones, or on all days.
    ///
    /// # Errors
    /// As [`Lake::head`], but of a bucket.
    pub async fn written(
        &self,
        table: &str,
        from: Option<NaiveDate>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Times, Error> {
        let folder = format!("{}{table}/", self.prefix);
        let day = from.map_or(String::new(), |day| format!("dt={day}/"));
        let mut times = Times::new();
        let each = |key: &str, time| {
            let name = key.rsplit('/').next().unwrap_or_default();
            let stem = name.strip_suffix(EXTENSION).unwrap_or(name);
            if wanted(stem) {
                keep_latest(&mut times, stem, time);
            }
        };
        self.list(&folder, &format!("{folder}{day}"), each).await?;
        Ok(times)
    }

    /// When a table's object of each day was last written.
    ///
    /// # Errors
    /// As [`Lake::written`].
    pub async fn written_days(
        &self,
        table: &str,
    ) -> Result<BTreeMap<NaiveDate, DateTime<Utc>>, Error> {
        let folder = format!("{}{table}/", self.prefix);
        let mut days = BTreeMap::new();
        let each = |key: &str, time| {
            let day = key
                .strip_prefix("dt=")
                .and_then(|key| key.split('/').next());
            if let Some(day) = day.and_then(|day| day.parse().ok()) {
                days.insert(day, time);
            }
        };
        self.list(&folder, &folder, each).await?;
        Ok(days)
    }

    /// When the failure markers of sessions that `wanted` names were last written: those of exports, and those of collections.
    ///
    /// # Errors
    /// As [`Lake::written`].
    pub async fn failed(&self, wanted: impl Fn(&str) -> bool) -> Result<(Times, Times), Error> {
        let folder = format!("{}{FAILED}/", self.prefix);
        let (mut exports, mut collections) = (Times::new(), Times::new());
        let each = |key: &str, time| {
            let (times, stem) = match key.split_once('/') {
                Some((_, stem)) => (&mut collections, stem),
                None => (&mut exports, key),
            };
            if wanted(stem) {
                keep_latest(times, stem, time);
            }
        };
        self.list(&folder, &folder, each).await?;
        Ok((exports, collections))
    }

    /// When the latest part of each session was written.
    ///
    /// # Errors
    /// As [`Lake::written`].
    pub async fn written_parts(&self, wanted: impl Fn(&str) -> bool) -> Result<Times, Error> {
        let folder = format!("{}{PARTS}/", self.prefix);
        let mut times = Times::new();
        let each = |key: &str, time| {
            let stem = key.split('/').next().unwrap_or_default();
            if wanted(stem) {
                keep_latest(&mut times, stem, time);
            }
        };
        self.list(&folder, &folder, each).await?;
        Ok(times)
    }

    /// The objects of a folder by their names, and when each was last written.
    ///
    /// # Errors
    /// As [`Lake::written`].
    pub async fn folder(&self, folder: &str) -> Result<BTreeMap<String, DateTime<Utc>>, Error> {
        let mut names = BTreeMap::new();
        let each = |name: &str, time| {
            names.insert(name.to_owned(), time);
        };
        self.list(folder, folder, each).await?;
        Ok(names)
    }

    /// Lists a folder: `each` object by its key without the folder, and when it was last written.
    async fn list(
        &self,
        folder: &str,
        start_after: &str,
        mut each: impl FnMut(&str, DateTime<Utc>),
    ) -> Result<(), Error> {
        const OPERATION: &str = "ListObjectsV2";
        let fault = |fault: &str| self.fault(OPERATION, folder, fault, None);
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_objects_v2().bucket(&self.bucket);
            let request = request.prefix(folder).start_after(start_after);
            let answer = request.set_continuation_token(token.clone()).send().await;
            let answer = answer.map_err(|error| self.failure(OPERATION, folder, error))?;
            for object in answer.contents.unwrap_or_default() {
                let key = object.key.ok_or_else(|| fault("an object has no key"))?;
                let last_modified = object.last_modified.and_then(utc);
                let last_modified =
                    last_modified.ok_or_else(|| fault("an object has no LastModified"))?;
                each(key.strip_prefix(folder).unwrap_or(&key), last_modified);
            }
            if !answer.is_truncated.unwrap_or(false) {
                return Ok(());
            }
            // A list cut short would send every session behind the cut into the queue again.
            let next = answer
                .next_continuation_token
                .filter(|next| token.as_ref() != Some(next));
            token = Some(next.ok_or_else(|| fault("a truncated list has no next token"))?);
        }
    }

    fn failed_key(&self, session: &SessionRef, what: Failed) -> String {
        let folder = match what {
            Failed::Export => "",
            Failed::Collection => "collect/",
        };
        format!("{}{FAILED}/{folder}{}", self.prefix, session.file_stem())
    }

    /// Puts the failure marker of a session, or writes it again. If two writers race, one marker is enough.
    ///
    /// # Errors
    /// As [`Lake::put`].
    pub async fn put_failed(
        &self,
        session: &SessionRef,
        what: Failed,
        marker: String,
    ) -> Result<(), Error> {
        let key = self.failed_key(session, what);
        let over = self.head(&key).await?.and_then(|seen| seen.etag);
        let file = File::json(marker, HashMap::new());
        self.put(&key, file, over.as_deref()).await?;
        Ok(())
    }

    /// Reads the failure marker of a session, if there is one.
    ///
    /// # Errors
    /// As [`Lake::head`].
    pub async fn read_failed(
        &self,
        session: &SessionRef,
        what: Failed,
    ) -> Result<Option<Bytes>, Error> {
        let object = self.read(&self.failed_key(session, what)).await?;
        Ok(object.map(|object| object.bytes))
    }

    /// An error of this lake that is not S3's.
    pub(crate) fn fault(
        &self,
        operation: &'static str,
        key: &str,
        fault: &str,
        source: Option<BoxError>,
    ) -> Error {
        let (bucket, key) = (self.bucket.clone(), key.to_owned());
        Error::LakeError {
            operation,
            bucket,
            key,
            fault: fault.to_owned(),
            source,
        }
    }

    fn failure<E>(&self, operation: &'static str, key: &str, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        if status(&error) == Some(403) && error.code().is_none_or(|code| DENIED.contains(&code)) {
            let resource = format!("s3://{}/{key}", self.bucket);
            return Error::AccessDenied {
                operation,
                resource,
                source: Box::new(error),
            };
        }
        let fault = match (error.code(), error.message(), status(&error)) {
            (Some(code), Some(message), _) => format!("refused with {code}: {message}"),
            (Some(code), None, _) => format!("refused with {code}"),
            // A HEAD's answer has no body: of a bucket in another region only the 301 tells.
            (None, _, Some(status)) => format!("refused with HTTP {status}"),
            (None, _, None) => "failed".to_owned(),
        };
        self.fault(operation, key, &fault, Some(Box::new(error)))
    }
}

fn keep_latest(times: &mut Times, stem: &str, time: DateTime<Utc>) {
    let latest = times.entry(stem.to_owned()).or_insert(time);
    *latest = time.max(*latest);
}

fn code_of(error: &OperationError) -> Option<&str> {
    code::<GetObjectError>(error)
        .or_else(|| code::<PutObjectError>(error))
        .or_else(|| code::<HeadObjectError>(error))
        .or_else(|| code::<ListObjectsV2Error>(error))
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error
        .raw_response()
        .map(|response| response.status().as_u16())
}

/// A time cut to the milliseconds that a file can hold.
fn utc(time: SdkDateTime) -> Option<DateTime<Utc>> {
    let time = DateTime::from_timestamp(time.secs(), time.subsec_nanos())?;
    Some(time.trunc_subsecs(3))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A lake with this client in place of S3's.
    pub(crate) fn lake(client: Client) -> Lake {
        Lake {
            client,
            bucket: "lake".to_owned(),
            prefix: String::new(),
        }
    }
}
