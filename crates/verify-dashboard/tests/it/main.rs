//! Tests of the dashboard over HTTP, and in a real browser.

mod browser;
mod http;
mod server;
