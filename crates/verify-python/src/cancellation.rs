//! The token by which another thread ends a call.

use pyo3::prelude::*;

/// Ends calls from another thread.
#[pyclass(frozen)]
#[derive(Default)]
pub(crate) struct Cancellation(verify_core::cancellation::Cancellation);

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

impl Cancellation {
    /// The library's token.
    pub(crate) fn token(&self) -> verify_core::cancellation::Cancellation {
        self.0.clone()
    }
}
