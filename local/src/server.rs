//! An HTTP server on a free port of the loopback address. It stops when its value is dropped. A handler can break the
//! connection: before the answer with `DropConnection`, or in the middle of it with a `Script`.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;

/// The running server.
pub struct Server {
    url: String,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `app` on a free port.
    pub async fn start(app: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| {
            let said = format!("no free port of 127.0.0.1 can be had: {error}");
            io::Error::new(error.kind(), said)
        })?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self {
            url,
            task: tokio::spawn(accept(listener, app)),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves every connection. They are closed when this future is dropped.
async fn accept(listener: TcpListener, app: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, app.clone()));
                }
                // For example too many open files; some will be closed soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, app: Router) {
    // Pieces of a body must be sent one by one.
    let _ = stream.set_nodelay(true);
    let app = TowerToHyperService::new(app);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = app.call(request.map(Body::new));
        async move {
            let response = answer.await.unwrap_or_else(|never| match never {});
            if DropConnection::marks(&response) {
                return Err(io::Error::other("dropped on request"));
            }
            Ok(response)
        }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // Closing alone would look like a normal end, so the connection is reset.
        let _ = connection.into_parts().io.inner().set_zero_linger();
    }
}

/// Marks a response: instead of sending it, the connection is reset.
#[derive(Clone, Copy)]
pub(crate) struct DropConnection;

impl DropConnection {
    pub(crate) fn response() -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Self);
        response
    }

    pub(crate) fn marks(response: &Response) -> bool {
        response.extensions().get::<Self>().is_some()
    }
}

/// A body that is sent in pieces, each after a pause. A piece of `None` resets the connection.
pub(crate) struct Script {
    pieces: VecDeque<(Duration, Option<Bytes>)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Script {
    /// The first half, and then a reset.
    pub(crate) fn cut(bytes: &Bytes) -> Self {
        // The pause lets the first half be sent before the reset.
        let half = bytes.slice(..bytes.len() / 2);
        Self::new([
            (Duration::ZERO, Some(half)),
            (Duration::from_millis(20), None),
        ])
    }

    /// A byte a second.
    pub(crate) fn trickle(bytes: &Bytes) -> Self {
        let byte = |place| (Duration::from_secs(1), Some(bytes.slice(place..=place)));
        Self::new((0..bytes.len()).map(byte))
    }

    fn new(pieces: impl IntoIterator<Item = (Duration, Option<Bytes>)>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            pause: None,
        }
    }
}

impl hyper::body::Body for Script {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(&(length, _)) = self.pieces.front() else {
            return Poll::Ready(None);
        };
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
        ready!(pause.as_mut().poll(context));
        self.pause = None;
        Poll::Ready(self.pieces.pop_front().map(|(_, piece)| match piece {
            Some(piece) => Ok(Frame::data(piece)),
            None => Err(io::Error::other("cut on request")),
        }))
    }
}
