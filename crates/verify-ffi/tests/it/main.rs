//! The C interface: from C and Go, on real servers, and its header.

mod c;
mod go;
mod header;
mod program;
