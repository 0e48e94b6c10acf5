//! Evidence with real keys, stores and tools.

mod documentation;
mod keys;
mod memory;
mod samples;
mod signatures;
mod tampering;
mod writers;
