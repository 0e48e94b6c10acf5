//! A token by which a caller ends work that runs on another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends work from another thread. Clones are the same token.
///
/// Sessions that were opened with it ([`crate::postgres::Settings::with_cancellation`]) stop waiting within a fraction of a second,
/// whatever they wait for, and a statement that runs is cancelled on the server. The call that used them then returns
/// [`crate::ErrorKind::Cancelled`].
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// A token that was not used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the work.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether the work is to end.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_the_same_token() {
        let token = Cancellation::new();
        let clone = token.clone();
        assert!(!token.is_cancelled());
        clone.cancel();
        assert!(token.is_cancelled() && clone.is_cancelled());
        assert!(!Cancellation::new().is_cancelled());
    }
}
