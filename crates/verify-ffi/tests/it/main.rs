//! The C interface: from C and Go, on real servers, and its header; and the calls behind it.

mod c;
mod go;
mod header;
mod program;
mod time_travel;
