//! Measures the function on the local stack, beside the handlers in `bench/`. Prints figures and their limits; no test
//! depends on them.

pub mod bench;
pub mod costs;
mod measured;
pub mod memory;
pub mod quota;
