//! Where the participants of a session are in its list, by their ids. A session of 100,000 is asked for each of them, so a
//! search from the front each time would take too long.

use std::collections::HashMap;

/// The places of one session's participants. Tests change participants at any time, so each place is checked before use.
#[derive(Default)]
pub(crate) struct Places {
    by_id: HashMap<String, usize>,
    people: usize,
}

impl Places {
    /// The place of a participant with this id. The session has so many people now; `id_at` is the id of each.
    pub(crate) fn find<'a>(
        &mut self,
        id: &str,
        people: usize,
        id_at: impl Fn(usize) -> Option<&'a str>,
    ) -> Option<usize> {
        let known = self.by_id.get(id).copied();
        if self.people == people && known.is_some_and(|place| id_at(place) == Some(id)) {
            return known;
        }
        self.people = people;
        self.by_id = (0..people)
            .filter_map(|place| Some((id_at(place)?.to_owned(), place)))
            .collect();
        self.by_id.get(id).copied()
    }
}
