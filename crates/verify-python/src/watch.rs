//! A call that Python watches: events go to its callback, and signals and exceptions end the work.

use std::ops::ControlFlow;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use verify_core::finding::Verdict;
use verify_ffi::call::{self, Answer, Call, Failure, contain};
use verify_ffi::progress::Progress;

use crate::cancellation::Cancellation;

/// A status, numbered as in C, and the manifest, report or error.
pub(crate) type Status<'py> = (u8, Bound<'py, PyBytes>);

/// The ways to watch and to end a call.
pub(crate) struct Watch {
    on_event: Option<Py<PyAny>>,
    token: verify_core::cancellation::Cancellation,
}

impl Watch {
    pub(crate) fn new(on_event: Option<Py<PyAny>>, token: Option<&Bound<'_, Cancellation>>) -> Self {
        Self { on_event, token: token.map(|token| token.get().token()).unwrap_or_default() }
    }

    /// Makes a call without the interpreter, which is attached for each event, and to look for signals.
    pub(crate) fn run<'py>(
        self,
        py: Python<'py>,
        options: &str,
        call: impl FnOnce(Call<'_>) -> Result<Answer, Failure> + Send,
    ) -> PyResult<Status<'py>> {
        let Self { on_event, token } = self;
        let mut raised = None;
        let answer = py.detach(|| {
            let mut on_progress = |progress: Option<&Progress>| {
                Python::attach(|py| match show(py, on_event.as_ref(), progress) {
                    Ok(false) => ControlFlow::Continue(()),
                    Ok(true) => ControlFlow::Break(()),
                    Err(error) => {
                        raised = Some(error);
                        ControlFlow::Break(())
                    }
                })
            };
            contain(|| call(Call { options, token: &token, on_progress: &mut on_progress }))
        });
        if let Some(error) = raised {
            return Err(error);
        }
        let (status, document) = match answer {
            Ok(Answer { verdict: Verdict::Pass, document }) => (0, document),
            Ok(Answer { verdict: Verdict::Fail, document }) => (1, document),
            Ok(Answer { verdict: Verdict::Inconclusive, document }) => (3, document),
            Err(failure) => (2, call::error_document(&failure)),
        };
        Ok((status, PyBytes::new(py, &document)))
    }
}

/// Shows an event to the callback; returns whether to stop. A signal's handler may raise, as that of SIGINT does.
fn show(py: Python<'_>, on_event: Option<&Py<PyAny>>, progress: Option<&Progress>) -> PyResult<bool> {
    py.check_signals()?;
    match (on_event, progress) {
        (Some(on_event), Some(progress)) => on_event.call1(py, (progress.json(),))?.is_truthy(py),
        _ => Ok(false),
    }
}
