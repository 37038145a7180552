//! Stores behind HTTP(S) and in S3-compatible object stores.
//!
//! Guarantee: a request that fails in passing (no connection, a server error, too many requests, an answer that breaks
//! off) is sent again a few times; one that does not answer in time is an error. A part of an object is one request,
//! and nothing is listed to read a cell store. Credentials, region and
//! endpoint of S3 come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, …); none are read from files.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use object_store::aws::AmazonS3Builder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use url::Url;
use zarrs::storage::byte_range::{ByteRange, ByteRangeIterator};
use zarrs::storage::{
    Bytes, ListableStorageTraits, MaybeBytes, MaybeBytesIterator, ReadableStorageTraits, StorageError, StoreKey,
    StoreKeys, StoreKeysPrefixes, StorePrefix,
};
use zarrs_object_store::AsyncObjectStore;
use zarrs_storage::storage_adapter::async_to_sync::{AsyncToSyncBlockOn, AsyncToSyncStorageAdapter};

use super::bytes::{ByteSource, filled};

/// For a connection, and for one whole answer.
const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(1));
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// Threads on which requests wait; what they bring is decoded elsewhere.
const THREADS: usize = 2;

/// A remote hierarchy: for zarrs, and for reading parts of objects at once.
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    listing: AsyncToSyncStorageAdapter<AsyncObjectStore<Arc<dyn ObjectStore>>, Waiter>,
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
            backoff: BackoffConfig { init_backoff: PAUSE, ..BackoffConfig::default() },
            max_retries: RETRIES as usize,
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
        let waiter = Waiter::new()?;
        let listing = AsyncToSyncStorageAdapter::new(Arc::new(AsyncObjectStore::new(Arc::clone(&store))), waiter);
        Ok(Self { store, listing, waiter })
    }

    /// An object or a part of it, or nothing where there is no such object.
    fn fetch(&self, key: &str, range: Option<GetRange>) -> Result<MaybeBytes, Error> {
        let found = self.waiter.block_on(self.complete(&place(key)?, range));
        match found.map_err(io_error) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A whole answer. Requests without one have been sent again below; one that breaks off is asked for again here.
    async fn complete(&self, key: &Path, range: Option<GetRange>) -> Result<Bytes, object_store::Error> {
        let (began, mut attempt) = (Instant::now(), 0);
        loop {
            let options = GetOptions { range: range.clone(), ..GetOptions::default() };
            let answer = self.store.get_opts(key, options).await?.bytes().await;
            if answer.is_ok() || attempt == RETRIES || began.elapsed() > TIMEOUTS.1 {
                return answer;
            }
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
            attempt += 1;
        }
    }
}

impl ReadableStorageTraits for Remote {
    fn get(&self, key: &StoreKey) -> Result<MaybeBytes, StorageError> {
        Ok(self.fetch(key.as_str(), None)?)
    }

    fn get_partial_many<'a>(
        &'a self,
        key: &StoreKey,
        ranges: ByteRangeIterator<'a>,
    ) -> Result<MaybeBytesIterator<'a>, StorageError> {
        let mut parts = Vec::new();
        for range in ranges {
            let range = match range {
                ByteRange::FromStart(start, Some(length)) => GetRange::Bounded(start..start + length),
                ByteRange::FromStart(start, None) => GetRange::Offset(start),
                ByteRange::Suffix(length) => GetRange::Suffix(length),
            };
            let Some(part) = self.fetch(key.as_str(), Some(range))? else { return Ok(None) };
            parts.push(Ok(part));
        }
        Ok(Some(Box::new(parts.into_iter())))
    }

    fn size_key(&self, key: &StoreKey) -> Result<Option<u64>, StorageError> {
        Ok(ByteSource::size(self, key.as_str())?)
    }

    fn supports_get_partial(&self) -> bool {
        true
    }
}

impl ListableStorageTraits for Remote {
    fn list(&self) -> Result<StoreKeys, StorageError> {
        self.listing.list()
    }

    fn list_prefix(&self, prefix: &StorePrefix) -> Result<StoreKeys, StorageError> {
        self.listing.list_prefix(prefix)
    }

    fn list_dir(&self, prefix: &StorePrefix) -> Result<StoreKeysPrefixes, StorageError> {
        self.listing.list_dir(prefix)
    }

    fn size_prefix(&self, prefix: &StorePrefix) -> Result<u64, StorageError> {
        self.listing.size_prefix(prefix)
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
        let bytes = self.fetch(key, Some(GetRange::Bounded(range)))?;
        filled(out, bytes.as_deref())
    }
}
