//! Stores behind servers: the rows are those on the disk, whatever passing trouble the server makes; a server that is
//! gone is an error in bounded time.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use syncyte_sharding::store::{CellStore, is_store};

use crate::cells::{Recipe, all_checksums};
use crate::naive::Naive;

/// Set for a test that runs itself once more: the address that it is to read.
const ADDRESS: &str = "SYNCYTE_TEST_STORE_ADDRESS";

/// The interpreter with the peers. Where it is absent, says that `what` is skipped.
pub(crate) fn python(what: &str) -> Option<PathBuf> {
    let path = std::env::var_os("SYNCYTE_PEERS_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    if path.is_none() {
        skip(&format!("{what}: no Python peers (scripts/setup.sh --test installs them)"));
    }
    path
}

/// Past the test harness, which would swallow what a passing test prints.
pub(crate) fn skip(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").ok();
}

/// A Python server; dropping it ends it.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(python: &Path, script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/peers").join(script);
        let mut command = Command::new(python);
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port, but {line:?}"));
        Self { child, port }
    }

    fn http(python: &Path, folder: &Path, options: &[&str]) -> Self {
        Self::start(python, "store_server.py", &[&[folder.to_str().unwrap()], options].concat())
    }

    fn address(&self) -> PathBuf {
        format!("http://127.0.0.1:{}/cells.zarr", self.port).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A small store and the checksums of its rows, as a naive reader finds them on the disk.
fn store() -> (tempfile::TempDir, Vec<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cells.zarr");
    Recipe::small().write(&path);
    let sums = Naive::open(&path).checksums();
    (folder, sums)
}

/// Opens a remote store and reads all of it.
fn read(address: &Path) -> Vec<u32> {
    let store = CellStore::open(address).unwrap_or_else(|error| panic!("{}: {error}", address.display()));
    all_checksums(&Arc::new(store))
}

#[test]
fn a_store_behind_http_reads_as_the_one_on_the_disk_without_a_listing() {
    let Some(python) = python("a store behind HTTP") else { return };
    let (folder, sums) = store();
    let server = Server::http(&python, folder.path(), &[]);
    assert_eq!(read(&server.address()), sums);
    let (remote, local) = (CellStore::open(&server.address()).unwrap(), folder.path().join("cells.zarr"));
    let local = CellStore::open(&local).unwrap();
    assert!(is_store(&server.address()));
    assert_eq!((remote.data_hash(), remote.labels()), (local.data_hash(), local.labels()));
    assert_eq!(remote.obs().unwrap(), local.obs().unwrap());
    assert_eq!(remote.var().unwrap(), local.var().unwrap());
    assert_eq!(remote.library_size(), local.library_size());
}

#[test]
fn requests_that_fail_in_passing_are_sent_again_and_nobody_sees_it() {
    let Some(python) = python("requests that fail in passing") else { return };
    let (folder, sums) = store();
    for options in [
        ["--fail-every", "3", "--status", "500"].as_slice(),
        &["--fail-every", "4", "--status", "503", "--delay", "0.01"],
        &["--fail-every", "2", "--status", "429"],
        &["--cut-every", "4"],
        &["--cut-every", "3", "--etag"],
        &["--fail-every", "5", "--cut-every", "3", "--delay", "0.005"],
    ] {
        let server = Server::http(&python, folder.path(), options);
        assert_eq!(read(&server.address()), sums, "{options:?}");
    }
}

#[test]
fn a_server_that_is_dead_or_has_no_store_is_an_error_in_bounded_time() {
    let Some(python) = python("a server that is dead") else { return };
    let (folder, _) = store();
    let server = Server::http(&python, folder.path(), &[]);
    let elsewhere = PathBuf::from(format!("http://127.0.0.1:{}/other.zarr", server.port));
    let began = Instant::now();
    let message = CellStore::open(&elsewhere).err().unwrap().to_string();
    assert!(message.contains("other.zarr") && message.contains("no whole cell store"), "{message}");

    // The server dies while the store is open.
    let (address, store) = (server.address(), Arc::new(CellStore::open(&server.address()).unwrap()));
    drop(server);
    let message = store.read_rows(0..10).unwrap_err().to_string();
    assert!(message.contains("cells.zarr") && message.contains("X/indices"), "{message}");
    let message = CellStore::open(&address).err().unwrap().to_string();
    assert!(message.contains("cells.zarr") && message.contains("error sending request"), "{message}");
    assert!(!is_store(&address));

    // A server that is always at fault.
    let server = Server::http(&python, folder.path(), &["--fail-every", "1", "--status", "503"]);
    let message = CellStore::open(&server.address()).err().unwrap().to_string();
    assert!(message.contains("cells.zarr") && message.contains("503"), "{message}");
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
}

#[test]
fn a_missing_file_of_a_remote_store_is_named() {
    let Some(python) = python("a missing file of a remote store") else { return };
    let (folder, _) = store();
    std::fs::remove_file(folder.path().join("cells.zarr/X/data/c/1")).unwrap();
    let server = Server::http(&python, folder.path(), &[]);
    let store = CellStore::open(&server.address()).unwrap();
    let message = store.read_rows(0..store.n_cells()).unwrap_err().to_string();
    assert!(message.contains("X/data/c/1") && message.contains("missing"), "{message}");
}

/// Runs itself once more with the environment that S3 is reached by: it must not be changed in a running process.
#[test]
fn a_store_in_s3_reads_as_the_one_on_the_disk() {
    if let Some(address) = std::env::var_os(ADDRESS) {
        println!("rows {:?}", read(Path::new(&address)));
        return;
    }
    let Some(python) = python("a store in S3") else { return };
    if !Command::new(&python).args(["-c", "import boto3, moto.server"]).status().is_ok_and(|status| status.success()) {
        return skip("a store in S3: the Python peers have no moto (scripts/setup.sh --test installs it)");
    }
    let (folder, sums) = store();
    let path = folder.path().join("cells.zarr");
    let server = Server::start(&python, "s3_server.py", &[path.to_str().unwrap(), "bucket"]);
    let again = |address: &str, key: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "remote::a_store_in_s3_reads_as_the_one_on_the_disk", "--nocapture"])
            .env(ADDRESS, address)
            .env("AWS_ENDPOINT", format!("http://127.0.0.1:{}", server.port))
            .envs([("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", "secret")])
            .envs([("AWS_REGION", "us-east-1"), ("AWS_ALLOW_HTTP", "true")])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let text = again("s3://bucket/cells.zarr", "key");
    assert!(text.contains(&format!("rows {sums:?}")), "{text}");
    let text = again("s3://bucket/other.zarr", "key");
    assert!(text.contains("other.zarr") && text.contains("no whole cell store"), "{text}");
    let text = again("s3://absent/cells.zarr", "key");
    assert!(text.contains("s3://absent/cells.zarr") && text.contains("panicked"), "{text}");
}
