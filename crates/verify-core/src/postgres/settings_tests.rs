//! Tests of connection settings: precedence, refusals, secrecy.
