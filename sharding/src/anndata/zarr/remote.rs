//! Stores behind HTTP(S) and in S3-compatible object stores.
//!
//! Guarantee: a request that fails in passing (no connection, a server error, too many requests) is sent again a few
//! times; one that does not answer in time is an error. A part of an object is one request. Credentials, region and
//! endpoint of S3 come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …); none are read from files.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use url::Url;
use zarrs::storage::ReadableListableStorage;
use zarrs_object_store::AsyncObjectStore;
use zarrs_storage::storage_adapter::async_to_sync::{AsyncToSyncBlockOn, AsyncToSyncStorageAdapter};

use super::bytes::ByteSource;

/// For a connection, and for one whole answer.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(1));
const RETRIES: usize = 4;
/// Threads on which requests wait; what they bring is decoded elsewhere.
const THREADS: usize = 2;

/// A remote hierarchy: for zarrs, and for reading parts of objects at once.
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    waiter: Waiter,
}

/// Waits for requests.
#[derive(Clone, Copy)]
struct Waiter(&'static Runtime);

impl AsyncToSyncBlockOn for Waiter {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

impl Waiter {
    fn new() -> Result<Self, String> {
        static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
        let start = || Builder::new_multi_thread().worker_threads(THREADS).thread_name("requests").enable_all().build();
        match RUNTIME.get_or_init(|| start().map_err(|error| error.to_string())) {
            Ok(runtime) => Ok(Self(runtime)),
            Err(error) => Err(format!("no threads for requests: {error}")),
        }
    }
}

/// Whether a path is the address of a remote store.
pub(crate) fn is_remote(path: &std::path::Path) -> bool {
    path.to_str().is_some_and(|path| ["http://", "https://", "s3://"].iter().any(|scheme| path.starts_with(scheme)))
}

impl Remote {
    /// Opens an address `http(s)://HOST/PATH` or `s3://BUCKET/PATH`. Nothing is asked of the server yet.
    pub(super) fn new(address: &str) -> Result<Self, String> {
        let url = Url::parse(address).map_err(|error| format!("{address} is no address: {error}"))?;
        let options = ClientOptions::new().with_connect_timeout(TIMEOUTS.0).with_timeout(TIMEOUTS.1);
        let retry = RetryConfig {
            backoff: BackoffConfig { init_backoff: Duration::from_millis(50), ..BackoffConfig::default() },
            max_retries: RETRIES,
            retry_timeout: TIMEOUTS.1,
        };
        let said = |error: object_store::Error| error.to_string();
        let store: Arc<dyn ObjectStore> = if url.scheme() == "s3" {
            let bucket = url.host_str().ok_or_else(|| format!("{address} names no bucket: s3://BUCKET/PATH"))?;
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
            // `from_env` has read whether plain HTTP is allowed into options of its own.
            let plain = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|allowed| allowed == "true" || allowed == "1");
            let bucket = builder.with_client_options(options.with_allow_http(plain)).build().map_err(said)?;
            let path = Path::parse(url.path().trim_matches('/')).map_err(|error| error.to_string())?;
            Arc::new(PrefixStore::new(bucket, path))
        } else {
            let options = options.with_allow_http(true);
            Arc::new(
                HttpBuilder::new()
                    .with_url(url.as_str())
                    .with_client_options(options)
                    .with_retry(retry)
                    .build()
                    .map_err(said)?,
            )
        };
        Ok(Self { store, waiter: Waiter::new()? })
    }

    /// The same for zarrs.
    pub(super) fn storage(&self) -> ReadableListableStorage {
        let store = Arc::new(AsyncObjectStore::new(Arc::clone(&self.store)));
        Arc::new(AsyncToSyncStorageAdapter::new(store, self.waiter))
    }
}

fn io_error(error: object_store::Error) -> Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ErrorKind::PermissionDenied
        }
        _ => ErrorKind::Other,
    };
    Error::new(kind, error.to_string())
}

fn place(key: &str) -> Result<Path, Error> {
    Path::parse(key).map_err(|error| Error::new(ErrorKind::InvalidInput, error.to_string()))
}

impl ByteSource for Remote {
    fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.waiter.block_on(self.store.head(&place(key)?)).map_err(io_error) {
            Ok(found) => Ok(Some(found.size)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &str, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let range = offset..offset + out.len() as u64;
        let bytes = self.waiter.block_on(self.store.get_range(&place(key)?, range)).map_err(io_error)?;
        if bytes.len() != out.len() {
            let problem = format!("{} bytes came where {} were asked for", bytes.len(), out.len());
            return Err(Error::new(ErrorKind::UnexpectedEof, problem));
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }
}
