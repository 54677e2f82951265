//! What the emulators send over a real socket, faults and all.

mod client;
mod ivs;
mod s3;
