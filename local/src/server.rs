//! A server on a free port of the loopback address, for as long as the value lives.

use std::io;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) struct Server {
    url: String,
    task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(app: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self {
            url,
            task: tokio::spawn(axum::serve(listener, app).into_future()),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
