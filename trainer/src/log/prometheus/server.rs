//! The endpoint: `GET /metrics`, on a thread of its own.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::{Readings, render};

/// Longest that one connection is served, so that a client that stalls holds nothing for long.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted, such as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The configured text is no address.
    #[error("metrics.address = \"{address}\" is no address; expected HOST:PORT, or PORT alone for this machine only")]
    Address {
        /// As configured.
        address: String,
    },
    /// Another program listens there.
    #[error("metrics.address = \"{address}\" is taken by another program; choose another port, or 0 for any free one")]
    Taken {
        /// As configured.
        address: String,
    },
    /// The system refuses the address.
    #[error("metrics.address = \"{address}\" cannot be listened on: {source}")]
    Listen {
        /// As configured.
        address: String,
        /// Cause.
        source: io::Error,
    },
    /// The thread or its runtime cannot be started.
    #[error("the metrics endpoint cannot be started: {0}")]
    Start(#[source] io::Error),
}

/// Nothing until something is known.
type Shared = Arc<Mutex<Option<Readings>>>;

/// Serves the newest readings until it is dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    readings: Shared,
    /// Its end is the thread's end.
    running: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens on `address` (the configuration's `metrics.address`): `HOST:PORT`, or `PORT` alone for 127.0.0.1. Port
    /// 0 is any free one.
    ///
    /// # Errors
    /// When the address is wrong or taken, or the thread cannot be started.
    pub fn start(address: &str) -> Result<Self, MetricsError> {
        let listener = listen(address)?;
        let local = listener.local_addr().map_err(MetricsError::Start)?;
        listener.set_nonblocking(true).map_err(MetricsError::Start)?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(MetricsError::Start)?;
        let readings = Shared::default();
        let (running, ended) = oneshot::channel();
        let shared = Arc::clone(&readings);
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || run(&runtime, listener, shared, ended))
            .map_err(MetricsError::Start)?;
        Ok(Self { address: local, readings, running: Some(running), thread: Some(thread) })
    }

    /// Where it listens, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the next scrape shows. Before the first call that is nothing.
    pub fn publish(&self, readings: Readings) {
        *self.readings.lock().unwrap_or_else(PoisonError::into_inner) = Some(readings);
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        drop(self.running.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the metrics endpoint panicked");
        }
    }
}

fn listen(address: &str) -> Result<TcpListener, MetricsError> {
    let bound = match address.parse::<u16>() {
        Ok(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)),
        Err(_) => TcpListener::bind(address),
    };
    let address = address.to_owned();
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::InvalidInput => MetricsError::Address { address },
        io::ErrorKind::AddrInUse => MetricsError::Taken { address },
        _ => MetricsError::Listen { address, source },
    })
}

/// Serves until the sender of `ended` is dropped.
fn run(runtime: &Runtime, listener: TcpListener, readings: Shared, ended: oneshot::Receiver<Infallible>) {
    runtime.block_on(async {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                tokio::spawn(accept(listener, readings));
                let _ = ended.await;
            }
            Err(error) => tracing::warn!("the metrics endpoint ended: {error}"),
        }
    });
}

async fn accept(listener: tokio::net::TcpListener, readings: Shared) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let readings = Arc::clone(&readings);
                tokio::spawn(tokio::time::timeout(CONNECTION_LIMIT, serve(stream, readings)));
            }
            Err(error) => {
                tracing::debug!("a connection to the metrics endpoint was not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, readings: Shared) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &readings);
        async { Ok::<_, Infallible>(answer) }
    });
    // A scrape needs one answer; a connection that is kept would outlast the run.
    let served = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!("a connection to the metrics endpoint broke off: {error}");
    }
}

fn answer(request: &Request<Incoming>, readings: &Mutex<Option<Readings>>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET) => {
            let readings = readings.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (
                StatusCode::OK,
                "text/plain; version=0.0.4; charset=utf-8",
                readings.as_ref().map(render).unwrap_or_default(),
            )
        }
        ("/metrics", _) => (StatusCode::METHOD_NOT_ALLOWED, "text/plain; charset=utf-8", "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// Sends a request as it stands and reads until the server closes.
    fn send(address: SocketAddr, request: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn get(address: SocketAddr, path: &str) -> (String, String) {
        let text = send(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    #[test]
    fn a_scrape_over_tcp_shows_what_was_published_last() {
        let server = MetricsServer::start("127.0.0.1:0").unwrap();
        assert!(server.address().ip().is_loopback() && server.address().port() != 0);
        assert_eq!(get(server.address(), "/metrics").1, "");
        for step in [7, 8] {
            let readings = Readings { run: "a \"b\"".into(), step, loss: f64::NAN, ..Readings::default() };
            server.publish(readings.clone());
            for path in ["/metrics", "/metrics?collect=all"] {
                let (head, body) = get(server.address(), path);
                assert!(head.starts_with("http/1.1 200 "), "{head}");
                assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
                assert_eq!(body, render(&readings));
            }
        }
    }

    #[test]
    fn other_paths_are_not_found_and_other_methods_not_allowed() {
        let server = MetricsServer::start("0").unwrap();
        assert!(server.address().ip().is_loopback());
        for path in ["/", "/metric", "/metrics/", "//metrics"] {
            assert!(get(server.address(), path).0.starts_with("http/1.1 404 "), "{path}");
        }
        for method in ["POST", "HEAD", "DELETE", "OPTIONS"] {
            let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
            let text = send(server.address(), &request).to_lowercase();
            assert!(text.starts_with("http/1.1 405 ") && text.contains("\r\nallow: get\r\n"), "{text}");
        }
        assert!(send(server.address(), "no request\r\n\r\n").starts_with("HTTP/1.1 400 "));
    }

    #[test]
    fn a_client_that_says_nothing_holds_up_neither_others_nor_the_end() {
        let server = MetricsServer::start("0").unwrap();
        let _silent = std::net::TcpStream::connect(server.address()).unwrap();
        let (head, _) = get(server.address(), "/metrics");
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        drop(server);
    }

    #[test]
    fn dropping_the_server_frees_its_port() {
        let server = MetricsServer::start("0").unwrap();
        let address = server.address();
        get(address, "/metrics");
        drop(server);
        assert!(std::net::TcpStream::connect(address).is_err());
        let again = MetricsServer::start(&address.to_string()).unwrap();
        assert_eq!(again.address(), address);
    }

    #[test]
    fn a_taken_port_and_a_wrong_address_name_the_key() {
        let server = MetricsServer::start("0").unwrap();
        let taken = MetricsServer::start(&server.address().to_string()).unwrap_err();
        assert!(matches!(taken, MetricsError::Taken { .. }), "{taken}");
        assert!(taken.to_string().starts_with("metrics.address = \"127.0.0.1:"), "{taken}");
        for wrong in ["", "here", "127.0.0.1", "127.0.0.1:70000", "70000"] {
            let error = MetricsServer::start(wrong).unwrap_err();
            assert!(matches!(error, MetricsError::Address { .. }), "{wrong}: {error}");
            assert!(error.to_string().starts_with(&format!("metrics.address = \"{wrong}\"")), "{error}");
        }
        // An address of documentation (RFC 5737), which is no machine's.
        let foreign = MetricsServer::start("192.0.2.1:9464").unwrap_err();
        assert!(matches!(foreign, MetricsError::Listen { .. }), "{foreign}");
    }
}
