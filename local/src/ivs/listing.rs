//! The pages of a list. A new order is drawn for each listing, and a token is valid only for the list that it came from.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::faults::Kind;
use crate::ivs::request::{Refusal, invalid};

/// The lists that are being paged through, by the token of their next page.
#[derive(Default)]
pub(crate) struct Listings {
    walks: HashMap<String, Walk>,
}

/// What a token stands for: a list, and the place of the next page in it.
#[derive(Clone)]
struct Walk {
    operation: &'static str,
    /// The stage, the session or the participant whose items are listed; empty for the region.
    target: String,
    items: Arc<[Item]>,
    /// The number of the listing.
    listing: usize,
    page: u64,
    offset: usize,
    after_empty: bool,
}

/// An item of a list, by its name. Its content is looked up when its page is sent.
#[derive(Clone, Hash)]
pub(crate) enum Item {
    Stage(String),
    Session(String),
    /// The position in the session.
    Participant(usize),
    /// The position among the events of one participant.
    Event(usize),
}

/// A page of a list.
pub(crate) struct Page {
    items: Vec<Item>,
    next_token: Option<String>,
}

impl Listings {
    /// The page of a list that a request asks for, with the token of the next page. `listing` numbers a new list, and
    /// decides its order.
    pub(crate) fn page(
        &mut self,
        operation: &'static str,
        target: String,
        listing: usize,
        body: &Value,
        faults: &[Kind],
        items: impl FnOnce() -> Vec<Item>,
    ) -> Result<Page, Refusal> {
        let size = match body.get("maxResults").map(Value::as_u64) {
            None => 50,
            Some(Some(number @ 1..=100)) => usize::try_from(number).unwrap_or(100),
            Some(_) => return Err(invalid("maxResults must be from 1 to 100")),
        };
        let walk = self.walk(operation, target, listing, body, items)?;
        let is_due = |kind| faults.contains(&kind);
        let first = walk.page == 0;
        let empty = if first {
            is_due(Kind::EmptyPageFirst)
        } else {
            let more_to_come = walk.offset < walk.items.len();
            is_due(Kind::EmptyPageMiddle) && more_to_come && !walk.after_empty
        };
        let start = if is_due(Kind::RepeatsParticipants) {
            walk.offset.saturating_sub(size / 2)
        } else {
            walk.offset
        };
        let page = walk.items.iter().skip(start).take(size).cloned();
        let page: Vec<_> = if empty { Vec::new() } else { page.collect() };
        let mut next = Walk {
            page: walk.page + 1,
            offset: if empty {
                walk.offset
            } else {
                start + page.len()
            },
            after_empty: empty,
            ..walk.clone()
        };

        let mut more = empty || next.offset < next.items.len();
        if is_due(Kind::EmptyPageLast) && (first || !page.is_empty()) {
            more = true;
        }
        if is_due(Kind::TokensEverNew) {
            more = true;
            if next.offset >= next.items.len() {
                next.offset = 0;
            }
        }
        if is_due(Kind::TokenRepeated) {
            more = true;
            if !first {
                next = walk;
            }
        } else if is_due(Kind::TokensCycle) {
            more = true;
            if next.page > 2 {
                next.page = 1;
                if let Some(second_page) = self.walks.get(&next.token()) {
                    next = second_page.clone();
                }
            }
        }
        let next_token = more.then(|| {
            let token = next.token();
            self.walks.insert(token.clone(), next);
            token
        });
        Ok(Page {
            items: page,
            next_token,
        })
    }

    /// A new listing, or the one that a request's token continues.
    fn walk(
        &self,
        operation: &'static str,
        target: String,
        listing: usize,
        body: &Value,
        items: impl FnOnce() -> Vec<Item>,
    ) -> Result<Walk, Refusal> {
        match body
            .get("nextToken")
            .map(|token| token.as_str().unwrap_or_default())
        {
            None => {
                let mut items = items();
                items.sort_by_cached_key(|item| hash((listing, item)));
                Ok(Walk {
                    operation,
                    target,
                    items: items.into(),
                    listing,
                    page: 0,
                    offset: 0,
                    after_empty: false,
                })
            }
            Some(token) => match self.walks.get(token) {
                Some(walk) if walk.operation == operation && walk.target == target => {
                    Ok(walk.clone())
                }
                _ => Err(invalid("nextToken is not one of this list")),
            },
        }
    }
}

impl Page {
    /// The answer, with the list as `member`. Items that were deleted meanwhile are left out.
    pub(crate) fn json(&self, member: &str, value: impl Fn(&Item) -> Option<Value>) -> Value {
        let values: Vec<_> = self.items.iter().filter_map(value).collect();
        let mut answer = json!({ member: values });
        if let Some(token) = &self.next_token {
            answer["nextToken"] = token.clone().into();
        }
        answer
    }
}

impl Walk {
    fn token(&self) -> String {
        let of = (self.operation, &self.target, self.listing, self.page);
        format!("{:016x}", hash(of))
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
