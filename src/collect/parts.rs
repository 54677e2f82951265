//! The parts of a large collection: how people are cut into parts, and which parts are there.
//!
//! A session of more than one part is collected over several invocations, and what is done lies in S3, a part an object. A part is
//! named by its number, `00007`. One that does not fit into an invocation is halved, `00007a` and `00007b`, and again,
//! `00007ab`. Names that a listing shows tell what is left.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::table::attendance::Details;
use crate::table::participant_events::Event;

/// The people of a part that was not halved.
const PEOPLE: usize = 200;

/// Some people of a session, by their places among those asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) people: Range<usize>,
}

/// What IVS told of one participant, as it lies in a part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// The events that IVS listed, each once, before anything was left out.
    pub(super) listed_events: usize,
    /// `None` if they were not asked for, or IVS did not know the participant.
    pub(super) details: Option<Details>,
    pub(super) events: Vec<Event>,
}

/// Bytes, up to so many.
struct Bounded {
    bytes: Vec<u8>,
    most_bytes: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most_bytes {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes a part, if it takes at most so many bytes.
///
/// # Errors
/// One of I/O if it takes more; no other is expected.
pub(super) fn encode(told: &[Told], most_bytes: usize) -> serde_json::Result<Vec<u8>> {
    let bytes = Vec::new();
    let mut bounded = Bounded { bytes, most_bytes };
    serde_json::to_writer(&mut bounded, told)?;
    Ok(bounded.bytes)
}

/// The parts of so many people.
pub(super) fn parts_of(people: usize) -> impl Iterator<Item = Part> {
    (0..people.div_ceil(PEOPLE)).map(move |number| Part {
        name: format!("{number:05}"),
        people: number * PEOPLE..people.min((number + 1) * PEOPLE),
    })
}

impl Part {
    /// Sorts this part into those that are `there` and those that are `missing`, in order. Where halves of it are there, each half counts
    /// for itself.
    pub(super) fn sort_out(
        self,
        names: &BTreeSet<String>,
        there: &mut Vec<Self>,
        missing: &mut Vec<Self>,
    ) {
        let begun = || {
            let from = names.range(self.name.clone()..).next();
            from.is_some_and(|name| name.starts_with(&self.name))
        };
        if names.contains(&self.name) {
            there.push(self);
        } else if begun() && self.people.len() > 1 {
            for half in self.halves() {
                half.sort_out(names, there, missing);
            }
        } else {
            missing.push(self);
        }
    }

    /// Halves it so many times.
    pub(super) fn split(self, times: u32) -> Vec<Self> {
        if times == 0 || self.people.len() < 2 {
            return vec![self];
        }
        let halves = self.halves().into_iter();
        halves.flat_map(|half| half.split(times - 1)).collect()
    }

    fn halves(&self) -> [Self; 2] {
        let Range { start, end } = self.people;
        let middle = start + self.people.len().div_ceil(2);
        [("a", start..middle), ("b", middle..end)].map(|(half, people)| Self {
            name: format!("{}{half}", self.name),
            people,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(people: usize, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for part in parts_of(people) {
            part.sort_out(&names, &mut there, &mut missing);
        }
        let shown = |parts: Vec<Part>| {
            let shown = parts.into_iter().map(|part| {
                let Range { start, end } = part.people;
                format!("{} {start}..{end}", part.name)
            });
            shown.collect()
        };
        (shown(there), shown(missing))
    }

    #[test]
    fn people_are_cut_into_parts_of_200() {
        let count = |people| parts_of(people).count();
        assert_eq!([0, 1, 200, 201, 450, 1200].map(count), [0, 1, 1, 2, 3, 6]);
        let (_, missing) = sorted(450, &[]);
        assert_eq!(
            missing,
            ["00000 0..200", "00001 200..400", "00002 400..450"]
        );
    }

    #[test]
    fn names_tell_what_is_there_and_what_is_missing() {
        let (there, missing) = sorted(450, &["00000", "00001a", "00001ba"]);
        assert_eq!(
            there,
            ["00000 0..200", "00001a 200..300", "00001ba 300..350"]
        );
        assert_eq!(missing, ["00001bb 350..400", "00002 400..450"]);
    }

    #[test]
    fn a_whole_part_counts_before_its_halves() {
        let (there, missing) = sorted(200, &["00000", "00000a"]);
        assert_eq!((there.len(), missing.len()), (1, 0));
    }

    #[test]
    fn a_part_of_too_many_bytes_is_not_encoded() {
        let told = || Told {
            listed_events: 0,
            details: None,
            events: Vec::new(),
        };
        let told = [told(), told()];
        let bytes = encode(&told, 1_000).unwrap();
        assert_eq!(encode(&told, bytes.len()).unwrap(), bytes);
        assert!(encode(&told, bytes.len() - 1).unwrap_err().is_io());
    }

    #[test]
    fn a_part_is_halved_down_to_one_participant() {
        let part = parts_of(3).next().unwrap();
        let names = |times| {
            let parts = part.clone().split(times).into_iter();
            parts.map(|part| part.name).collect::<Vec<_>>()
        };
        assert_eq!(names(0), ["00000"]);
        assert_eq!(names(1), ["00000a", "00000b"]);
        assert_eq!(names(2), ["00000aa", "00000ab", "00000b"]);
        assert_eq!(names(9), names(2));
    }
}
