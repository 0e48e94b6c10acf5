//! The native half of the Python package `state_lab`: the calls of verify-ffi, with the interpreter released while they work.
//!
//! `python/state_lab/__init__.py` is the interface that users see.

mod cancellation;
mod watch;

use pyo3::prelude::*;
use verify_ffi::call;

use crate::cancellation::Cancellation;
use crate::watch::{Status, Watch};

#[pyfunction]
fn capture<'py>(
    py: Python<'py>,
    conninfo: &str,
    options: &str,
    on_event: Option<Py<PyAny>>,
    token: Option<&Bound<'py, Cancellation>>,
) -> PyResult<Status<'py>> {
    Watch::new(on_event, token).run(py, options, |call| call::capture(conninfo, call))
}

#[pyfunction]
fn verify<'py>(
    py: Python<'py>,
    manifest: &[u8],
    conninfo: &str,
    options: &str,
    on_event: Option<Py<PyAny>>,
    token: Option<&Bound<'py, Cancellation>>,
) -> PyResult<Status<'py>> {
    Watch::new(on_event, token).run(py, options, |call| call::verify(manifest, conninfo, call))
}

#[pyfunction]
fn compare<'py>(
    py: Python<'py>,
    source: &str,
    restored: &str,
    options: &str,
    on_event: Option<Py<PyAny>>,
    token: Option<&Bound<'py, Cancellation>>,
) -> PyResult<Status<'py>> {
    Watch::new(on_event, token).run(py, options, |call| call::compare(source, restored, call))
}

/// The module.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Cancellation>()?;
    module.add_function(wrap_pyfunction!(capture, module)?)?;
    module.add_function(wrap_pyfunction!(verify, module)?)?;
    module.add_function(wrap_pyfunction!(compare, module)?)
}
