//! A panic is an error of the session, sweep or invocation that it happened in, and the process lives.
//!
//! What is logged of such a panic is its place in the code. Its message may quote a user id, so it is dropped.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;

use futures::FutureExt;
use tracing::error;

use crate::error::Error;

thread_local! {
    /// Whether this thread works inside [`contain`]. The function has one thread.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic in there happened.
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs the panic hook. Inside [`contain`] it records where the panic happened; elsewhere it logs a line. Call it once, at
/// the start.
pub fn watch_for_panics() {
    panic::set_hook(Box::new(|panic| {
        if CONTAINED.get() {
            LOCATION.set(panic.location().map(ToString::to_string));
        } else {
            error!(error_type = "Panic", error = %panic, "the function panicked");
        }
    }));
}

/// Does the work on `resource`. A panic becomes its error. Nothing of the work is used again, and the locks of this crate
/// recover from a panic.
///
/// # Errors
/// The work's own, or [`Error::Panic`].
pub async fn contain<T>(
    resource: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    let done = poll_fn(|context| {
        let outer = CONTAINED.replace(true);
        let poll = work.as_mut().poll(context);
        CONTAINED.set(outer);
        poll
    });
    done.await.unwrap_or_else(|_| {
        let location = LOCATION.take();
        Err(Error::Panic {
            resource: resource.to_owned(),
            location: location.unwrap_or_else(|| "an unknown place".to_owned()),
        })
    })
}
