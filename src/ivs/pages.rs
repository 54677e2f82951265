//! Streams all pages of a list, or ends with an error if it cannot tell that the list is complete.
//!
//! Never the SDK's paginator, which ends without an error when a token repeats: a truncated list would look complete.
//! The API does not say in which order it lists, how long a token lives, or that something is listed once; nothing here
//! depends on it.

use std::collections::HashSet;

use futures::Stream;
use futures::stream::try_unfold;

use crate::error::Error;

/// So many pages in a row without anything new, each with a token, are no list any more.
const MOST_PAGES_WITHOUT_NEWS: usize = 50;

/// A page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_token: Option<String>,
}

/// Lists page after page, in the order and with the repetitions of the API. `list` asks for the page of a token, the
/// first without one; `id` is a hash that tells one item from another. `operation` and `resource` are for the error.
///
/// IVS answers an expired token with `ValidationException`. Then the list starts again at the first page, once. Items may repeat.
///
/// # Errors
/// Those of `list`, and [`Error::BrokenPagination`]. The stream ends with it.
pub fn follow<'a, T: 'a, F>(
    operation: &'static str,
    resource: String,
    id: fn(&T) -> Option<u64>,
    list: impl Fn(Option<String>) -> F + 'a,
) -> impl Stream<Item = Result<Vec<T>, Error>> + 'a
where
    F: Future<Output = Result<Page<T>, Error>> + 'a,
{
    try_unfold(
        (Some(Walk::default()), list, resource),
        move |(walk, list, resource)| async move {
            let Some(mut walk) = walk else {
                return Ok(None);
            };
            let page = match list(walk.token.clone()).await {
                Err(Error::IvsRejected { code, .. })
                    if code == "ValidationException" && walk.token.is_some() && !walk.restarted =>
                {
                    walk = Walk {
                        restarted: true,
                        ..Walk::default()
                    };
                    list(None).await?
                }
                answer => answer?,
            };
            let next = walk
                .behind(page.next_token, page.items.iter().map(id))
                .map_err(|fault| Error::BrokenPagination {
                    operation,
                    resource: resource.clone(),
                    fault,
                })?;
            Ok(Some((page.items, (next, list, resource))))
        },
    )
}

/// Where a walk over pages stands.
#[derive(Default)]
struct Walk {
    token: Option<String>,
    tokens_seen: HashSet<String>,
    items_seen: HashSet<u64>,
    pages_without_news: usize,
    restarted: bool,
}

impl Walk {
    /// The walk's next step behind a page, `None` where the list ends. The fault is in words.
    fn behind(
        mut self,
        next_token: Option<String>,
        ids: impl Iterator<Item = Option<u64>>,
    ) -> Result<Option<Self>, String> {
        let Some(token) = next_token.filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        let mut news = false;
        for id in ids {
            // Hashes only: of a large list the ids would weigh as much as the rows. Two ids with one hash would have
            // to fill 50 pages to matter.
            news |= id.is_none_or(|id| self.items_seen.insert(id));
        }
        self.pages_without_news = if news { 0 } else { self.pages_without_news + 1 };
        if !self.tokens_seen.insert(token.clone()) {
            return Err(format!("nextToken {token:?} came twice"));
        }
        if self.pages_without_news >= MOST_PAGES_WITHOUT_NEWS {
            return Err(format!(
                "{MOST_PAGES_WITHOUT_NEWS} pages in a row had a nextToken and nothing new"
            ));
        }
        self.token = Some(token);
        Ok(Some(self))
    }
}
